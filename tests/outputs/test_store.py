"""The store gives what the live teacher gives, and is never used where it is not certain to."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from filelock import FileLock
from transformers.utils.import_utils import enable_tf32

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer
from layer_distillation.losses.terms import check_store_fits
from layer_distillation.outputs.attention_targets import switch_on_attentions
from layer_distillation.outputs.compared import BFLOAT16, FLOAT32, LiveTeacherOutputs, ModelOutputs, run_model
from layer_distillation.outputs.store import (
    DamagedStoreError,
    StoredOutputsCollator,
    StoreSpec,
    TeacherStore,
    check_store,
    make_spec,
)
from layer_distillation.records import process_locks
from layer_distillation.teachers import store_filling as teacher_store_filling
from layer_distillation.teachers.loading import fingerprint_model
from layer_distillation.teachers.store_filling import HalfPrecisionError, join_parts, open_or_fill, plan_batches
from tiny_training import make_trainer

CPU = torch.device("cpu")


def fill(
    root: Path,
    num_rows: int = 22,
    hidden_layers: tuple[int, ...] = (1, 3),
    attention_layers: tuple[int, ...] = (),
    seed: int = 1,
    training: bool = False,
    precision: str = FLOAT32,
) -> TeacherStore:
    teacher, rows = make_bert(4, seed=seed).train(training), Dataset.from_list(make_rows(num_rows))
    if attention_layers:
        switch_on_attentions(teacher)
    spec = make_spec(
        teacher.config, fingerprint_model(teacher), rows, hidden_layers, attention_layers, precision=precision
    )
    return open_or_fill(root, spec, teacher, rows, pad_rows, CPU)


@pytest.mark.parametrize("shard_bytes", [2**30, 600])
def test_a_batch_from_the_store_is_the_teacher_s_own(tmp_path, monkeypatch, shard_bytes):
    """Also when the rows lie in many small shards."""
    monkeypatch.setattr(teacher_store_filling, "SHARD_BYTES", shard_bytes)
    store, rows = fill(tmp_path), make_rows(22)
    picked = [7, 0, 21, 3]
    batch = StoredOutputsCollator(pad_rows, store)([rows[row] for row in picked])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        live = run_model(make_bert(4, seed=1), inputs, (1, 3))
    torch.testing.assert_close(batch["teacher_logits"], live.logits, rtol=1e-5, atol=1e-6)
    for layer in (0, 1):
        stored = batch["teacher_hidden_states"][:, layer].float()
        expected = live.hidden_states[layer] * batch["attention_mask"][:, :, None]
        torch.testing.assert_close(stored, expected, rtol=1e-3, atol=1e-3)
    if shard_bytes == 600:
        assert len(list(store.folder.glob("states-*.f16"))) > 3


def test_left_padding_is_followed_too(tmp_path):
    store = fill(tmp_path)
    mask = torch.tensor([[0] * 20 + [1] * len(make_rows(22)[4]["input_ids"])])
    states = store.get_hidden_states([4], mask)
    assert torch.count_nonzero(states[:, :, :20]) == 0
    assert torch.count_nonzero(states[:, :, 20:]) > 0


@pytest.mark.parametrize("side", ["right", "left"])
def test_stored_attention_scores_are_the_teacher_s_own(tmp_path, side):
    store, rows = fill(tmp_path, attention_layers=(0, 3)), make_rows(22)
    picked = [7, 0, 21]
    batch = pad_rows([rows[row] for row in picked])
    if side == "left":
        batch = {name: value.flip(1) if value.ndim == 2 else value for name, value in batch.items()}
    mask = batch["attention_mask"]
    stored = store.get_attentions(picked, mask).float()
    teacher = make_bert(4, seed=1)
    switch_on_attentions(teacher)
    if side == "right":
        with torch.no_grad():
            live = run_model(teacher, {n: batch[n] for n in ("input_ids", "attention_mask")}, (), (0, 3)).attentions
        pairs = (mask[:, None, :, None] * mask[:, None, None, :]).expand_as(live[0])
        for layer in (0, 1):
            torch.testing.assert_close(stored[:, layer], live[layer] * pairs, rtol=1e-3, atol=1e-3)
    is_padding = mask == 0
    assert torch.count_nonzero(stored.movedim(3, 1)[is_padding]) == 0
    assert torch.count_nonzero(stored.movedim(4, 1)[is_padding]) == 0
    assert torch.count_nonzero(stored) > 0


def train(folder: Path, teacher: object, **options: object) -> DistillationTrainer:
    trainer = make_trainer(folder, **({"attention_weight": 0.0} | options))
    rebuilt = DistillationTrainer(
        model=make_bert(2, seed=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        teacher=teacher,
        args=trainer.args,
        data_collator=pad_rows,
        train_dataset=trainer.train_dataset,
    )
    rebuilt.args.eval_strategy = "no"
    rebuilt.train()
    return rebuilt


@pytest.mark.parametrize(
    ("hidden_weight", "attention_weight", "tolerance"), [(0.0, 0.0, 1e-5), (1.0, 0.0, 1e-2), (1.0, 1.0, 1e-2)]
)
def test_training_from_the_store_has_the_losses_of_training_live(tmp_path, hidden_weight, attention_weight, tolerance):
    options = {"hidden_weight": hidden_weight, "attention_weight": attention_weight}
    options |= {"logging_strategy": "steps", "logging_steps": 1, "eval_strategy": "no"}
    live = train(tmp_path / "live", make_bert(4, seed=1), **options)
    store = fill(tmp_path / "stores", attention_layers=(1, 3) if attention_weight else ())
    stored = train(tmp_path / "stored", store, **options)
    assert stored.teacher_outputs is None  # no teacher in memory
    names = [name for name in live.state.log_history[0] if name.endswith("loss")]
    assert len(live.state.log_history) == 4  # three steps and the summary
    for own, other in zip(live.state.log_history[:3], stored.state.log_history[:3], strict=True):
        assert {name: other[name] for name in names} == pytest.approx({n: own[n] for n in names}, rel=tolerance)


@pytest.mark.parametrize("change", ["order", "fewer", "index", "token", "further store"])
def test_a_store_of_other_rows_is_refused(tmp_path, change):
    store, rows = fill(tmp_path), make_rows(22)
    if change == "order":
        rows = rows[::-1]
    elif change == "fewer":
        rows = rows[:21]
    elif change == "index":
        rows = [row | {"example_index": row["example_index"] + 1} for row in rows]
    elif change == "token":
        rows[7]["input_ids"][0] += 1
    else:
        store.further_stores.append(fill(tmp_path, num_rows=21))
    with pytest.raises(ValueError, match=r"of 22 other rows than the 2[12] of train_dataset.*fill a store for these"):
        store.check_rows(Dataset.from_list(rows))


def test_a_trainer_with_a_store_of_other_rows_is_refused(tmp_path):
    store = fill(tmp_path, num_rows=21)
    with pytest.raises(ValueError, match="of 21 other rows than the 22"):
        train(tmp_path / "run", store, eval_strategy="no")


def test_the_rows_of_a_store_are_a_dataset_of_any_format_or_absent(tmp_path):
    store, rows = fill(tmp_path), Dataset.from_list(make_rows(22))
    store.check_rows(rows.with_format("torch"))
    with pytest.raises(ValueError, match=r"datasets\.Dataset.*got a list"):
        store.check_rows(make_rows(22))
    trainer = make_trainer(tmp_path / "run", attention_weight=0.0)
    options = {"model": trainer.model, "teacher": store, "args": trainer.args, "data_collator": pad_rows}
    DistillationTrainer(**options, eval_dataset=rows)  # only evaluates


def test_filling_computes_in_full_precision_and_leaves_the_setting(tmp_path, monkeypatch):
    """As `--tf32 true` sets it, and a script that sets each by itself."""
    seen, run = [], teacher_store_filling.run_model
    settings = (torch.backends, torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    settings += (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)

    def look(*arguments: object) -> ModelOutputs:
        seen.extend(setting.fp32_precision for setting in settings)
        return run(*arguments)

    monkeypatch.setattr(teacher_store_filling, "run_model", look)
    before = [setting.fp32_precision for setting in settings]
    enable_tf32(True)
    for setting in settings:
        setting.fp32_precision = "tf32"
    try:
        fill(tmp_path)
        after = torch.backends.fp32_precision
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision
    assert set(seen) == {"ieee"}
    assert after == "tf32"


def test_a_store_in_bfloat16_is_another_one_near_the_exact_one(tmp_path):
    exact, rounded = fill(tmp_path), fill(tmp_path, precision=BFLOAT16)
    assert exact.folder != rounded.folder
    assert not np.array_equal(exact.logits, rounded.logits)
    np.testing.assert_allclose(rounded.logits, exact.logits, rtol=0.03, atol=0.03)
    batch = pad_rows(make_rows(22))
    of_both = [store.get_hidden_states(range(22), batch["attention_mask"]).float() for store in (exact, rounded)]
    torch.testing.assert_close(*of_both, rtol=0.05, atol=0.05)


def test_a_live_teacher_rounds_what_is_imitated_and_nothing_that_is_scored():
    batch, teacher = pad_rows(make_rows(8)), make_bert(4, seed=1)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    exact = LiveTeacherOutputs(teacher)
    rounded = LiveTeacherOutputs(teacher, precision=BFLOAT16)
    assert torch.equal(exact.get_logits(inputs), rounded.get_logits(inputs))
    assert torch.equal(exact.get_batch(inputs).logits, exact.get_logits(inputs))
    assert not torch.equal(rounded.get_batch(inputs).logits, exact.get_logits(inputs))
    torch.testing.assert_close(rounded.get_batch(inputs).logits.float(), exact.get_logits(inputs), rtol=0.03, atol=0.03)


def test_masks_with_holes_are_followed_too(tmp_path):
    store, mask = fill(tmp_path), torch.zeros(2, 12, dtype=torch.long)
    for target, row in zip(mask, (0, 3), strict=True):
        length = len(make_rows(22)[row]["input_ids"])
        target[torch.arange(length) + (torch.arange(length) > 1)] = 1
    holed, plain = (
        store.get_hidden_states([0, 3], mask),
        [
            store.get_hidden_states([row], torch.ones_like(real[real > 0])[None])
            for row, real in zip((0, 3), mask, strict=True)
        ],
    )
    for own, real, expected in zip(holed, mask, plain, strict=True):
        assert torch.equal(own[:, real.bool()], expected[0])
        assert not own[:, ~real.bool()].any()


def test_a_teacher_in_training_mode_is_put_in_eval_mode(tmp_path):
    assert np.array_equal(fill(tmp_path / "a", training=True).logits, fill(tmp_path / "b").logits)


def test_a_second_run_finds_the_store_and_asks_no_teacher(tmp_path, monkeypatch):
    first = fill(tmp_path)
    monkeypatch.setattr(teacher_store_filling, "run_model", lambda *_: pytest.fail("the teacher ran again"))
    assert np.array_equal(fill(tmp_path).logits, first.logits)


def test_other_weights_rows_or_layers_are_another_store(tmp_path):
    names = {fill(tmp_path).spec.name, fill(tmp_path, seed=2).spec.name, fill(tmp_path, num_rows=21).spec.name}
    names |= {fill(tmp_path, hidden_layers=()).spec.name}
    assert len(names) == 4
    changed = make_rows(22)
    changed[5]["input_ids"][0] += 1
    teacher = make_bert(4, seed=1)
    spec = make_spec(teacher.config, fingerprint_model(teacher), Dataset.from_list(changed), (1, 3))
    assert spec.name not in names


@pytest.mark.parametrize(
    "damage", ["truncate", "flip", "delete", "manifest", "foreign", "shard unknown", "index unknown"]
)
def test_a_damaged_store_is_made_anew_and_never_used(tmp_path, damage, caplog):
    store = fill(tmp_path)
    shard, manifest = next(store.folder.glob("states-*")), store.folder / "manifest.json"
    if damage == "truncate":
        shard.write_bytes(shard.read_bytes()[:-2])
    elif damage == "flip":
        content = bytearray((store.folder / "logits.npy").read_bytes())
        content[-1] ^= 1
        (store.folder / "logits.npy").write_bytes(content)
    elif damage == "delete":
        shard.unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    elif "unknown" in damage:  # as if the file had been gone when the manifest was written
        name = shard.name if damage == "shard unknown" else "states-index.npy"
        content = json.loads(manifest.read_text())
        del content["files"][name]
        (store.folder / name).unlink()
        manifest.write_text(json.dumps(content))
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"spec": {"version": 0}}))
    with pytest.raises(DamagedStoreError):
        check_store(store.folder, store.spec)
    assert np.array_equal(fill(tmp_path).logits, store.logits)
    assert "is made anew" in caplog.text


def test_a_store_left_half_filled_is_started_again(tmp_path):
    name = fill(tmp_path / "whole").spec.name
    (tmp_path / "broken" / f"{name}.unfinished-12ab").mkdir(parents=True)
    (tmp_path / "broken" / f"{name}.unfinished-12ab" / "part-1.npz").write_bytes(b"half")
    store = fill(tmp_path / "broken")
    check_store(store.folder, store.spec)
    assert not list((tmp_path / "broken").glob("*.unfinished*"))


def test_every_fill_has_a_folder_of_its_own(tmp_path, monkeypatch):
    """A killed run's other process may still write into that of its fill."""
    folders, write = [], teacher_store_filling.write_part

    def remember(folder: Path, *arguments: object) -> None:
        folders.append(folder.name)
        write(folder, *arguments)

    monkeypatch.setattr(teacher_store_filling, "write_part", remember)
    for root in ("one", "two"):
        fill(tmp_path / root)
    assert folders[0] != folders[1]
    assert folders[0].split("-")[0] == folders[1].split("-")[0]


def test_the_lock_is_held_until_every_process_has_opened_the_store(tmp_path, monkeypatch):
    """A prune in between would take it from those that are slower than the main process."""
    events: list[str] = []

    def note(event: str, function: Callable[..., object]) -> Callable[..., object]:
        def noted(*arguments: object, **options: object) -> object:
            events.append(event)
            return function(*arguments, **options)

        return noted

    monkeypatch.setattr(process_locks, "gather_object", note("agreed", process_locks.gather_object))
    monkeypatch.setattr(teacher_store_filling, "TeacherStore", note("opened", TeacherStore))
    monkeypatch.setattr(FileLock, "release", note("released", FileLock.release))
    fill(tmp_path)
    assert events[events.index("opened") :][:3] == ["opened", "agreed", "released"]


def write_part(folder: Path, process: int, rows: list[int]) -> None:
    np.savez(
        folder / f"part-{process}.npz",
        rows=np.array(rows),
        logits=np.zeros((len(rows), 3), np.float32),
        lengths=np.ones(len(rows), int),
    )


@pytest.mark.parametrize("second", [[2], [1, 2, 3], [2, 3, 0]])
def test_parts_that_do_not_hold_every_row_once_are_no_store(tmp_path, second):
    spec = StoreSpec("t", "r", (), num_rows=4, num_tokens=9, num_labels=3, hidden_size=8)
    write_part(tmp_path, 0, [0, 1])
    write_part(tmp_path, 1, second)
    with pytest.raises(RuntimeError, match="do not hold every row once"):
        join_parts(tmp_path, spec, 2, start=0.0)
    assert not (tmp_path / "manifest.json").exists()


def test_parts_of_other_processes_than_this_run_s_are_not_read(tmp_path):
    """What a killed run of three processes left, beside those of a run of two."""
    spec = StoreSpec("t", "r", (), num_rows=4, num_tokens=9, num_labels=3, hidden_size=8)
    for process, rows in enumerate(([0, 1], [2, 3], [2])):
        write_part(tmp_path, process, rows)
    join_parts(tmp_path, spec, 2, start=0.0)
    assert np.load(tmp_path / "logits.npy").shape == (4, 3)


def test_a_failed_write_leaves_nothing_half_written(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(teacher_store_filling.ShardWriter, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        fill(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def fill_on_two_processes(tmp_path: Path, root: Path) -> subprocess.CompletedProcess:
    script = (
        "import os, sys; from pathlib import Path; from accelerate import PartialState\n"
        "from tests.outputs import test_store\n"
        "from layer_distillation.teachers import store_filling as filling\n"
        "from layer_distillation.records.process_locks import leave_process_group\n"
        "run, rows = filling.run_model, []\n"
        "def count(model, batch, *layers): rows.append(len(batch['input_ids'])); return run(model, batch, *layers)\n"
        "filling.run_model, filling.TOKENS_PER_BATCH['cpu'] = count, 40\n"
        "PartialState(cpu=True); test_store.fill(Path(sys.argv[1])); leave_process_group()\n"
        "sys.stdout.flush(); os.write(1, f'rows {sum(rows)}\\n'.encode())\n"  # print may write its parts one by one
    )
    folder = Path(__file__).parent
    environment = os.environ | {
        "PYTHONPATH": f"{folder}:{folder.parent}:{folder.parents[1]}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    (tmp_path / "script.py").write_text(script)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launch, str(tmp_path / "script.py"), str(root)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_two_processes_end_together_where_one_of_them_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    result = fill_on_two_processes(tmp_path, tmp_path / "file" / "stores")
    assert result.returncode != 0
    assert result.stderr.count("NotADirectoryError: [Errno 20]") >= 2  # the process that never touched it knows why too


@pytest.mark.slow
def test_two_processes_fill_one_store_together(tmp_path):
    result = fill_on_two_processes(tmp_path, tmp_path / "two")
    assert result.returncode == 0, result.stderr[-2000:]
    computed = [int(count) for count in re.findall(r"^rows (\d+)$", result.stdout, re.MULTILINE)]
    assert len(computed) == 2
    assert sum(computed) == 22
    assert min(computed) > 0  # each has its part
    one = fill(tmp_path / "one")
    two = TeacherStore(tmp_path / "two" / one.spec.name, one.spec, make_bert(4).config)
    check_store(two.folder, two.spec)
    np.testing.assert_allclose(two.logits, one.logits, rtol=1e-5, atol=1e-6)
    mask = pad_rows(make_rows(22))["attention_mask"]
    states = [store.get_hidden_states(range(22), mask).float() for store in (one, two)]
    torch.testing.assert_close(*states, rtol=1e-3, atol=1e-3)


def test_bytes_are_known_beforehand(tmp_path):
    spec = fill(tmp_path, attention_layers=(2,)).spec
    shards = [path.stat().st_size for path in (tmp_path / spec.name).glob("*.f16")]
    assert len(shards) == 2
    assert spec.count_bytes() == sum(shards) + 22 * 3 * 4


def test_a_process_that_fails_ends_all_with_its_reason(tmp_path, monkeypatch):
    """The other process's part of the agreement, played here: nothing failed in this one."""

    def gather(own: list) -> list:
        return [*own, *(OSError(28, "No space left") for _ in tmp_path.glob("*.unfinished*"))]

    monkeypatch.setattr(process_locks, "gather_object", gather)
    with pytest.raises(OSError, match="No space left"):
        fill(tmp_path)
    assert not list(tmp_path.glob("*.unfinished*"))


def test_batches_hold_every_row_once_within_the_token_budget(monkeypatch):
    monkeypatch.setitem(teacher_store_filling.TOKENS_PER_BATCH, "cpu", 50)
    lengths = [3, 40, 12, 7, 60, 9, 25, 25]
    batches = plan_batches(lengths, torch.device("cpu"))
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 50 for batch in batches)
    planned = [lengths[row] for batch in batches for row in batch]
    assert planned == sorted(lengths, reverse=True)  # rows of one length together, and the largest batch first


def test_values_that_half_precision_cannot_hold_are_no_store(tmp_path, monkeypatch):
    run = teacher_store_filling.run_model

    def grow(*arguments: object) -> ModelOutputs:
        outputs = run(*arguments)
        return replace(outputs, hidden_states=tuple(1e6 * states for states in outputs.hidden_states))

    monkeypatch.setattr(teacher_store_filling, "run_model", grow)
    with pytest.raises(HalfPrecisionError, match="overflow half precision"):
        fill(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_loader_workers_change_nothing(tmp_path):
    store = fill(tmp_path / "stores")
    options = {"hidden_weight": 1.0, "eval_strategy": "no"}
    here = train(tmp_path / "here", store, **options)
    there = train(tmp_path / "there", store, dataloader_num_workers=2, **options)
    for name, tensor in here.model.state_dict().items():
        assert torch.equal(there.model.state_dict()[name], tensor), name


def test_a_store_without_the_wanted_states_is_refused(tmp_path):
    store = fill(tmp_path, hidden_layers=(0, 1))
    with pytest.raises(ValueError, match=r"layers \[0, 1\].*imitate \[1, 3\]: fill a store for these"):
        check_store_fits(store, [1, 3], {"hidden": 1.0})
    with pytest.raises(ValueError, match=r"attention matrices of teacher layers \[\].*imitate \[0, 1\]"):
        check_store_fits(store, [0, 1], {"attention": 1.0})


def test_a_store_survives_its_way_to_a_worker_process_and_its_own_removal(tmp_path):
    store = fill(tmp_path)
    copy = pickle.loads(pickle.dumps(store))
    mask = pad_rows(make_rows(22))["attention_mask"]
    states = store.get_hidden_states(range(22), mask)
    shutil.rmtree(store.folder)
    for held in (store, copy):
        assert torch.equal(held.get_hidden_states(range(22), mask), states)


def test_a_spec_is_a_name_of_its_version():
    spec = StoreSpec("t", "r", (1,), 2, 5, 3, 8)
    assert replace(spec, version=99).name != spec.name
