"""Only runs that agree are compared; every other one is named with the reason."""

import shutil
from pathlib import Path

import pytest

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import Unit, group_runs
from layer_distillation.comparison.results import analyse_unit
from layer_distillation.comparison.runs import read_runs
from layer_distillation.records.run_record import read_run_record
from simulated_runs import WITHOUT_TEACHER, write_run


def group(folder: Path) -> list[Unit]:
    runs, left_out = read_runs(find_run_folders([folder]))
    assert left_out == []
    return group_runs(runs)


def group_one(folder: Path) -> Unit:
    [unit] = group(folder)
    return unit


def list_reasons(unit: Unit) -> dict[str, str]:
    return {Path(left.folder).name: left.reason for left in unit.left_out}


def write_sweep(folder: Path, strategies: tuple[str, ...] = ("top", "odd"), seeds: tuple[int, ...] = (1, 2)) -> None:
    for strategy in strategies:
        for seed in seeds:
            write_run(folder / f"{strategy}{seed}", strategy, seed)


def test_two_names_of_one_start_are_remarked(tmp_path):
    write_sweep(tmp_path, ("top", "odd"), seeds=(1,))
    write_run(tmp_path / "ends", "ends", 1, student={"layers": [1, 3]})
    write_run(tmp_path / "random", "random", 1, student={"layers": [1, 3]})
    write_run(tmp_path / "alone", "top", 1, arguments=WITHOUT_TEACHER)
    assert group_one(tmp_path).remarks[0] == "the same start: ends and odd (layers 1 3)"


def test_runs_that_differ_in_their_seed_are_one_arm(tmp_path):
    for folder, seed in {"a": 3, "b": 1, "c": 2}.items():
        write_run(tmp_path / f"{folder}1", "top", seed)
        write_run(tmp_path / f"{folder}2", "odd", seed)
    unit = group_one(tmp_path)
    assert {arm.name: arm.seeds for arm in unit.arms} == {"odd": [1, 2, 3], "top": [1, 2, 3]}
    assert (unit.name, unit.left_out, unit.remarks) == ("sick, 2 layers", [], [])


def test_numbers_of_layers_and_tasks_are_units_of_their_own(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", student={"layers": [1]})
    write_run(tmp_path / "c", task={"name": "mrpc"})
    assert [unit.name for unit in group(tmp_path)] == ["mrpc, 2 layers", "sick, 1 layer", "sick, 2 layers"]


MISMATCHES = {
    "other rows": {"task": {"fingerprint": "others"}},
    "other teacher": {"teacher": {"fingerprint": "others"}},
    "3 epochs -> 1": {"arguments": {"num_train_epochs": 1.0}},
    "temperature 2 -> 4": {"arguments": {"temperature": 4.0}},
    "kl_weight 0.5 -> 0.9": {"arguments": {"kl_weight": 0.9}},
    "learning_rate 0.0001 -> 0.0005": {"arguments": {"learning_rate": 5e-4}},
    "bf16 none -> True": {"arguments": {"bf16": True}},
    "rows per step 32 -> 64": {"hardware": {"processes": 2}},
    "other test labels": {"has_test_labels": False},
    "other unlabelled rows": {"task": {"unlabelled_fingerprint": "others"}, "arguments": {"unlabeled_file": "x.csv"}},
}


@pytest.mark.parametrize("reason", MISMATCHES)
def test_a_run_of_other_settings_is_left_out_with_the_difference(tmp_path, reason):
    write_sweep(tmp_path)
    write_run(tmp_path / "stranger", "odd", 3, **MISMATCHES[reason])
    unit = group_one(tmp_path)
    assert list_reasons(unit) == {"stranger": reason}
    assert sum(len(arm.runs) for arm in unit.arms) == 4


def test_other_test_rows_are_noticed_though_the_fingerprint_leaves_them_out(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "stranger", "odd", 3, rows={"train": 90, "validation": 60, "test": 110})
    assert list_reasons(group_one(tmp_path)) == {"stranger": "other test labels"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"output_dir": "elsewhere", "seed": 3, "data_seed": 9, "cache_dir": "c"},
        {
            "train_file": "moved/train.csv",
            "test_file": "moved/test.csv",
            "teacher_model_name_or_path": "moved",
            "teacher_learning_rate": 1.0,
        },
        {"student_num_layers": 2, "layer_strategy": "first"},
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4},
    ],
)
def test_arguments_that_change_no_result_may_differ(tmp_path, arguments):
    write_sweep(tmp_path)
    write_run(tmp_path / "more", "odd", 3, arguments=arguments)
    assert group_one(tmp_path).left_out == []


def test_an_argument_of_a_later_version_that_is_not_set_is_no_difference(tmp_path):
    write_run(tmp_path / "a", "top")
    write_run(tmp_path / "b", "odd", arguments={"invented_later": None})
    assert group_one(tmp_path).left_out == []


def test_equally_large_sets_are_an_error_that_names_both(tmp_path):
    write_run(tmp_path / "a", "top")
    write_run(tmp_path / "b", "odd", arguments={"temperature": 4.0})
    with pytest.raises(ValueError, match=r"(?s)sick, 2 layers.*/a and .*/b .*temperature 2 -> 4.*give one set alone"):
        group(tmp_path)


def test_the_same_start_without_a_teacher_is_a_control_of_its_own(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "alone", "top", 1, arguments=WITHOUT_TEACHER | {"temperature": 9.0, "layer_matching": "top"})
    unit = group_one(tmp_path)
    assert {arm.name: arm.is_control for arm in unit.arms} == {
        "odd": False,
        "top": False,
        "top, without teacher": True,
    }
    assert unit.left_out == []


def test_without_a_teacher_the_other_settings_still_have_to_agree(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "a", "top", 1, arguments=WITHOUT_TEACHER | {"learning_rate": 1.0})
    write_run(tmp_path / "b", "top", 1, arguments=WITHOUT_TEACHER)
    write_run(tmp_path / "c", "top", 2, arguments=WITHOUT_TEACHER)
    write_run(tmp_path / "d", "top", 3, arguments=WITHOUT_TEACHER | {"ce_weight": 0.5})
    assert list_reasons(group_one(tmp_path)) == {"a": "learning_rate 0.0001 -> 1", "d": "ce_weight 1 -> 0.5"}


def test_random_draws_are_one_arm_whatever_was_drawn(tmp_path):
    for seed, layers in enumerate([[0, 1], [1, 3], [2, 3]]):
        write_run(tmp_path / str(seed), "random", seed, student={"layers": layers})
    assert [len(arm.runs) for arm in group_one(tmp_path).arms] == [3]


def test_other_layers_under_one_name_are_left_out(tmp_path):
    write_sweep(tmp_path, ("odd",), (1, 2))
    write_run(tmp_path / "stranger", "odd", 3, student={"layers": [0, 3]})
    assert list_reasons(group_one(tmp_path)) == {"stranger": "layers 1 3 -> 0 3"}


def test_two_meanings_of_one_name_are_an_error(tmp_path):
    write_run(tmp_path / "a", "odd", 1)
    write_run(tmp_path / "b", "odd", 2, student={"layers": [0, 3]})
    with pytest.raises(ValueError, match=r"arm 'odd': .*layers 1 3 -> 0 3"):
        group(tmp_path)


def test_a_run_that_is_there_twice_counts_once_and_is_named(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "z-copy", "odd", 1)
    unit = group_one(tmp_path)
    assert list_reasons(unit) == {"z-copy": f"the same run as {tmp_path / 'odd1'}"}
    assert [len(arm.runs) for arm in unit.arms] == [2, 2]


def test_one_run_under_two_seeds_counts_once_and_is_named(tmp_path):
    write_sweep(tmp_path)
    shutil.copytree(tmp_path / "top2", tmp_path / "copy")
    record = read_run_record(tmp_path / "copy")
    record.seed = 99
    record.write(tmp_path / "copy")
    unit = group_one(tmp_path)
    assert {arm.name: arm.seeds for arm in unit.arms} == {"odd": [1, 2], "top": [1, 2]}
    assert list_reasons(unit) == {"copy": f"the same run as {tmp_path / 'top2'}, though with another seed"}


def test_rows_that_differ_are_not_to_be_varied(tmp_path):
    write_run(tmp_path / "a", "top", arguments={"max_length": 64})
    write_run(tmp_path / "b", "odd", arguments={"max_length": 128})
    with pytest.raises(ValueError, match=r"give one set alone$"):
        group(tmp_path)


def test_two_different_runs_of_one_seed_are_an_error(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "other", "odd", 1, accuracy=0.5)
    with pytest.raises(ValueError, match=r"odd1 and .*other are both 'odd' with seed 1.*remove one"):
        group(tmp_path)


def test_missing_seeds_are_named_but_not_those_of_random_draws(tmp_path):
    write_sweep(tmp_path, seeds=(1, 2, 3))
    write_run(tmp_path / "even", "even", 2)
    write_run(tmp_path / "random", "random", 9)
    assert group_one(tmp_path).remarks == ["missing: even has no run with seed 1, 3"]


def test_mixed_machines_are_a_remark_not_a_reason(tmp_path):
    write_sweep(tmp_path)
    write_run(tmp_path / "a", "odd", 3, versions={"torch": "2.14.0"}, hardware={"device": "GPU", "cores": 2})
    write_run(tmp_path / "b", "top", 3)
    unit = group_one(tmp_path)
    assert unit.left_out == []
    assert unit.remarks == ["mixed versions: torch is 2.13.0 and 2.14.0", "mixed hardware: device is CPU and GPU"]


def test_a_training_loss_of_other_terms_is_remarked(tmp_path):
    write_sweep(tmp_path, ("top", "odd"), seeds=(1,))
    write_run(tmp_path / "alone", "top", 1, arguments=WITHOUT_TEACHER)
    [remark] = group_one(tmp_path).remarks
    assert remark.startswith("training loss: what it sums in top (first), without teacher is not")


# ---- what is varied on purpose -----------------------------------------------------------------------------------


def test_varied_settings_make_arms_and_the_others_still_have_to_agree(tmp_path):
    for matching in ("block", "top"):
        for seed in (1, 2):
            write_run(tmp_path / f"{matching}{seed}", "top", seed, arguments={"layer_matching": matching})
    write_run(tmp_path / "alone", "top", 1, arguments=WITHOUT_TEACHER | {"layer_matching": "top"})
    write_run(tmp_path / "longer", "top", 3, arguments={"layer_matching": "top", "num_train_epochs": 9.0})
    runs, _ = read_runs(find_run_folders([tmp_path]), varied=["layer_matching"])
    [unit] = group_runs(runs)
    assert {arm.name: arm.seeds for arm in unit.arms} == {
        "top, layer_matching block": [1, 2],
        "top, layer_matching top": [1, 2],
        "top, without teacher": [1],  # nothing was matched there
    }
    assert list_reasons(unit) == {"longer": "3 epochs -> 9"}
    assert [remark for remark in unit.remarks if "same start" in remark] == []


def test_what_differs_without_a_teacher_too_tells_those_arms_apart(tmp_path):
    for epochs in (3.0, 6.0):
        arguments = {"num_train_epochs": epochs}
        write_run(tmp_path / f"{epochs:g}", arguments=arguments)
        write_run(tmp_path / f"alone{epochs:g}", arguments=WITHOUT_TEACHER | arguments)
    runs, _ = read_runs(find_run_folders([tmp_path]), varied=["num_train_epochs"])
    [unit] = group_runs(runs)
    pairs = [(pair.first, pair.second) for pair in analyse_unit(unit, "test", None, 100).teacher_comparisons]
    names = [f"top, num_train_epochs {epochs}" for epochs in (3, 6)]
    assert sorted(pairs) == [(name, f"{name}, without teacher") for name in names]


def test_every_arm_with_a_teacher_is_held_against_its_start_without(tmp_path):
    for weight in (1.0, 2.0):
        write_run(tmp_path / f"{weight}", arguments={"hidden_weight": weight})
    write_run(tmp_path / "alone", arguments=WITHOUT_TEACHER)
    runs, _ = read_runs(find_run_folders([tmp_path]), varied=["hidden_weight"])
    [unit] = group_runs(runs)
    pairs = [(pair.first, pair.second) for pair in analyse_unit(unit, "test", None, 100).teacher_comparisons]
    assert sorted(pairs) == [(f"top, hidden_weight {weight}", "top, without teacher") for weight in (1, 2)]


# ---- transfer sets -----------------------------------------------------------------------------------------------


def write_transfer_run(folder: Path, fingerprint: str, seed: int = 1, **arguments: object) -> None:
    write_run(folder, "top", seed, task={"unlabelled_fingerprint": fingerprint}, arguments=arguments)


def list_arms(folder: Path, *varied: str) -> dict[str, list[int]]:
    [unit] = group_runs(read_runs(find_run_folders([folder]), varied)[0])
    return {arm.name: arm.seeds for arm in unit.arms}


def test_one_transfer_set_under_two_paths_is_one(tmp_path):
    for seed, path in enumerate(["a/extra.csv", "b/moved.csv"]):
        write_transfer_run(tmp_path / str(seed), "texts", seed, unlabeled_file=path)
    assert list_arms(tmp_path) == {"top": [0, 1]}


def test_a_strategy_trained_on_another_transfer_set_is_left_out(tmp_path):
    for seed in (1, 2):
        write_transfer_run(tmp_path / f"top{seed}", "texts", seed, unlabeled_file="extra.csv")
    write_run(tmp_path / "odd", "odd", 1, task={"unlabelled_fingerprint": "others"})
    write_run(tmp_path / "even", "even", 1)
    assert list_reasons(group_one(tmp_path)) == dict.fromkeys(["even", "odd"], "other unlabelled rows")


def test_a_control_without_a_teacher_has_no_transfer_set_and_is_compared(tmp_path):
    write_transfer_run(tmp_path / "a", "texts", unlabeled_file="extra.csv", max_unlabeled_samples=8)
    write_run(tmp_path / "b", "top", 1, arguments=WITHOUT_TEACHER)
    assert list_arms(tmp_path) == {"top": [1], "top, without teacher": [1]}


def test_varied_transfer_sets_make_arms(tmp_path):
    write_run(tmp_path / "a", "top", 1)
    write_transfer_run(tmp_path / "b", "texts", unlabeled_file="x/extra.csv")
    write_transfer_run(tmp_path / "c", "few texts", unlabeled_file="x/extra.csv", max_unlabeled_samples=8)
    assert list_arms(tmp_path, "unlabeled_file", "max_unlabeled_samples") == {
        "top, unlabeled_file none, max_unlabeled_samples none": [1],
        "top, unlabeled_file extra.csv, max_unlabeled_samples none": [1],
        "top, unlabeled_file extra.csv, max_unlabeled_samples 8": [1],
    }


def test_an_arm_never_averages_over_two_transfer_sets(tmp_path):
    """Two files of one name, or as many rows of two files: what is varied does not tell them apart."""
    for seed, fingerprint in enumerate(["texts", "texts", "others"]):
        options = {"unlabeled_file": f"{fingerprint}/extra.csv", "max_unlabeled_samples": 8}
        write_transfer_run(tmp_path / str(seed), fingerprint, seed, **options)
    for varied in ("unlabeled_file", "max_unlabeled_samples"):
        [unit] = group_runs(read_runs(find_run_folders([tmp_path]), [varied])[0])
        assert list_reasons(unit) == {"2": "other unlabelled rows"}


def test_a_tie_of_transfer_sets_names_what_to_vary(tmp_path):
    write_run(tmp_path / "a", "top", 1)
    write_transfer_run(tmp_path / "b", "texts", 2, unlabeled_file="extra.csv", max_unlabeled_samples=8)
    remedy = "other unlabelled rows; .* arms of them by --vary unlabeled_file max_unlabeled_samples"
    with pytest.raises(ValueError, match=remedy):
        group(tmp_path)


def test_a_tie_of_recombined_pairs_names_them_and_what_is_varied_then_agrees(tmp_path):
    """And files that stand beside what is varied are no other arm without a word."""
    write_run(tmp_path / "a", "top", 1)
    write_transfer_run(tmp_path / "b", "pairs", 1, recombined_pairs=100)
    with pytest.raises(ValueError, match=r"other unlabelled rows\): .* arms of them by --vary recombined_pairs$"):
        group(tmp_path)
    assert list_arms(tmp_path, "recombined_pairs") == {
        "top, recombined_pairs none": [1],
        "top, recombined_pairs 100": [1],
    }
    write_transfer_run(tmp_path / "c", "both", 2, recombined_pairs=100, unlabeled_file="x/extra.csv")
    [unit] = group_runs(read_runs(find_run_folders([tmp_path]), ["recombined_pairs"])[0])
    assert list_reasons(unit) == {"c": "unlabeled_file none -> extra.csv"}


def test_recombined_pairs_beside_files_that_are_varied_have_to_agree(tmp_path):
    for seed in (1, 2):
        write_transfer_run(tmp_path / f"file{seed}", "texts", seed, unlabeled_file="extra.csv")
        write_run(tmp_path / f"none{seed}", "top", seed)
    write_transfer_run(tmp_path / "pairs", "pairs", 3, recombined_pairs=100)
    [unit] = group_runs(read_runs(find_run_folders([tmp_path]), ["unlabeled_file"])[0])
    assert list_reasons(unit) == {"pairs": "recombined_pairs none -> 100"}


def test_pairs_drawn_with_another_seed_or_of_other_columns_are_told_apart(tmp_path):
    write_sweep(tmp_path, ("top",))
    for strategy, other in {"odd": {"sample_seed": 7}, "even": {"text_columns": "a,c"}}.items():
        write_run(tmp_path / strategy, strategy, arguments=other, task={"unlabelled_fingerprint": "other"})
    assert all("other unlabelled rows" in reason for reason in list_reasons(group_one(tmp_path)).values())


@pytest.mark.parametrize("name", ["recombined_pairs", "max_unlabeled_samples"])
def test_transfer_sets_that_are_tuned_are_trials_of_one_arm(tmp_path, name):
    options = {"unlabeled_file": "extra.csv"} if name == "max_unlabeled_samples" else {}
    for strategy in ("top", "odd"):
        for value, seeds in {100: (1,), 200: (1, 2)}.items():
            for seed in seeds:
                arguments = options | {name: value, "tuned_flags": name}
                accuracy = 0.6 + value / 1000
                folder = tmp_path / f"{strategy}{value}-{seed}"
                write_run(
                    folder, strategy, seed, accuracy, arguments=arguments, task={"unlabelled_fingerprint": str(value)}
                )
    unit = group_one(tmp_path)
    assert {arm.name: (arm.seeds, arm.tuning.values) for arm in unit.arms} == {
        strategy: ([1, 2], {name: 200}) for strategy in ("odd", "top")
    }
    assert unit.left_out == []


def test_further_seeds_of_a_tuned_arm_have_the_transfer_set_of_what_was_chosen(tmp_path):
    for seed, fingerprint in enumerate(["texts", "texts", "others"]):
        options = {"unlabeled_file": "extra.csv", "max_unlabeled_samples": 8, "tuned_flags": "max_unlabeled_samples"}
        write_transfer_run(tmp_path / str(seed), fingerprint, seed, **options)
    assert list_reasons(group_one(tmp_path)) == {"2": "other unlabelled rows"}


PKD_LOSS = {"hidden_weight": 0.0, "pkd_weight": 10.0, "temperature": 10.0}


def test_losses_that_are_varied_together_are_named_by_their_terms(tmp_path):
    write_sweep(tmp_path, ("top",), seeds=(1, 2))
    for seed in (1, 2):
        write_run(tmp_path / f"pkd{seed}", "top", seed, arguments=PKD_LOSS)
    stages = {"intermediate_epochs": 1.0, "schedules": "kl_weight=linear:1", "layer_matching": "top"}
    write_run(tmp_path / "stages", "top", 1, arguments=stages)
    write_run(tmp_path / "alone", "top", 1, arguments=WITHOUT_TEACHER)
    assert list_arms(tmp_path, "loss") == {
        "top, 0.5 ce + 0.5 kl (T 2) + 1 hidden (cosine)": [1, 2],
        "top, 0.5 ce + 0.5 kl (T 10) + 10 pkd": [1, 2],
        "top, 0.5 ce + 0.5 kl (T 2) + 1 hidden (cosine), 1 intermediate epochs, kl_weight=linear:1, matching top": [1],
        "top, without teacher": [1],
    }


def test_losses_of_one_name_that_differ_are_not_one_arm(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / f"few{seed}", "top", seed, arguments={"relation_weight": 1.0})
    write_run(tmp_path / "many", "top", 3, arguments={"relation_weight": 1.0, "relation_heads": 4})
    runs, _ = read_runs(find_run_folders([tmp_path]), varied=["loss"])
    [unit] = group_runs(runs)
    assert [arm.seeds for arm in unit.arms] == [[1, 2]]
    assert list_reasons(unit) == {"many": "relation_heads 12 -> 4"}


def test_the_weight_of_cross_entropy_is_no_matter_of_a_control(tmp_path):
    for weight in (0.5, 0.8):
        write_run(tmp_path / f"{weight}", arguments={"ce_weight": weight})
    write_run(tmp_path / "alone", arguments=WITHOUT_TEACHER)
    assert list_arms(tmp_path, "ce_weight") == {
        "top, ce_weight 0.5": [1],
        "top, ce_weight 0.8": [1],
        "top, without teacher": [1],
    }


@pytest.mark.parametrize("setting", [{"temperature": 4.0}, {"layer_matching": "top"}, {"hidden_loss": "mse"}])
def test_training_losses_that_a_varied_setting_changes_are_remarked(tmp_path, setting):
    write_sweep(tmp_path, ("top",))
    write_run(tmp_path / "other", arguments=setting)
    runs, _ = read_runs(find_run_folders([tmp_path]), varied=list(setting))
    [unit] = group_runs(runs)
    assert any(remark.startswith("training loss: what it sums in top (first),") for remark in unit.remarks)
