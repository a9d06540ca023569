"""The card states what its user needs, says so where nothing is known, and what others named opens nothing in it."""

import csv
import json
import re

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hub_api import list_card_errors
from layer_distillation.cards.model_card import hide_folders
from layer_distillation.cards.scores import read_comparison_row
from layer_distillation.comparison.archives import SUFFIX
from layer_distillation.records.run_record import RunRecord, read_run_record
from made_students import PARTS, find_section, make_card, make_record, write_student
from packed_runs import RESULTS, unpack_run
from run_distillation import main
from tiny_project import make_project

NASTY = "a|b\n---\n## c <script>x</script> ```d``` \x1b[31m & \"e' : {f}"


# ---- what it states --------------------------------------------------------------------------------------------------


def test_the_card_states_what_the_student_was_cut_from_and_what_it_answers(tmp_path):
    card = make_card(make_record(), tmp_path)
    assert "# student" in card.text.splitlines()
    assert (
        "A student of 3 layers, cut from the 4 layers of `org/teacher` (strategy `odd`) and trained by knowledge "
        "distillation on `sst2`. It answers one of `red`, `green`, `blue`."
    ) in card.text
    assert find_section(card, "Where its layers come from").splitlines()[2:] == [
        "| student layer | starts from layer of the teacher | imitates teacher layer |",
        "|---|---|---|",
        "| 0 | 1 | 1 |",
        "| 1 | 3 | 3 |",
        "| 2 | fresh weights | 3 |",
    ]


def test_layers_that_nothing_compares_are_not_said_to_imitate(tmp_path):
    card = make_card(make_record(arguments={"hidden_weight": 0.0}), tmp_path)
    assert "| 2 | fresh weights |" in card.text
    assert "imitates" not in card.text


def test_scores_have_their_intervals_and_the_teachers_beside_them(tmp_path):
    """Wilson's, of 5, 6 and 7 of 8 rows and of 3 of 4."""
    lines = find_section(make_card(make_record(), tmp_path), "Scores").splitlines()
    assert "| validation | 8 | accuracy | 0.6250 [0.3057, 0.8632] | 0.7500 [0.4093, 0.9285] |" in lines
    assert "| validation | 8 | agreement with the teacher | 0.8750 [0.5291, 0.9776] | - |" in lines
    assert "| validation | 8 | loss | 0.7500 | 0.5000 |" in lines
    assert "| test | 4 | accuracy | 0.7500 [0.3006, 0.9544] | - |" in lines
    assert "validation also chose the epoch" in lines[-1]


def test_size_and_speed_stand_against_the_teachers_on_a_named_machine(tmp_path):
    assert find_section(make_card(make_record(), tmp_path), "Size and speed").splitlines() == [
        "|  | student | teacher |  |",
        "|---|---|---|---|",
        "| layers | 3 | 4 |  |",
        "| parameters | 5,000 | 9,000 |  |",
        "| weights in float32, MB | 20.00 | 36.00 |  |",
        "| milliseconds, batch of 1 | 4.00 | 8.00 | 2.00 times as fast |",
        "| milliseconds, batch of 32 | 40.00 | 100.00 | 2.50 times as fast |",
        "",
        "Milliseconds per forward pass on CPU (threads: 2), 16 random tokens per row (as many as the "
        "training rows have on average, at most 128), float32; the fastest of 10 and 5 "
        "passes of each, by turns, at the end of the run.",
    ]


def test_training_settings_are_a_table(tmp_path):
    own = {"bf16": True, "tuned_flags": "learning_rate"}
    rows = find_section(make_card(make_record(arguments=own), tmp_path), "Training").splitlines()
    for row in (
        "| training rows | 24 |",
        "| epochs | 3; kept is the one after epoch 2 |",
        "| rows per step | 16 |",
        "| learning rate | 0.0001, linear, warm-up 0.1 |",
        "| loss | 0.5 ce + 0.5 kl + 1 hidden, temperature 2 |",
        "| tuned on validation rows | learning_rate |",
        "| tokens per row | at most 16 |",
        "| precision of training | bf16 |",
        "| seed | 7 |",
        "| machine | CPU, 2 cores, processes: 1 |",
    ):
        assert row in rows
    assert "run_distillation.py --layer_strategy odd" in rows


def test_limits_name_an_untrained_teacher(tmp_path):
    assert "untrained" not in find_section(make_card(make_record(), tmp_path), "Limits")
    limits = find_section(make_card(make_record(teacher={"is_trained": False}), tmp_path), "Limits")
    assert "The teacher's head was untrained: what was imitated is noise" in limits
    assert "- Texts are cut at 16 tokens" in limits
    assert "One run, seed 7" in limits


def make_other_start(**arguments: str) -> RunRecord:
    """Of a student whose weights were another checkpoint's; the teacher's card has a licence."""
    source = {"name": "org/small", "fingerprint": "f"}
    return make_record(student={"source": source}, arguments=arguments, teacher={"card": {"license": ["mit"]}})


def test_limits_say_what_was_cut_unknown_or_never_seen(tmp_path):
    cut = {"rows": 1000, "cut_rows": 70, "cut_token_share": 0.034, "unknown_token_share": 0.021}
    whole = {"rows": 9, "cut_rows": 0, "cut_token_share": 0.0, "unknown_token_share": 0.0}
    task = {"max_length": 64, "texts": {"train": cut, "validation": whole}, "labels_without_rows": ["blue"]}
    text = make_card(make_record(task=task), tmp_path).text
    assert "- Texts are cut at 64 tokens, as in training: of train 70 of 1,000 rows and 3.4 % of the tokens." in text
    assert "- 2.1 % of the tokens of the training texts are unknown to its tokenizer." in text
    assert "- No training row had the label `blue`: it is the teacher's alone." in text
    assert "max_length=64" in text


def test_a_student_of_another_checkpoint_is_not_said_to_be_the_teachers(tmp_path):
    card = make_card(make_other_start(student_model_name_or_path="org/small"), tmp_path)
    assert "A student of 3 layers, which began as `org/small` and imitates the 4 layers of `org/teacher`" in card.text
    section = find_section(card, "Where its layers come from")
    assert "Embeddings and norms began as `org/small` had them" in section
    assert "starts from" not in section
    assert card.data.base_model == "org/small"
    assert card.data.license is None
    assert "Licence: that of `org/small`" in card.text


def test_layers_of_another_checkpoint_are_said_to_be_its(tmp_path):
    card = make_card(make_other_start(student_source_model="org/small"), tmp_path)
    assert "| student layer | starts from layer of org/small | imitates teacher layer |" in card.text
    assert "strategy `odd, from small`" in card.text


def test_a_narrower_student_says_so(tmp_path):
    sizes = {"student_hidden_size": 8, "student_width_init": "truncation"}
    assert "(strategy `odd, hidden 8 (truncation)`)" in make_card(make_record(arguments=sizes), tmp_path).text


def test_rows_per_step_are_those_that_the_memory_allowed(tmp_path):
    card = make_card(make_record(student={"train_batch_rows": 4}), tmp_path)
    assert "| rows per step | 8 |" in card.text


# ---- how to use it ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [["text"], ["premise", "hypothesis"]])
def test_the_three_lines_run(columns, tmp_path, capsys):
    folder = write_student(tmp_path / 'a "quoted" folder', make_record(task={"text_columns": columns}))
    code = (folder / "README.md").read_text().split("```python\n")[1].split("\n```")[0]
    assert len(code.splitlines()) == 3
    capsys.readouterr()
    exec(code, {})
    assert "'label': 'LABEL_" in capsys.readouterr().out


def test_the_three_lines_print_the_number_of_a_regression_itself(tmp_path, capsys):
    task = {"label_names": None, "metric_names": ["pearson"]}
    folder = write_student(tmp_path / "student", make_record(task=task))
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    student = AutoModelForSequenceClassification.from_pretrained(folder)
    student.classifier = torch.nn.Linear(16, 1)
    torch.nn.init.constant_(student.classifier.bias, 3.5)
    torch.nn.init.zeros_(student.classifier.weight)
    student.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    card = (folder / "README.md").read_text()
    assert "It answers a number." in card
    capsys.readouterr()
    exec(card.split("```python\n")[1].split("\n```")[0], {})
    assert "'score': 3.5" in capsys.readouterr().out


# ---- the comparison --------------------------------------------------------------------------------------------------


def test_the_comparisons_row_is_in_the_card(tmp_path):
    folder = unpack_run("sick/top-seed42", tmp_path / "run")
    record = read_run_record(folder)
    row = read_comparison_row(RESULTS / "comparison", record, folder)
    section = find_section(make_card(record, folder, row), "Among the strategies compared").splitlines()
    with (RESULTS / "comparison" / "comparison.csv").open() as file:
        arms = {row["arm"]: row for row in csv.DictReader(file) if row["unit"] == "sick, 3 layers"}
    top, seeds = arms["top"], arms["top"]["seeds"].split()
    figures = ("metric", "metric_standard_deviation", "difference_to_best", "difference_low", "difference_high")
    mean, deviation, behind, low, high = (f"{float(top[name]):.4f}" for name in figures)
    assert section[:3] == [
        "| strategy | test accuracy | seeds | behind the best | corrected p |",
        "|---|---|---|---|---|",
        f"| top (first) | {mean} ± {deviation} | {len(seeds)} ({', '.join(seeds)}) | {behind} [{low}, {high}] "
        f"| {float(top['p_holm']):.4f} |",
    ]
    best = f"{float(arms['even']['metric']):.4f} ({len(seeds)} seeds)"
    assert section[4] == f"- Best: even, test accuracy {best}."
    assert section[5].startswith(f"- top (first) is worse than even by {behind} [{low}, {high}], corrected p ")
    assert section[6] == ""


def test_without_a_comparison_none_is_mentioned(tmp_path):
    assert "Among the strategies" not in make_card(make_record(), tmp_path).text


# ---- old records, strange names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", sorted(path.name.removesuffix(SUFFIX) for path in RESULTS.glob(f"*{SUFFIX}")))
def test_records_of_earlier_versions_make_a_valid_card(task, tmp_path):
    folder = unpack_run(f"{task}/top-seed42", tmp_path / "run")
    record = read_run_record(folder)
    card = make_card(record, folder)
    assert list_card_errors(str(card)) == []
    assert ("How fast it is was not measured." in card.text) == (not record.speed)
    assert card.text.count(" [0.") + card.text.count(" [-0.") > 0


def test_nothing_that_others_named_opens_anything_in_the_card(tmp_path):
    """The same lines, tables and keys as with plain names."""
    card_said = {"license": [NASTY], "language": [NASTY], "datasets": [NASTY], "base_model": [NASTY]}
    nasty = make_record(
        f"run_distillation.py --label_column '{NASTY}'".replace("e'", "e"),
        task={"name": NASTY, "label_names": [NASTY, "b", "c"], "dataset_name": None},
        teacher={"name": NASTY, "is_local": True, "card": card_said},
        hardware={"device": NASTY},
    )
    plain = make_record(
        task={"dataset_name": None},
        teacher={"name": "t", "is_local": True, "card": {name: ["x"] for name in card_said}},
    )
    card, expected = make_card(nasty, tmp_path), make_card(plain, tmp_path)
    assert list_card_errors(str(card)) == []
    assert card.data.to_dict().keys() <= expected.data.to_dict().keys()
    assert list_structure(card.text) == list_structure(expected.text)
    assert "\x1b" not in str(card)
    outside_code = "".join(part for index, part in enumerate(card.text.split("````")) if index % 2 == 0)
    assert "<script>" not in strip_code_spans(outside_code)


def list_structure(text: str) -> list[str]:
    """Headlines, and of every table row how many cells it has; code blocks left out."""
    structure, fence = [], ""
    for line in text.splitlines():
        marks = line[: len(line) - len(line.lstrip("`"))]
        if len(marks) >= 3 and (not fence or line.strip() == fence):
            fence = "" if fence else marks
        elif not fence and line.startswith("#"):
            structure.append(line.split()[0])
        elif not fence and line.startswith("|"):
            structure.append(f"{line.replace(chr(92) + '|', '').count('|')} bars")
    return structure


def strip_code_spans(text: str) -> str:
    """The text without what stands between equal runs of backticks, as CommonMark pairs them."""
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", text)


def test_paths_of_this_machine_leave_only_their_last_part():
    command = "run_distillation.py --a=/x/y/b.csv --c ./d/e --f user/name --g '/with blank/h i'"
    assert hide_folders(command) == "run_distillation.py --a=b.csv --c e --f user/name --g 'h i'"


# ---- a real run ------------------------------------------------------------------------------------------------------


def test_a_run_leaves_a_whole_card_with_speed_and_what_its_teacher_inherits_to_it(tmp_path):
    flags = make_project(tmp_path)
    (tmp_path / "teacher" / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# t\n")
    assert main(flags) == 0
    record = read_run_record(tmp_path / "run")
    assert record.speed["tokens"] == 8
    assert record.speed["threads"] == torch.get_num_threads()
    assert all(value > 0 for times in record.speed["milliseconds"].values() for value in times.values())
    assert record.seconds["speed"] < 30
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert list_card_errors(str(card)) == []
    assert card.data.license == "mit"
    assert card.data.language == "en"
    assert "| milliseconds, batch of 32 |" in card.text
    assert "agreement with the teacher" in card.text
    assert PARTS["task"].keys() <= record.task.keys()
    assert AutoTokenizer.from_pretrained(tmp_path / "run")
