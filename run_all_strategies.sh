#!/usr/bin/env bash
# Distils a student for every strategy and seed, one after the other, and compares them: see --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
strategies="top bottom odd even" seeds="42 43 44" random=0 scratch="" without_teacher="" output_root=runs flags=()
teacher_off=(--pkd_weight 0 --embedding_weight 0 --relation_weight 0 --rkd_weight 0
    --intermediate_epochs 0 --schedules "" --unlabeled_file ""
    --kl_weight 0 --hidden_weight 0 --attention_weight 0 --logit_cosine_weight 0 --ce_weight 1)

show_help() {
    cat <<'END'
usage: run_all_strategies.sh [options] [--] [recipe.yaml] [flags of run_distillation.py]
  --strategies "top odd"  starts to compare (default: top bottom odd even)
  --seeds "42 43"         each start is trained once with each (default: 42 43 44)
  --random N              also N random draws of layers, with the seeds from the first one on
  --scratch               also fresh layers
  --without_teacher       also every start trained on the labels alone (not the random draws)
  --output_root DIR       DIR/<strategy>-seed<seed>, DIR/logs, DIR/comparison (default: runs)
LAUNCH, from the environment, starts each run: "accelerate launch" (default), python, "torchrun --nproc_per_node 2", ...
Started again, the same command skips what is finished and goes on with what is not.
END
}

fail() {
    echo "run_all_strategies.sh: error: $1" >&2
    exit 2
}

while (($#)); do
    case $1 in
        --strategies=* | --seeds=* | --random=* | --output_root=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        --strategies | --seeds | --random | --output_root)
            (($# > 1)) || fail "$1 needs a value: see --help"
            declare "${1#--}=$2"
            shift 2
            ;;
        --scratch | --without_teacher) declare "${1#--}=yes" && shift ;;
        --help | -h) show_help && exit ;;
        --) flags+=("${@:2}") && break ;;
        *) flags+=("$1") && shift ;;
    esac
done
for flag in "${flags[@]}"; do
    case ${flag//-/_} in
        __seed | __seed=* | __output_dir* | __layer_strategy* | __student_layers* | :::)
            fail "$flag differs between the runs: use --strategies, --seeds and --output_root"
            ;;
        __hub_token*) fail "--hub_token would show in the list of processes: run hf auth login, or set HF_TOKEN" ;;
    esac
done
names='^[[:space:]]*[a-z]+([[:space:]]+[a-z]+)*[[:space:]]*$' numbers='^[[:space:]]*[0-9]+([[:space:]]+[0-9]+)*[[:space:]]*$'
[[ $strategies =~ $names ]] || fail "--strategies is \"$strategies\": give names, such as \"top odd\""
[[ $seeds =~ $numbers ]] || fail "--seeds is \"$seeds\": give whole numbers, such as \"42 43\""
[[ $random =~ ^[0-9]+$ ]] || fail "--random is \"$random\": give the number of draws"
[[ -n $output_root ]] || fail "--output_root is empty: name a folder"

# The active virtual environment, else the one beside this script, else whatever python is there.
[[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} || ! -d $here/.venv/bin ]] || VIRTUAL_ENV=$here/.venv
PATH=${VIRTUAL_ENV:+$VIRTUAL_ENV/bin:}$PATH
read -ra launch <<<"${LAUNCH:-accelerate launch}"
python=$(command -v python || command -v python3) || fail "there is no python: make .venv as the README says"
command -v "${launch[0]}" >/dev/null || fail "there is no ${launch[0]}: install requirements.txt, or set LAUNCH=python"

plan=() first_seed="" # an entry: strategy, seed and, for the control, -without-teacher
for seed in $seeds; do
    first_seed=${first_seed:-$seed}
    for strategy in $strategies ${scratch:+scratch}; do
        plan+=("$strategy $seed" ${without_teacher:+"$strategy $seed -without-teacher"})
    done
done
for ((draw = 0; draw < random; draw++)); do plan+=("random $((10#$first_seed + draw))"); done
mapfile -t plan < <(printf '%s\n' "${plan[@]}" | awk '!seen[$0]++')

describe_run() { # an entry of the plan -> arm, name, folder, log, and all flags of run_distillation.py
    local strategy seed control
    read -r strategy seed control <<<"$1"
    arm=$strategy$control name=$strategy$control-seed$seed
    folder=$output_root/$name log=$output_root/logs/$name.log
    run=("${flags[@]}" --layer_strategy "$strategy" --seed "$seed" --output_dir "$folder")
    [[ -z $control ]] || run+=("${teacher_off[@]}")
}

planned=()
for entry in "${plan[@]}"; do describe_run "$entry" && planned+=(::: "${run[@]}"); done
checked=$(PYTHONPATH=$here "$python" -m layer_distillation.runs.check "${planned[@]}") || exit $?
mapfile -t states <<<"$checked"

start_group() { # a command, to be waited for, in a process group of its own: a signal ends all that it started at once
    set -m
    "$@" </dev/null &
    set +m
}

stop() { # signal, exit status
    trap '' INT TERM
    for group in $(jobs -p); do
        kill "-$1" -- "-$group" || true
        while kill -0 -- "-$group"; do sleep 0.1; done
    done 2>/dev/null
    printf '\nstopped by SIG%s; the same command goes on from here\n' "$1" >&2
    exit "$2"
}

trap 'stop INT 130' INT
trap 'stop TERM 143' TERM
mkdir -p "$output_root/logs"
finished=() arms=() failed=()
for index in "${!plan[@]}"; do
    describe_run "${plan[index]}"
    printf '[%d/%d] %s: ' $((index + 1)) ${#plan[@]} "$name"
    start=$SECONDS status=0 took="finished before"
    if [[ ${states[index]} != finished ]]; then
        start_group "${launch[@]}" "$here/run_distillation.py" "${run[@]}" >>"$log" 2>&1
        wait "$!" || status=$?
        took="$((SECONDS - start)) s"
    fi
    if ((status == 0)) && score=$(PYTHONPATH=$here "$python" -m layer_distillation.records.run_record "$folder" 2>>"$log"); then
        echo "$took, $score"
        finished+=("$folder") arms+=("$arm")
    else
        reason=$(tail -n 40 "$log" | grep -a 'error: ' | tail -n 1 || true)
        echo "$took, failed with exit status $status $reason"
        failed+=("$name: exit status $status, log $log${reason:+: $reason}")
    fi
done

if (($(printf '%s\n' "${arms[@]}" | sort -u | grep -c .) > 1)); then
    start_group "$python" "$here/compare_strategies.py" "${finished[@]}" --output_dir "$output_root/comparison"
    wait "$!" || failed+=("comparison: exit status $?")
else
    echo "nothing to compare: fewer than two kinds of runs are finished"
fi
if ((${#failed[@]})); then
    printf '\nfailed, the same command tries again:\n' >&2
    printf '  %s\n' "${failed[@]}" >&2
    exit 1
fi
