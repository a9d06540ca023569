#!/usr/bin/env bash
# Makes the published tables and pictures that are kept again, from the archives in results/ and studies/.
#
#     benchmarks/remake_tables.sh                   all, where they are kept: results/comparison, studies/tables, ...
#     benchmarks/remake_tables.sh --check           all, elsewhere; exit status 1 where a byte is not the kept one's
#     benchmarks/remake_tables.sh --check sick_searched losses      those alone
#
# docs/RESULTS.md names the command of each table; here it is with the name of its file. Patterns are quoted: they are
# matched inside the archives.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s inherit_errexit

is_check=false made=. unequal=0
if [[ ${1:-} == --check ]]; then
    is_check=true
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    shift
fi
chosen=" $* " known=" "

is_wanted() { # NAME
    known+="$1 "
    [[ $chosen == "  " || $chosen == *" $1 "* ]]
}

finish() { # PATH: a file or a folder, below what was made
    echo "$1"
    if $is_check; then
        diff -rq --exclude .lock --exclude comparison.html "$1" "$made/$1" || unequal=1
    fi
}

compare() { # NAME ARGUMENTS: a comparison's tables, studies/tables/NAME.md
    is_wanted "$1" || return 0
    local folder
    folder=$(mktemp -d)
    python compare_strategies.py "${@:2}" --output_dir "$folder" --no_pictures >"$folder/printed" 2>&1 || {
        cat "$folder/printed"
        exit 1
    }
    mkdir -p "$made/studies/tables"
    cp "$folder/comparison.md" "$made/studies/tables/$1.md"
    rm -r "$folder"
    finish "studies/tables/$1.md"
}

measure() { # NAME MODULE ARGUMENTS: what a benchmark prints, studies/tables/NAME.txt
    is_wanted "$1" || return 0
    mkdir -p "$made/studies/tables"
    python -m "benchmarks.$2" "${@:3}" >"$made/studies/tables/$1.txt"
    finish "studies/tables/$1.txt"
}

sick=('results/sick/even-seed4[2-4]' 'results/sick/even-without-teacher-seed4[2-4]')
cola=('studies/losses/cola/even-seed4[2-4]' 'studies/losses/cola/even-without-teacher-seed4[2-4]')
own='studies/pretrained_source/sick/even-fine-tuned*'

if is_wanted results; then
    $is_check || rm -rf results/comparison
    python compare_strategies.py results --output_dir "$made/results/comparison" >/dev/null 2>&1
    finish results/comparison
fi
compare searched_natural_logic studies/searched_layers/natural_logic
compare searched_sick 'results/sick/*-seed4[2-4]' studies/searched_layers/sick
compare base_size studies/base_size_h100/sick studies/base_size_h100/sst2
compare base_size_published studies/base_size_h100/mnli_published
compare teacher_terms results studies/teacher_terms
compare teacher_terms_unseen 'results/*/*-seed4[3-6]' 'studies/teacher_terms/stsb/*-seed4[34]'
compare transfer_set 'results/sst2/even*-seed4[2-4]' studies/transfer_set/sst2 \
    --vary unlabeled_file max_unlabeled_samples num_train_epochs
compare losses studies/losses "${sick[@]}" --vary loss
measure losses_curves_sick learning_curves "${sick[@]}" studies/losses/sick --vary loss
for task in mrpc stsb sst2 rte cola; do
    measure "losses_curves_$task" learning_curves "studies/losses/$task" --vary loss
done
compare by_metric studies/by_metric
compare by_loss_four_tasks studies/losses/{mrpc,stsb,sst2} "${sick[@]}" --vary loss
compare long_training studies/long_training studies/by_metric/sst2 --vary num_train_epochs
measure limits learning_curves studies/limits/cola "${cola[@]}" --vary num_train_epochs max_train_samples
if is_wanted limits_picture; then
    mkdir -p "$made/studies/limits"
    python -m benchmarks.learning_curves 'studies/limits/cola/even-12*' 'studies/limits/cola/even-2138*' \
        'studies/limits/cola/[46]*' "${cola[@]}" --vary num_train_epochs max_train_samples \
        --picture "$made/studies/limits/cola.png" >/dev/null
    finish studies/limits/cola.png
fi
compare further_terms studies/further_terms "$own" --vary loss layer_matching
compare learning_rate studies/learning_rate 'studies/losses/*/even-seed4[2-4]' \
    'studies/several_teachers/sick/even-one*' --vary learning_rate layer_matching
compare pretrained_source studies/pretrained_source
compare recombined_pairs studies/recombined_pairs --vary loss recombined_pairs learning_rate num_train_epochs
measure rows row_curves studies/rows
if is_wanted rows_picture; then
    mkdir -p "$made/studies"
    python -m benchmarks.row_curves studies/rows --picture "$made/studies/rows.png" >/dev/null
    finish studies/rows.png
fi
compare text_sst2 studies/text_and_pairs/sst2 'studies/rows/sst2/even-*-rall-*' \
    --vary unlabeled_file learning_rate loss
for start in top bottom odd even; do
    compare "pretrained_source_$start" "studies/pretrained_source/sick/$start-*"
done
compare narrower_sick studies/narrower/sick "$own"
compare narrower_sst2 studies/narrower/sst2 'studies/losses/sst2/even-seed4[2-4]'
compare narrower_natural_logic studies/narrower/natural_logic \
    'studies/searched_layers/natural_logic/odd-seed4[2-4]'
for task in natural_logic sick; do
    measure "start_by_matching_$task" crossing "studies/start_by_matching/$task"
    measure "start_by_matching_${task}_without_top" crossing "studies/start_by_matching/$task/*-matching-[beo]*"
done

for name in $chosen; do
    [[ $known == *" $name "* ]] || {
        echo "remake_tables.sh: error: no table $name, there are:$known" >&2
        exit 2
    }
done
exit $unequal
