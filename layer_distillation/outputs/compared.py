"""A batch's teacher outputs: logits and, where a loss needs them, what the matched layers hold."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from layer_distillation.architectures.plain_logits import read_logits
from layer_distillation.outputs.ensemble_logits import mix_any_logits
from layer_distillation.outputs.relation_targets import record_relations

FLOAT32, BFLOAT16 = "float32", "bfloat16"
EMBEDDING_LAYER = -1  # among hidden layers: the embedding's output, which the first layer reads


@dataclass(frozen=True)
class ModelOutputs:
    """What the losses compare, of a teacher or of a student.

    logits: (batch, classes), of several teachers (batch, teachers, classes); hidden_states: one (batch, tokens, hidden)
    per wanted layer, of a narrower student in its teacher's width; unprojected_states: then the same in its own width;
    attentions: one (batch, heads, tokens, tokens) per wanted layer; relations: queries, keys and
    values, one (batch, 3, tokens, width) per wanted layer; raw: what the model's call returned, None of a store.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] = ()
    attentions: tuple[Tensor, ...] = ()
    relations: tuple[Tensor, ...] = ()
    unprojected_states: tuple[Tensor, ...] = ()
    raw: ModelOutput | None = None

    def holds(self, *wanted: Sequence[int]) -> bool:
        """Whether there is something of every kind of which layers are wanted: hidden, attention, relation layers."""
        held = (self.hidden_states, self.attentions, self.relations)
        return all(tensors or not layers for tensors, layers in zip(held, wanted, strict=True))


def run_model(
    model: torch.nn.Module,
    inputs: Mapping[str, Tensor],
    hidden_layers: Sequence[int] = (),
    attention_layers: Sequence[int] = (),
    relation_layers: Sequence[int] = (),
    has_projections: bool = False,
) -> ModelOutputs:
    """One forward pass that keeps only what is wanted; layer i's hidden state is its output, entry i + 1 of the list.

    Args:
        has_projections: as many projected states follow (`losses/projections.py`).
    """
    with record_relations(relation_layers) as recorder:
        outputs = model(
            **inputs,
            output_hidden_states=bool(hidden_layers),
            output_attentions=bool(attention_layers),
            return_dict=True,  # whatever the model's own config says
        )
    states = projected = outputs.hidden_states or ()
    if has_projections:
        states, projected = states[: len(states) // 2], states[len(states) // 2 :]
    return ModelOutputs(
        logits=read_logits(outputs),
        hidden_states=tuple(projected[layer + 1] for layer in hidden_layers),
        attentions=tuple(outputs.attentions[layer] for layer in attention_layers),
        relations=tuple(recorder.states[layer] for layer in relation_layers),
        unprojected_states=tuple(states[layer + 1] for layer in hidden_layers) if has_projections else (),
        raw=outputs,
    )


def compute_in(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to bfloat16, or none at all: float32 weights compute in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == BFLOAT16)


def make_mask(inputs: Mapping[str, Tensor]) -> Tensor:
    """The attention mask (inputs, tokens) of a batch, whose rows mostly are one input each; without one all its tokens
    are real, as they are for a model.

    Raises ValueError where a batch has no token ids.
    """
    if "input_ids" not in inputs:
        raise ValueError(f"a batch holds {sorted(inputs)}, and no input_ids: this trainer takes tokenized text")
    mask = inputs["attention_mask"] if "attention_mask" in inputs else torch.ones_like(inputs["input_ids"])
    return mask.flatten(end_dim=-2)  # (rows, choices, tokens) of multiple choice: hidden states come so too


def keep_inputs(model: torch.nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that its forward pass names: teacher and student need not take the same (DistilBERT: no segment ids).

    All of them where it names none (*args, **kwargs): then nothing says what it takes.
    """
    names = list_parameters(model)
    return {name: values for name, values in inputs.items() if name in names or "input_ids" not in names}


def list_parameters(model: torch.nn.Module) -> list[str]:
    """The names of its forward pass."""
    return list(inspect.signature(model.forward).parameters)


class LiveTeacherOutputs:
    """Runs the teacher on every batch, in eval mode, without gradients and in its own precision: even where the student
    trains in bfloat16, its outputs are those that a store holds. `precision` "bfloat16" is for what is imitated alone.

    The teacher is held here, outside the student, the optimizer and every checkpoint; so are further ones, of whom only
    the logits count.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        hidden_layers: Sequence[int] = (),
        attention_layers: Sequence[int] = (),
        relation_layers: Sequence[int] = (),
        further_teachers: Sequence[PreTrainedModel] = (),
        precision: str = FLOAT32,
    ) -> None:
        self.precision = precision
        self.teacher = teacher.eval().requires_grad_(False)
        self.further_teachers = [model.to(teacher.device).eval().requires_grad_(False) for model in further_teachers]
        self.hidden_layers = tuple(hidden_layers)
        self.attention_layers = tuple(attention_layers)
        self.relation_layers = tuple(relation_layers)
        self.is_binary = teacher.config.problem_type == "multi_label_classification"

    def list_inputs(self) -> list[str]:
        """What any of the teachers reads, some of it perhaps not the student."""
        return [name for model in (self.teacher, *self.further_teachers) for name in list_parameters(model)]

    @torch.no_grad()
    def get_batch(
        self, inputs: Mapping[str, Tensor], wanted: Sequence[Collection[int]] = ((0,), (0,), (0,))
    ) -> ModelOutputs:
        """The teacher's outputs for the model inputs of one batch, on the batch's device.

        Args:
            wanted: student layers of hidden states, attentions and relations; a kind without any is left out.
        """
        with compute_in(self.precision, self.teacher.device):
            held = (self.hidden_layers, self.attention_layers, self.relation_layers)
            layers = [own if kind else () for own, kind in zip(held, wanted, strict=True)]
            outputs = run_model(self.teacher, keep_inputs(self.teacher, inputs), *layers)
            return replace(outputs, logits=self._add_further(outputs.logits, inputs).float(), raw=None)

    @torch.no_grad()
    def get_logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(batch, classes), without the intermediate outputs that only training needs."""
        with torch.autocast(self.teacher.device.type, enabled=False):
            logits = run_model(self.teacher, keep_inputs(self.teacher, inputs)).logits
            if not self.further_teachers:
                return logits
            return mix_any_logits(self._add_further(logits, inputs), self.is_binary)

    def _add_further(self, logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """(batch, classes) of the teacher or, with further ones, (batch, teachers, classes) of all."""
        if not self.further_teachers:
            return logits
        others = (run_model(model, keep_inputs(model, inputs)).logits for model in self.further_teachers)
        return torch.stack([logits, *others], dim=1)
