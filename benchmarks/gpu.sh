#!/usr/bin/env bash
# All that this project wants to know of a GPU, in one call of at most eight minutes, on a machine without a network.
#
#     python -m benchmarks.gpu_folder --teacher SICK_TEACHER --sick DATA --sst2 DATA --output_dir gpu_folder      (here)
#     bash gpu_folder/code/benchmarks/gpu.sh gpu_folder results                        (there: one GPU, Python, PyTorch)
#
# results/figures.jsonl has a line of JSON per figure as soon as it is there, results/PART.log what else a part said.
# Parts run in the order of their worth, each within its own limit and what is left of the eight minutes; one that
# fails, or is out of time, says so in a line, and the next one runs. PARTS="sick base" runs these alone; SECONDS_IN_ALL
# moves the end, LIMITS_TIMES=3 a slow machine's limits. On a machine without a GPU all of it runs on the processor.
set -euo pipefail

folder=$(realpath "$1")
mkdir -p "${2:-gpu_results}"
results=$(realpath "${2:-gpu_results}")
code=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
end=$((SECONDS + ${SECONDS_IN_ALL:-470}))

#      name      seconds at most
limits="machine   60
        tests    120
        base     170
        waits     60
        sick     180
        variants 130
        equality  60
        sst2     100"

say() { # JSON
    echo "$1" | tee -a "$results/figures.jsonl"
}

cd "$code"
export PYTHONPATH="$results/site-packages:$code:$code/tests${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$python" "$code/benchmarks/gpu_site.py" "$folder/wheels" "$results/site-packages"

while read -r part limit; do
    [[ -z ${PARTS:-} || " $PARTS " == *" $part "* ]] || continue
    left=$((end - SECONDS))
    if ((left < 10)); then
        say "{\"part\": \"$part\", \"status\": \"left out\", \"why\": \"$left seconds were left\"}"
        continue
    fi
    limit=$((limit * ${LIMITS_TIMES:-1}))
    seconds=$((limit < left ? limit : left)) begun=$SECONDS status=0
    timeout -k 5 "$seconds" "$python" -m benchmarks.gpu_parts "$folder" "$part" 2>"$results/$part.log" </dev/null |
        tee -a "$results/figures.jsonl" || status=$?
    took=$((SECONDS - begun))
    case $status in
        0) say "{\"part\": \"$part\", \"status\": \"done\", \"seconds\": $took}" ;;
        124 | 137) say "{\"part\": \"$part\", \"status\": \"out of time\", \"seconds\": $took}" ;;
        *) say "{\"part\": \"$part\", \"status\": \"failed\", \"seconds\": $took, \"log\": \"$part.log\"}" ;;
    esac
done <<<"$limits"
