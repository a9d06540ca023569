"""What comes of every architecture of transformers with a head for sequence classification: right, or refused and why.

    python -m benchmarks.architectures docs/ARCHITECTURES.md     (about 3 minutes on a processor)
    python -m benchmarks.architectures bert esm                  (shows these rows)

Each is built tiny (4 layers of width 16, random weights), cut, compared with itself without the layers left out,
trained for two steps of the default loss, saved, and loaded again. Needs nothing but the installed transformers.
"""

import copy
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from benchmarks.tiny_architectures import NUM_LAYERS, make_config
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.architectures.cutting import cut_config
from layer_distillation.architectures.traits import FINAL_NORM_MODEL_TYPES, LEFT_PADDED_MODEL_TYPES, WARNINGS
from layer_distillation.losses.terms import place_head
from student_init import build_student, find_layer_stack, get_num_layers

RIGHT, PLACED, REFUSED = "right", "right at its own places", "refused"
SUBSETS = ([1, 3], [0, 1], [0, 2])  # the first that the architecture lets be
TOLERANCE = 1e-4
NOTES = {
    "modernbert": "exact with layer 0 first, or where the embedding norm's gains are equal; else its norm is "
    "folded into the next layer and the log says how far off that is",
    "xlnet": "its head reads the last position, so that its rows are padded on the left",
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    model_type: str
    class_name: str
    verdict: str
    reason: str = ""


class WrongError(AssertionError):
    """Accepted, and yet not right: what no row may say."""


def judge(model_type: str) -> Row:
    """Raises WrongError where an architecture is accepted and something about it is not right."""
    class_name = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[model_type]
    try:
        get_num_layers(AutoConfig.for_model(model_type))
        teacher = make_teacher(model_type)
        find_layer_stack(teacher)
        check_facts(teacher)
        check_identity(teacher)
        student, note = cut_some_layers(teacher)
    except (ValueError, ImportError) as error:
        reason = str(error).split("; choose")[0].removeprefix(f"cannot cut a student from model type {model_type!r}: ")
        return Row(model_type, class_name, REFUSED, " ".join(reason.split()))
    check_training(teacher, student)
    return Row(model_type, class_name, PLACED if note else RIGHT, note or (NOTES | WARNINGS).get(model_type, ""))


def make_teacher(model_type: str) -> PreTrainedModel:
    """Noise on all weights: fresh norms are all ones and fresh biases all zeros: a cut that lost them would pass."""
    torch.manual_seed(0)
    teacher = AutoModelForSequenceClassification.from_config(make_config(model_type)).eval()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    if model_type == "modernbert":  # what its fold of a norm reproduces exactly
        nn.init.constant_(teacher.model.embeddings.norm.weight, 1.3)
        nn.init.normal_(teacher.model.embeddings.tok_embeddings.weight, std=10.0)
    return teacher


def make_batch(config: transformers.PreTrainedConfig) -> dict[str, Tensor]:
    """Rows of 12, 7 and 4 tokens, padded where the architecture is padded."""
    ids = torch.randint(4, 40, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(12) < torch.tensor([[12], [7], [4]])).long()
    if config.model_type in LEFT_PADDED_MODEL_TYPES:
        mask = mask.flip(1)
    return {"input_ids": ids.where(mask.bool(), config.pad_token_id), "attention_mask": mask}


@torch.no_grad()
def compute_logits(model: PreTrainedModel, batch: dict[str, Tensor] | None = None) -> Tensor:
    return model.eval()(**(batch or make_batch(model.config))).logits


def demand(is_right: bool, model: PreTrainedModel, fault: str) -> None:
    if not is_right:
        raise WrongError(f"{model.config.model_type} is accepted, and {fault}")


# ---- what has to hold --------------------------------------------------------------------------------------------


def check_facts(teacher: PreTrainedModel) -> None:
    """The facts that the terms of the loss rest on: states, who reads them, padding that does not count."""
    config, batch = teacher.config, make_batch(teacher.config)
    outputs: list[Tensor] = []
    hook = find_layer_stack(teacher)[1][-1].register_forward_hook(lambda *args: outputs.append(keep_grad(args[2])))
    result = teacher(**batch, output_hidden_states=True)
    hook.remove()
    states, shapes = result.hidden_states, {tuple(state.shape) for state in result.hidden_states}
    is_plain = len(states) == NUM_LAYERS + 1 and shapes == {(3, 12, config.hidden_size)}
    demand(is_plain, teacher, f"its states are {len(states)} of {shapes}")
    result.logits.square().sum().backward()
    # SqueezeBERT calls no layer as a module, XLNet's tokens come first, Longformer's are padded further inside.
    if outputs and outputs[-1].shape == states[-1].shape:
        last = outputs[-1]
        has_norm = not torch.equal(last, states[-1])
        demand(has_norm == (config.model_type in FINAL_NORM_MODEL_TYPES), teacher, f"its final norm: {has_norm}")
        found, expected = find_read_tokens(last.grad), place_head(config)
        demand(found == expected, teacher, f"its head reads {found} where {expected} is compared")
    teacher.zero_grad()
    with torch.no_grad():
        padded, lengths = result.logits, batch["attention_mask"].sum(1).tolist()
        real = [ids[mask.bool()] for ids, mask in zip(*batch.values(), strict=True)]
        alone = [{"input_ids": ids[None], "attention_mask": torch.ones_like(ids[None])} for ids in real]
        answers = torch.cat([compute_logits(teacher, row) for row in alone])
        is_same = (answers - padded).abs().max().item() < TOLERANCE
        demand(is_same or config.model_type in WARNINGS, teacher, f"padding counts (rows of {lengths})")
        other = batch | {"input_ids": batch["input_ids"].clone()}
        other["input_ids"][0, 0] = (other["input_ids"][0, 0] + 3) % 30 + 4
        moved = teacher(**other, output_hidden_states=True).hidden_states[-1][0, -1]
        demand(not torch.equal(moved, states[-1][0, -1]), teacher, "its tokens do not see each other")


def keep_grad(output: Tensor | Sequence[Tensor]) -> Tensor:
    """What a layer returns, of several tensors the first; its gradient is kept."""
    tensor = output if isinstance(output, Tensor) else output[0]
    if tensor.requires_grad:
        tensor.retain_grad()
    return tensor


def find_read_tokens(gradient: Tensor) -> str:
    """Of (3, 12, hidden) by rows of 12, 7 and 4 tokens: first, last, mean, or the positions themselves."""
    read = [(row.abs().sum(-1) > 0).nonzero().flatten().tolist() for row in gradient]
    places = {
        "first": [[0]] * 3,
        "last": [[11], [6], [3]],
        "mean": [list(range(12)), list(range(7)), list(range(4))],
    }
    return next((name for name, tokens in places.items() if tokens == read), str(read))


def check_identity(teacher: PreTrainedModel) -> None:
    student = build_student(teacher, list(range(NUM_LAYERS)))
    demand(torch.equal(compute_logits(student), compute_logits(teacher)), teacher, "a student of all layers differs")


def cut_some_layers(teacher: PreTrainedModel) -> tuple[PreTrainedModel, str]:
    """A student of two layers, and why it is not just any two; ValueError where no two can be kept."""
    refusal: ValueError | None = None
    for layers in SUBSETS:
        try:
            student = build_student(teacher, layers)
        except ValueError as error:
            refusal = refusal or error
            continue
        difference = (compute_logits(student) - run_kept_layers(teacher, layers)).abs().max().item()
        demand(difference < TOLERANCE, teacher, f"layers {layers} are off by {difference}")
        return student, "" if refusal is None else str(refusal).split("; keep")[0]
    raise refusal


def run_kept_layers(teacher: PreTrainedModel, layers: Sequence[int]) -> Tensor:
    """The teacher's own stack reduced to these layers."""
    reference = copy.deepcopy(teacher)
    name = find_layer_stack(reference)[0]
    parent, _, list_name = name.rpartition(".")
    kept = [reference.get_submodule(f"{name}.{layer}") for layer in layers]
    reference.get_submodule(parent).add_module(list_name, nn.ModuleList(kept))
    config = cut_config(teacher.config, layers)
    config.use_cache = False  # the cache files keys by the layer's old place
    config._attn_implementation = teacher.config._attn_implementation
    for module in reference.modules():
        if isinstance(vars(module).get("config"), type(config)):
            module.config = config
    return compute_logits(reference)


def check_training(teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    """Two steps of the default loss move it; what is saved loads again, whole and with the same logits."""
    before = {name: tensor.clone() for name, tensor in student.named_parameters()}
    batch = make_batch(teacher.config)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": index}
        for index, (ids, mask) in enumerate(zip(*(values.tolist() for values in batch.values()), strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        options = {"save_strategy": "no", "eval_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
        arguments = DistillationTrainingArguments(
            folder, use_cpu=True, bf16=False, max_steps=2, warmup_steps=0, trim_embedding=False, **options
        )
        trainer = DistillationTrainer(
            model=student,
            teacher=teacher,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            data_collator=lambda rows: {name: torch.tensor([row[name] for row in rows]) for name in rows[0]},
        )
        trainer.train()
        moved = [name for name, tensor in student.named_parameters() if not torch.equal(tensor, before[name])]
        demand(any(find_layer_stack(student)[0] in name for name in moved), teacher, "its layers do not learn")
        student.save_pretrained(folder)
        reloaded, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        demand(not any(info.values()), teacher, f"its student loads with {info}")
        is_same = torch.equal(compute_logits(reloaded), compute_logits(student))
        demand(is_same, teacher, "its student reloads as another")


# ---- the table ---------------------------------------------------------------------------------------------------


def format_page(rows: Sequence[Row]) -> str:
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (RIGHT, PLACED, REFUSED)}
    lines = [
        "# Architectures",
        "",
        f"Every model type of transformers {version('transformers')} with a head for sequence classification: "
        + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        + ".",
        "Made by `python -m benchmarks.architectures docs/ARCHITECTURES.md`; a slow test",
        "(`tests/benchmarks/test_architectures.py`) makes each row again.",
        "",
        f"**{RIGHT}**: a tiny model of it was cut. A student of all layers gives the teacher's logits bit for bit, one",
        "of two layers those of the teacher with the others skipped; padding does not count, but where that is said;",
        "the default loss trains it; saved, it loads by the plain Auto class with equal logits.",
        "",
        f"**{PLACED}**: the same, but some layer cannot stand elsewhere, and a student that would move it is refused.",
        "",
        f"**{REFUSED}**: with this reason, before anything is trained.",
        "",
        "| model type | class | verdict | reason, or what to know |",
        "|---|---|---|---|",
        *(f"| {row.model_type} | {row.class_name} | {row.verdict} | {row.reason} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def quieten() -> None:
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)


def main(argv: Sequence[str]) -> None:
    """Writes the page where one .md file is named, else prints the rows of the model types named."""
    quieten()
    torch.set_num_threads(1)
    if argv[0].endswith(".md"):
        rows = [judge(model_type) for model_type in sorted(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)]
        Path(argv[0]).write_text(format_page(rows), encoding="utf-8")
        return
    for model_type in argv:
        print(judge(model_type))


if __name__ == "__main__":
    main(sys.argv[1:])
