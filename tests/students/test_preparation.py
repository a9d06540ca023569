"""Matching by resemblance, narrower students, other checkpoints and existing students, through the command."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from conftest import make_bert
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.runs import read_runs
from layer_distillation.losses.functions import hidden_state_loss
from layer_distillation.losses.layer_matching import MATCHINGS_BY_DATA, resolve_layer_matching
from layer_distillation.losses.projections import Projections
from layer_distillation.outputs.compared import run_model
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.preparation import PreparedRun, open_record, prepare_run
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES
from layer_distillation.students.layer_similarity import iterate_batches
from layer_distillation.teachers import training as teacher_training
from preview_strategies import main as preview
from run_distillation import main
from student_init import LAYER_STRATEGIES, build_student
from tiny_project import COLOURS, make_project, write_tokenizer


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    return make_project(tmp_path)


def prepare(flags: list[str]) -> PreparedRun:
    arguments = parse_command_line(flags)
    return prepare_run(arguments, open_record(Path(arguments.training.output_dir), arguments))


def get_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def hold_the_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def write_other_model(folder: Path, labels: list[str] | None = None, with_head: bool = True, **options: object) -> Path:
    """A BERT with the project's vocabulary, of other weights than the teacher."""
    names = labels or COLOURS
    model = make_bert(num_labels=len(names), seed=7, id2label=dict(enumerate(names)), **options)
    model.config.label2id = {name: index for index, name in enumerate(names)}
    (model if with_head else model.bert).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


# ---- the default ---------------------------------------------------------------------------------------------------


def test_a_plain_student_is_what_build_student_makes_and_looks_at_no_rows(flags, monkeypatch):
    for name in ("make_calibration_batches", "run_teacher", "narrow_student", "load_source"):
        monkeypatch.setattr(f"layer_distillation.students.preparation.{name}", lambda *_: pytest.fail("not asked for"))
    run = prepare(flags)
    plain = build_student(run.teacher.model, [0, 2], "even", "teacher", seed=42)
    assert hold_the_same(run.student.state_dict(), plain.state_dict())
    assert run.student.config.to_dict() == plain.config.to_dict()
    assert (run.layer_matching, run.projection_start) == ([1, 3], None)


def test_the_teacher_s_own_sizes_train_to_the_same_student_bit_for_bit(tmp_path, flags):
    assert main([*flags, f"--output_dir={tmp_path / 'plain'}"]) == 0
    sizes = ["--student_hidden_size=16", "--student_intermediate_size=32", "--student_attention_heads=2"]
    assert main([*flags, *sizes, f"--output_dir={tmp_path / 'named'}"]) == 0
    assert hold_the_same(get_weights(tmp_path / "plain"), get_weights(tmp_path / "named"))
    plain, named = (read_run_record(tmp_path / name) for name in ("plain", "named"))
    assert plain.metrics == named.metrics
    assert plain.student["projection_parameters"] == 0


# ---- matching by resemblance ---------------------------------------------------------------------------------------


SLOW_TERMS = [pytest.param(f"--{name}_weight=1", marks=pytest.mark.slow) for name in ("attention", "pkd")]


@pytest.mark.parametrize("terms", ["--hidden_weight=1", *SLOW_TERMS])
def test_best_matching_trains_from_the_store_of_its_layers_and_is_recorded(tmp_path, flags, terms, caplog):
    caplog.set_level("INFO")
    own = [*flags, terms, "--layer_matching=best", "--teacher_outputs=stored", "--layer_strategy=bottom"]
    assert main(own) == 0
    record = read_run_record(tmp_path / "run")
    matching = record.student["layer_matching"]
    assert matching == sorted(set(matching))
    assert len(matching) == len(record.student["matching_similarity"]) == 2
    assert all(0 <= value <= 1 for value in record.student["matching_similarity"])
    assert record.arguments["layer_matching"] == "best"
    assert f"student layer 1 <- teacher layer 3   (imitates teacher layer {matching[1]})" in caplog.text
    named = [*own, f"--layer_matching={','.join(map(str, matching))}", f"--output_dir={tmp_path / 'named'}"]
    assert main(named) == 0
    assert hold_the_same(get_weights(tmp_path / "run"), get_weights(tmp_path / "named"))


def test_best_matches_a_student_that_starts_at_the_input_with_the_layers_it_has(flags):
    """The first layers of a teacher are those layers: their CKA is 1, and no other order can have more."""
    run = prepare([*flags, "--layer_matching=best", "--layer_strategy=top"])
    assert run.layer_matching == [0, 1]
    assert run.student.config.distillation["matching_similarity"] == pytest.approx([1.0, 1.0])


STARTS = [*(f"--layer_strategy={name}" for name in (*LAYER_STRATEGIES, *SEARCHED_STRATEGIES)), "--student_layers=3,0,0"]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("matching", ["block", "best", "bottom"])
def test_every_start_goes_with_every_matching(flags, start, matching):
    run = prepare([*flags, start, f"--layer_matching={matching}", "--calibration_rows=8"])
    assert len(run.layer_matching) == len(run.layers)
    expected = {"block": {2: [1, 3], 3: [0, 1, 3]}, "bottom": {2: [2, 3], 3: [1, 2, 3]}}
    assert matching == "best" or run.layer_matching == expected[matching][len(run.layers)]
    assert run.layer_matching == sorted(set(run.layer_matching))


@pytest.mark.parametrize("matching", SEARCHED_STRATEGIES)
def test_a_student_may_imitate_what_a_strategy_finds_by_data(tmp_path, flags, matching):
    own = [*flags, "--calibration_rows=8"]
    chosen = prepare([*own, f"--layer_strategy={matching}"]).layers
    other = [*own, "--layer_strategy=top", f"--layer_matching={matching}", f"--output_dir={tmp_path / 'other'}"]
    run = prepare(other)
    assert run.layer_matching == chosen
    assert run.student.config.distillation["matching_scores"]["scores"]


def test_the_error_for_an_unknown_matching_names_all_that_look_at_data():
    assert set(MATCHINGS_BY_DATA) == {"best", *SEARCHED_STRATEGIES}
    with pytest.raises(
        ValueError, match=r"greddy names no teacher layers: did you mean greedy.*top.*best, influence, cka"
    ):
        resolve_layer_matching("greddy", 4, 2)


def test_a_random_matching_goes_by_the_seed_of_the_run(tmp_path, flags):
    own = [*flags, "--layer_matching=random", "--student_num_layers=2"]
    found = [
        prepare([*own, f"--seed={seed}", f"--output_dir={tmp_path / str(seed)}"]).layer_matching for seed in (0, 1)
    ]
    assert found == [resolve_layer_matching("random", 4, 2, seed) for seed in (0, 1)]
    assert found[0] != found[1]


# ---- narrower students ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["truncation", "importance", "principal_components"])
def test_a_narrower_student_trains_with_projections_and_ships_without(tmp_path, flags, init, caplog):
    caplog.set_level("INFO")
    sizes = ["--student_hidden_size=8", "--student_intermediate_size=20", f"--student_width_init={init}"]
    terms = ["--hidden_weight=1", "--embedding_weight=1", "--relation_weight=1", "--relation_heads=2"]
    assert main([*flags, *sizes, *terms, "--teacher_outputs=stored"]) == 0
    record = read_run_record(tmp_path / "run")
    assert record.student["hidden_size"] == 8
    assert record.student["projection_parameters"] == 3 * 8 * 16
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert sum(parameter.numel() for parameter in student.parameters()) == record.student["parameters"]
    assert (student.config.hidden_size, student.config.num_attention_heads) == (8, 1)
    assert student.config.distillation["width_init"] == init
    assert not any("projection" in name for name in get_weights(tmp_path / "run"))
    assert record.history[-1]["train_hidden_loss"] < record.history[0]["train_hidden_loss"]
    assert record.history[0]["train_embedding_loss"] < 1.0  # a start without its ridge blew dropout up to hundreds
    assert "student: 8 hidden, 1 heads, 20 units" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "init"),
    [(["--student_hidden_size=8"], "principal_components"), (["--student_intermediate_size=20"], "importance")],
)
def test_a_narrower_student_keeps_components_where_it_has_fewer_dimensions(tmp_path, flags, sizes, init):
    chosen = prepare([*flags, *sizes]).student
    assert chosen.config.distillation["width_init"] == init
    named = prepare([*flags, *sizes, f"--student_width_init={init}", f"--output_dir={tmp_path / 'named'}"]).student
    assert hold_the_same(dict(chosen.state_dict()), dict(named.state_dict()))


@pytest.mark.slow
def test_a_default_start_of_a_narrower_student_is_recorded_and_named_as_if_it_had_been_asked_for(tmp_path, flags):
    folders = [tmp_path / "run", tmp_path / "named"]
    own = [*flags, "--student_hidden_size=8"]
    assert main(own) == 0
    assert main([*own, "--student_width_init=principal_components", f"--output_dir={folders[1]}"]) == 0
    runs, _ = read_runs(folders)
    assert [run.record.student["width_init"] for run in runs] == ["principal_components"] * 2
    assert len({run.arm_name for run in runs}) == 1
    assert "(principal_components)" in runs[0].arm_name


def test_a_run_with_fewer_units_from_before_the_default_changed_is_still_the_same_run(tmp_path, flags):
    own = [*flags, "--student_intermediate_size=20"]
    record = open_record(tmp_path / "run", parse_command_line([*own, "--student_width_init=importance"]))
    record.write(tmp_path / "run")
    prepare(own)


def test_fitted_projections_start_nearer_to_the_teacher_than_random_ones(flags):
    run = prepare([*flags, "--student_hidden_size=8", "--hidden_loss=mse"])
    assert sorted(run.projection_start) == [0, 1]
    assert {tuple(matrix.shape) for matrix in run.projection_start.values()} == {(8, 16)}
    batch = next(iterate_batches(run.data.train, run.teacher.tokenizer, torch.device("cpu")))
    targets = run_model(run.teacher.model.eval(), batch, run.layer_matching).hidden_states
    distances = []
    for start in (run.projection_start, None):
        projections = Projections((0, 1), 8, 16, seed=1, start=start)
        states = run_model(run.student.eval(), batch, (0, 1)).hidden_states
        projected = projections.project([states[0], *states])[1:]  # the first is the embeddings', without a matrix
        losses = [
            hidden_state_loss([one], [other], batch["attention_mask"])
            for one, other in zip(projected, targets, strict=True)
        ]
        distances.append([loss.item() for loss in losses])
    assert all(fitted < random for fitted, random in zip(*distances, strict=True))


def test_measures_show_how_far_they_are_but_for_a_quiet_run(tmp_path, flags, capsys):
    own = [*flags, "--layer_strategy=cka", "--layer_matching=best", "--student_hidden_size=8"]
    shown = ("CKA of the layers", "CKA with the teacher", "importance of heads and units")
    prepare([*own, f"--cache_dir={tmp_path / 'one'}", "--disable_tqdm=true"])
    printed = capsys.readouterr().err
    assert not [name for name in shown if name in printed]
    prepare([*own, f"--cache_dir={tmp_path / 'two'}", "--disable_tqdm=false", f"--output_dir={tmp_path / 'two'}"])
    printed = capsys.readouterr().err
    assert [name for name in shown if name in printed] == list(shown)
    for strategy, name in {"influence": "block influence", "greedy": "students of 3 layers"}.items():
        prepare([*flags, f"--layer_strategy={strategy}", "--disable_tqdm=false", f"--output_dir={tmp_path / strategy}"])
        assert name in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_narrower_run_started_again_ends_with_the_same_numbers(tmp_path, flags):
    own = [*flags, "--student_hidden_size=8", "--num_train_epochs=3", "--keep_checkpoints", "true"]
    own += ["--save_total_limit=10"]
    assert main([*own, f"--output_dir={tmp_path / 'whole'}"]) == 0
    assert main([*own, f"--output_dir={tmp_path / 'again'}"]) == 0
    record = json.loads((tmp_path / "again" / "run_record.json").read_text())
    record["status"] = "running"
    (tmp_path / "again" / "run_record.json").write_text(json.dumps(record))
    for step in (6, 9):
        (tmp_path / "again" / f"checkpoint-{step}" / "trainer_state.json").unlink()
    assert main([*own, f"--output_dir={tmp_path / 'again'}"]) == 0
    assert hold_the_same(get_weights(tmp_path / "whole"), get_weights(tmp_path / "again"))
    assert read_run_record(tmp_path / "whole").metrics == read_run_record(tmp_path / "again").metrics


def test_a_preview_looks_at_the_narrower_student(tmp_path, flags, capsys):
    own = [*flags, "--student_hidden_size=8", "--strategies=top,scratch"]
    assert preview([*own, f"--output_dir={tmp_path / 'preview'}"]) == 0
    assert "scratch" in capsys.readouterr().out


# ---- another checkpoint --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_head", [True, False])
def test_layers_come_from_the_source_and_the_head_from_the_teacher(tmp_path, flags, with_head):
    source = write_other_model(tmp_path / "source", with_head=with_head)
    run = prepare([*flags, f"--student_source_model={source}", "--layer_strategy=bottom"])
    weights, theirs = run.student.state_dict(), make_bert(seed=7).state_dict()
    teacher = run.teacher.model.state_dict()
    for name, tensor in weights.items():
        source_name = name.replace("layer.0.", "layer.2.").replace("layer.1.", "layer.3.")
        expected = teacher if name.startswith("classifier") else theirs
        assert torch.equal(tensor, expected[source_name]), name
    assert run.student.config.distillation["source"]["name"] == "source"
    assert run.student.config.distillation["student_layers"] == [2, 3]


def test_a_source_without_a_pooler_gets_the_teacher_s(tmp_path, flags):
    source = write_other_model(tmp_path / "source", with_head=False)
    weights = load_file(source / "model.safetensors")

    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(kept, source / "model.safetensors", metadata={"format": "pt"})
    run = prepare([*flags, f"--student_source_model={source}"])
    pooler = "bert.pooler.dense.weight"
    assert torch.equal(run.student.state_dict()[pooler], run.teacher.model.state_dict()[pooler])


@pytest.mark.slow
def test_a_comparison_never_mixes_runs_of_different_sources_or_widths(tmp_path, flags):
    one, other = (write_other_model(tmp_path / name / "source") for name in ("a", "b"))
    changed = load_file(other / "model.safetensors")
    changed["bert.embeddings.word_embeddings.weight"] += 1.0

    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    variants = {
        "plain": [],
        "from_a": [f"--student_source_model={one}"],
        "from_a2": [f"--student_source_model={one}", "--seed=43"],
        "from_b": [f"--student_source_model={other}", "--seed=44"],
        "narrow": ["--student_hidden_size=8"],
    }
    for name, own in variants.items():
        assert main([*flags, *own, "--num_train_epochs=1", f"--output_dir={tmp_path / 'runs' / name}"]) == 0
    runs, left_out = read_runs([tmp_path / "runs" / name for name in variants])
    assert not left_out
    (unit,) = group_runs(runs)
    assert {arm.name: arm.seeds for arm in unit.arms} == {
        "even": [42],
        "even, from source": [42, 43],
        "even, hidden 8 (principal_components)": [42],
    }
    assert [(Path(entry.folder).name, entry.reason[:48]) for entry in unit.left_out] == [
        ("from_b", "another checkpoint that its weights came from")
    ]
    assert not any("same start" in remark for remark in unit.remarks)


# ---- an existing student -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_head", [True, False])
@pytest.mark.slow
def test_an_existing_smaller_model_is_the_student(tmp_path, flags, with_head):
    sizes = {"num_layers": 2, "hidden_size": 8}
    existing = write_other_model(tmp_path / "small", with_head=with_head, **sizes)
    own = [*flags, f"--student_model_name_or_path={existing}"]
    run = prepare(own)
    theirs = make_bert(seed=7, **sizes).state_dict()
    for name, tensor in run.student.state_dict().items():
        if with_head or not name.startswith("classifier"):
            expected = theirs[name].flip(0) if name.startswith("classifier") else theirs[name]  # blue, green, red
            assert torch.equal(tensor, expected), name
    again = prepare([*own, f"--output_dir={tmp_path / 'again'}"])
    assert hold_the_same(run.student.state_dict(), again.student.state_dict())
    assert main([*own, f"--output_dir={tmp_path / 'trained'}", "--layer_matching=best"]) == 0
    record = read_run_record(tmp_path / "trained")
    assert record.strategy == "model-small"
    assert record.student["layers"] == [None, None]
    assert record.student["source"]["name"] == "small"
    assert record.student["projection_parameters"] == 2 * 8 * 16
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "trained").config.id2label[1] == COLOURS[1]


def test_a_head_is_kept_by_its_labels_in_another_order_and_drawn_anew_for_others(tmp_path, flags):
    turned = write_other_model(tmp_path / "turned", labels=["blue", "green", "red"], num_layers=2)
    head = prepare([*flags, f"--student_model_name_or_path={turned}"]).student.classifier.weight
    theirs = AutoModelForSequenceClassification.from_pretrained(turned).classifier.weight
    by_name = dict(zip(["blue", "green", "red"], theirs, strict=True))
    arguments = [*flags, f"--output_dir={tmp_path / 'two'}"]
    names = prepare(arguments).data.label_names
    assert torch.equal(head, torch.stack([by_name[name] for name in names]))
    foreign = write_other_model(tmp_path / "foreign", labels=["yes", "no"], num_layers=2)
    student = prepare(
        [*arguments[:-1], f"--output_dir={tmp_path / 'three'}", f"--student_model_name_or_path={foreign}"]
    )
    assert student.student.classifier.weight.shape == (3, 16)
    assert student.student.config.id2label == dict(enumerate(names))


def test_a_head_of_other_labels_is_drawn_anew_even_where_their_number_is_the_same(tmp_path, flags):
    foreign = write_other_model(tmp_path / "foreign", labels=["yes", "no", "maybe"], num_layers=2)
    theirs = AutoModelForSequenceClassification.from_pretrained(foreign).state_dict()
    students = {
        seed: prepare(
            [
                *flags,
                f"--output_dir={tmp_path / str(seed)}",
                f"--student_model_name_or_path={foreign}",
                f"--seed={seed}",
            ]
        ).student.state_dict()
        for seed in (1, 2)
    }
    for name, tensor in theirs.items():
        is_kept = [torch.equal(student[name], tensor) for student in students.values()]
        assert all(is_kept) if name.startswith("bert.") else "weight" not in name or not any(is_kept), name
    assert not torch.equal(students[1]["classifier.weight"], students[2]["classifier.weight"])


@pytest.mark.slow
def test_a_student_with_more_layers_than_its_teacher_trains(tmp_path, flags):
    deep = write_other_model(tmp_path / "deep", num_layers=6)
    assert main([*flags, f"--student_model_name_or_path={deep}"]) == 0
    assert read_run_record(tmp_path / "run").student["layer_matching"] == [0, 0, 1, 1, 2, 3]


# ---- what is refused -----------------------------------------------------------------------------------------------


REFUSED = {
    "sizes": (["--student_hidden_size=12", "--student_attention_heads=5"], "student_attention_heads is 5"),
    "no size": (["--student_hidden_size=0"], "student_hidden_size is 0: give at least 1"),
    "init": (["--student_width_init=pca"], "choose one of truncation, importance, principal_components"),
    "heads": (["--student_hidden_size=8", "--attention_weight=1"], "1 heads of scores in the student and 2"),
    "relation heads": (
        ["--student_hidden_size=12", "--relation_weight=1", "--relation_heads=8"],
        "take one of 1, 2, 4",
    ),
    "no source": (["--student_source_model=nowhere/at_all"], "no model could be loaded from --student_source_model"),
    "no student": (["--student_model_name_or_path=nowhere/at_all"], "--student_model_name_or_path 'nowhere/at_all'"),
    "strategy too": (["--student_model_name_or_path=x", "--layer_strategy=odd"], "--layer_strategy odd would cut one"),
    "layers too": (["--student_model_name_or_path=x", "--student_num_layers=2"], "leave one of the two out"),
    "both": (["--student_model_name_or_path=x", "--student_source_model=y"], "--student_source_model y would cut"),
    "width too": (["--student_model_name_or_path=x", "--student_hidden_size=8"], "--student_hidden_size 8 would"),
}


def expect_one_line(flags: list[str], message: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr("run_distillation.distil", lambda *_: pytest.fail("it went on"))
    with pytest.raises(SystemExit) as exit_info:
        main(flags)
    assert exit_info.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert sum("error:" in line for line in lines) == 1


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_one_line_and_status_2(flags, case, capsys, monkeypatch):
    own, message = REFUSED[case]
    expect_one_line([*flags, *own], message, capsys, monkeypatch)


def test_another_vocabulary_or_size_is_one_line_and_status_2(tmp_path, flags, capsys, monkeypatch):
    narrow = write_other_model(tmp_path / "narrow", hidden_size=8)
    expect_one_line(
        [*flags, f"--student_source_model={narrow}"], "has hidden_size 8, and the teacher 16", capsys, monkeypatch
    )
    path = narrow / "tokenizer.json"
    path.write_text(path.read_text().replace('"red"', '"tmp"').replace('"green"', '"red"').replace('"tmp"', '"green"'))
    expect_one_line(
        [*flags, f"--student_model_name_or_path={narrow}"],
        "has another vocabulary than the teacher",
        capsys,
        monkeypatch,
    )


@pytest.mark.parametrize("flag", ["student_source_model", "student_model_name_or_path"])
def test_weights_that_cannot_be_loaded_are_found_before_a_teacher_is_fine_tuned(tmp_path, flag, capsys, monkeypatch):
    own = make_project(tmp_path / "project", has_head=False)
    other = write_other_model(tmp_path / "other")
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    monkeypatch.setattr(teacher_training, "fine_tune", lambda *_: pytest.fail("a teacher was trained"))
    expect_one_line([*own, f"--{flag}={other}"], "save the model again, as safetensors", capsys, monkeypatch)


def test_a_cosine_of_one_output_is_refused_even_where_only_a_schedule_turns_it_on(tmp_path, flags, capsys, monkeypatch):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\nthe red ball,0.5\nthe green cup,1.5\na blue car,2.5\n")
    own = [*flags, "--schedules=logit_cosine_weight=linear:1"]
    expect_one_line(own, "one output has no direction; set it to 0", capsys, monkeypatch)


def test_a_source_that_computes_otherwise_is_refused(tmp_path, flags, capsys, monkeypatch):
    other = write_other_model(tmp_path / "other", hidden_act="relu")
    own = [*flags, f"--student_source_model={other}"]
    expect_one_line(own, "has hidden_act relu, and the teacher gelu", capsys, monkeypatch)


def test_an_existing_student_with_too_few_positions_is_one_line_and_status_2(tmp_path, flags, capsys, monkeypatch):
    short = write_other_model(tmp_path / "short", num_layers=2, max_position_embeddings=8)
    own = [*flags, f"--student_model_name_or_path={short}", "--max_length=16"]
    expect_one_line(own, "--max_length 16 is more than the 8 tokens of the model", capsys, monkeypatch)


def test_names_of_folders_tell_such_students_apart(tmp_path, flags):
    own = [flag for flag in flags if "output_dir" not in flag]
    folders = {
        tuple(extra): Path(parse_command_line([*own, *extra]).training.output_dir).name
        for extra in (
            [],
            ["--student_hidden_size=8", "--student_width_init=truncation"],
            ["--student_source_model=some/base model"],
            ["--student_model_name_or_path=some/small"],
        )
    }
    assert list(folders.values()) == [
        "even-seed42",
        "even-hidden-8-truncation-seed42",
        "even-from-base-model-seed42",
        "model-small-seed42",
    ]
