"""A Trainer whose checkpoints come back as they were saved: the best one at the end, and the one that is resumed.

The stock Trainer reads the file into the model by the names in it, and passes over those it does not find. Some
architectures are saved under other names than they have in memory (transformers 5.23: nomic_bert, esm,
jina_embeddings_v3), so that most of their tensors stay what they were. Here a file with other names goes through
`from_pretrained`, which knows them; and with every checkpoint is written what its model answers on a few rows, which
whoever is restored from it has to answer too. Entry: `RestoringTrainer`.
"""

import copy
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, Trainer

from layer_distillation.architectures.plain_logits import compute_plain_logits, describe_difference

logger = logging.getLogger(__name__)

ANSWERS_NAME = "restore_check.json"
ROWS = 4
MAX_SHOWN = 3


class RestoreError(RuntimeError):
    """The model in memory is not the one that a checkpoint holds; the message is one line."""


class RestoringTrainer(Trainer):
    """The stock Trainer, but for how plain models are restored; sharded and adapter models are left to it."""

    _checked_rows: dict[str, Tensor] | None = None

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple:
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self._checked_rows is None and batches:
            rows = {name: value for name, value in batches[0].items() if isinstance(value, Tensor) and value.dim()}
            self._checked_rows = {name: value[:ROWS].cpu().clone() for name, value in rows.items() if name != "labels"}
        return batches, num_items

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """The answers first: the Trainer's state, its last file, says that a checkpoint is complete."""
        plain = self._find_plain_model()
        if plain is not None and self.args.should_save and self._checked_rows is not None:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            record_answers(plain, self._checked_rows, folder)
        super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Of a compiled model the stock Trainer saves every tensor as `_orig_mod.<name>`, which nothing loads."""
        plain = self._find_plain_model()
        if state_dict is None and plain is not None and plain is not self.model:
            state_dict = plain.state_dict()
        super()._save(output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        plain = self._find_plain_model()
        if plain is None or model is not None or not list_weight_files(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            restore_model(plain, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        plain, folder = self._find_plain_model(), Path(self.state.best_model_checkpoint)
        if plain is None or not list_weight_files(folder):
            super()._load_best_model()
        else:
            restore_model(plain, folder)

    def _find_plain_model(self) -> PreTrainedModel | None:
        """The model without what compiles or distributes it; None where its weights are not all here."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return None
        plain = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return plain if isinstance(plain, PreTrainedModel) else None


# ---- what a checkpoint's model answers ---------------------------------------------------------------------------


def record_answers(model: PreTrainedModel, inputs: Mapping[str, Tensor], folder: Path) -> None:
    """Writes the rows, their logits and the sum of every tensor into a checkpoint."""
    answers = {
        "inputs": {name: tensor.tolist() for name, tensor in inputs.items()},
        "logits": compute_plain_logits(model, inputs).tolist(),
        "sums": sum_tensors(model),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ANSWERS_NAME).write_text(json.dumps(answers), encoding="utf-8")


def check_answers(model: PreTrainedModel, folder: Path) -> None:
    """Raises RestoreError where the model answers otherwise than the checkpoint's did when it was saved."""
    path = folder / ANSWERS_NAME
    if not path.exists():
        logger.warning("%s does not say what its model answered: it is restored without a check", folder)
        return
    answers = json.loads(path.read_text(encoding="utf-8"))
    inputs = {name: torch.tensor(values) for name, values in answers["inputs"].items()}
    found, wanted = compute_plain_logits(model, inputs), torch.tensor(answers["logits"])
    difference, other = describe_difference(found, wanted, model.dtype), list_other_tensors(model, answers["sums"])
    if difference or other:
        shown = ", ".join(other[:MAX_SHOWN]) + (f" and {len(other) - MAX_SHOWN} more" if len(other) > MAX_SHOWN else "")
        raise RestoreError(
            f"the model restored from {folder} is not the one that was saved there: its logits "
            f"{difference or 'are the same on the recorded rows'}; tensors that are others: {shown or 'none'}; "
            "remove that checkpoint, and the same command goes on from the one before"
        )


def sum_tensors(model: PreTrainedModel) -> dict[str, float]:
    return {name: tensor.sum(dtype=torch.float64).item() for name, tensor in model.state_dict().items()}


def list_other_tensors(model: PreTrainedModel, sums: Mapping[str, float]) -> list[str]:
    """Those whose sum is another one than was recorded, beyond what the order of adding does."""
    found = sum_tensors(model)
    return [name for name, value in found.items() if abs(value - sums.get(name, value)) > 1e-6 * max(1.0, abs(value))]


# ---- restoring ---------------------------------------------------------------------------------------------------


def restore_model(model: PreTrainedModel, folder: Path) -> None:
    """Loads a checkpoint's weights into `model` and what is attached to it.

    Raises:
        RestoreError: the checkpoint lacks some of them, or the model answers otherwise than it did when it was saved.
    """
    logger.info("restoring the model of %s", folder)
    saved = {name: tensor for path in list_weight_files(folder) for name, tensor in load_file(path).items()}
    own = model.state_dict()
    if saved.keys() - own.keys():
        saved = rename_tensors(model, folder, saved)
    loaded = {own[name].data_ptr() for name in saved.keys() & own.keys()}
    lacking = [
        name for name, tensor in own.items() if name not in saved and tensor.data_ptr() not in loaded
    ]  # not tied
    if lacking:
        raise RestoreError(f"{folder} lacks {len(lacking)} tensors of the model, such as {lacking[0]}: remove it")
    model.load_state_dict(saved, strict=False)
    check_answers(model, folder)


def rename_tensors(model: PreTrainedModel, folder: Path, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The saved tensors by their names in memory; what was attached for the training has no other name."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # of what is attached it would say that no model has it
    try:
        with torch.random.fork_rng(devices=[]):
            fresh = type(model).from_pretrained(folder, config=copy.deepcopy(model.config)).state_dict()
    finally:
        transformers.logging.set_verbosity(verbosity)
    attached = model.state_dict().keys() - fresh.keys()
    return fresh | {name: saved[name] for name in attached & saved.keys()}


def list_weight_files(folder: Path) -> list[Path]:
    """The safetensors of a whole model, in one file or several; none of an adapter's."""
    return sorted(folder.glob("model*.safetensors"))
