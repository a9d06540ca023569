"""What comes back from a checkpoint is the model that was saved in it, whatever names its tensors are saved under."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from conftest import check_group_has_ended, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.architectures.plain_logits import compute_plain_logits
from layer_distillation.losses.projections import MODULE_NAME
from layer_distillation.records.process_locks import leave_process_group
from layer_distillation.step.restoring import ANSWERS_NAME, RestoreError, restore_model
from student_init import build_student

SIZES = {
    "vocab_size": 60,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
RENAMED = ("nomic_bert", "esm", "jina_embeddings_v3")  # saved under other names than those in memory
BATCH = {
    "input_ids": torch.tensor([[5, 6, 7, 8], [8, 9, 3, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}
SETTINGS = {
    "use_cpu": True,
    "bf16": False,
    "num_train_epochs": 4,
    "per_device_train_batch_size": 8,
    "learning_rate": 0.3,  # that ruins the student: the best epoch is not the last
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 12,
    "save_total_limit": 9,
    "hidden_weight": 0.0,
    "pkd_weight": 0.0,
    "disable_tqdm": True,
}


def make_model(model_type: str, width: int = 16, **options: object) -> PreTrainedModel:
    torch.manual_seed(1)
    sizes = SIZES | {"hidden_size": width, "intermediate_size": 2 * width} | options
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, **sizes)).eval()


def make_trainer(folder: Path, model_type: str, student: object = None, **options: object) -> DistillationTrainer:
    teacher = make_model(model_type)
    return DistillationTrainer(
        model=build_student(teacher, [0, 2]) if student is None else student,
        teacher=teacher,
        args=DistillationTrainingArguments(output_dir=str(folder), **SETTINGS | options),
        data_collator=pad_rows,
        train_dataset=Dataset.from_list(make_rows(24, shortest=4)),
        eval_dataset=Dataset.from_list(make_rows(12, seed=9, shortest=4)),
    )


def check_best(trainer: DistillationTrainer) -> None:
    """The model answers as a plain reload of the best checkpoint, and scores what that epoch's evaluation said."""
    trainer.train()
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    best = min(losses, key=losses.__getitem__)
    assert best < trainer.state.global_step
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[best], rel=1e-5)
    saved = AutoModelForSequenceClassification.from_pretrained(trainer.state.best_model_checkpoint)
    plain = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    assert torch.equal(compute_plain_logits(plain, BATCH), compute_plain_logits(saved, BATCH))


@pytest.mark.parametrize("model_type", [*RENAMED, "bert"])
def test_the_best_epoch_is_restored_whole(tmp_path, model_type):
    check_best(make_trainer(tmp_path, model_type))


def test_the_best_epoch_is_restored_beside_projections(tmp_path):
    student = make_model("nomic_bert", 8, num_hidden_layers=2)
    trainer = make_trainer(tmp_path, "nomic_bert", student, hidden_weight=1.0, num_train_epochs=6, learning_rate=2.0)
    check_best(trainer)
    names = load_file(Path(trainer.state.best_model_checkpoint) / "model.safetensors").keys()
    assert any(name.startswith(MODULE_NAME) for name in names)


@pytest.mark.slow  # torch compiles once for training and once for evaluation
def test_the_best_epoch_of_a_compiled_student_is_restored(tmp_path):
    check_best(
        make_trainer(
            tmp_path, "nomic_bert", torch.compile(build_student(make_model("nomic_bert"), [0, 2]), backend="eager")
        )
    )


class StopAtStep(TrainerCallback):
    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == 7:
            raise KeyboardInterrupt


@pytest.mark.parametrize("width", [16, 8])
@pytest.mark.parametrize("model_type", ["nomic_bert", "esm"])
def test_a_resumed_training_ends_as_one_that_was_not_interrupted(tmp_path, model_type, width):
    def make(name: str) -> DistillationTrainer:
        student = make_model(model_type, 8, num_hidden_layers=2) if width == 8 else None
        options = {"hidden_weight": float(width == 8), "load_best_model_at_end": False, "learning_rate": 1e-2}
        return make_trainer(tmp_path / name, model_type, student, **options)

    whole = make("whole")
    whole.train()
    broken = make("broken")  # which seeds everything anew
    broken.add_callback(StopAtStep())
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make("broken")
    resumed.train(resume_from_checkpoint=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def make_checkpoint(folder: Path) -> PreTrainedModel:
    trainer = make_trainer(folder, "nomic_bert", num_train_epochs=1, load_best_model_at_end=False)
    trainer.train()
    return trainer.model


@pytest.mark.parametrize("shard", ["50GB", "20KB"])
def test_a_checkpoint_in_several_files_is_restored(tmp_path, shard):
    model = make_checkpoint(tmp_path)
    folder = tmp_path / "checkpoint-3"
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size=shard)
    assert len(list(folder.glob("*.safetensors"))) == (1 if shard == "50GB" else 2)
    other = build_student(make_model("nomic_bert"), [3, 1])
    restore_model(other, folder)
    assert torch.equal(compute_plain_logits(other, BATCH), compute_plain_logits(model, BATCH))


def test_a_model_that_answers_otherwise_is_an_error_that_names_its_tensors(tmp_path):
    model = make_checkpoint(tmp_path)
    path = tmp_path / "checkpoint-3" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "layers.1" in name and "norm" in name and name.endswith("weight"))
    save_file(tensors | {name: tensors[name] * 1.5}, path, metadata={"format": "pt"})
    with pytest.raises(
        RestoreError, match=r"logits differ by .*; tensors that are others: nomic_bert\.layers\.1\.[^,]*; remove"
    ):
        restore_model(model, path.parent)


def test_a_tensor_that_no_recorded_row_uses_is_checked_too(tmp_path):
    model = make_checkpoint(tmp_path)
    path = tmp_path / "checkpoint-3" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "word_embeddings" in name)
    tensors[name][59] += 1.0
    answers = json.loads((path.parent / ANSWERS_NAME).read_text())
    answers["inputs"]["input_ids"] = [[min(token, 58) for token in row] for row in answers["inputs"]["input_ids"]]
    inputs = {key: torch.tensor(values) for key, values in answers["inputs"].items()}
    answers["logits"] = compute_plain_logits(model, inputs).tolist()
    (path.parent / ANSWERS_NAME).write_text(json.dumps(answers))
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(RestoreError, match=r"the same on the recorded rows; .* others: [^,]*word_embeddings"):
        restore_model(model, path.parent)


def test_a_checkpoint_that_lacks_a_tensor_is_an_error(tmp_path):
    model = make_model("bert")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RestoreError, match=r"lacks 1 tensors of the model, such as classifier.weight"):
        restore_model(model, tmp_path)


@pytest.mark.slow
def test_two_processes_restore_the_best_epoch(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", __file__, str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]


if __name__ == "__main__":
    check_best(make_trainer(Path(sys.argv[1]), "nomic_bert", per_device_train_batch_size=4))
    leave_process_group()
    check_group_has_ended()
