"""What a user says of the student: its layers, how wide it is, and which checkpoint its weights come from.

Checked without torch.
"""

import re
from dataclasses import dataclass, field
from pathlib import PurePath

from layer_distillation.layers.strategies import (
    LAYER_STRATEGIES,
    LAYER_STRATEGY_ALIASES,
    SEARCHED_STRATEGY_NAMES,
    parse_layer_list,
)
from layer_distillation.records.student_names import STUDENT_SIZES, name_folder, name_variant

SAVED_TYPES = ("float32", "bfloat16", "float16")
DEFAULT_STRATEGY = "even"
WIDTH_INITS = ("truncation", "importance", "principal_components")


@dataclass
class SearchArguments:
    """What only the strategies are told that look at data."""

    calibration_rows: int = field(
        default=256,
        metadata={
            "help": "Training rows, drawn by --sample_seed, by which the strategies influence, cka, greedy and beam "
            "choose: the same rows, hence the same layers, for every --seed."
        },
    )
    beam_width: int = field(
        default=4, metadata={"help": "How many subsets of each size the strategy beam goes on from."}
    )

    def __post_init__(self) -> None:
        if self.calibration_rows < 2:
            raise ValueError(f"--calibration_rows is {self.calibration_rows}: give at least 2, better some hundreds")
        if self.beam_width < 1:
            raise ValueError(f"--beam_width is {self.beam_width}: give at least 1, which is the strategy greedy")


@dataclass
class OriginArguments(SearchArguments):
    """A narrower student, or one that does not come from its teacher."""

    student_hidden_size: int | None = field(
        default=None,
        metadata={"help": "Width of the student's hidden states. Default: the teacher's."},
    )
    student_intermediate_size: int | None = field(
        default=None, metadata={"help": "Feed-forward units of each student layer. Default: the teacher's."}
    )
    student_attention_heads: int | None = field(
        default=None,
        metadata={
            "help": "Attention heads of each student layer. Default: as many as keep the teacher's size of a head, "
            "where that divides --student_hidden_size; else, and where the size of a head is a setting of its own "
            "(llama, qwen3), the teacher's number."
        },
    )
    student_width_init: str | None = field(
        default=None,
        metadata={
            "help": "What a narrower student keeps: truncation (the first dimensions, heads and units), importance "
            "(those on which the answers of the model it is cut from depend most), principal_components (of the hidden "
            "states; heads and units by importance). The last two look at --calibration_rows. Default: "
            "principal_components where --student_hidden_size is smaller than the teacher's and its norms have a bias, "
            "else importance.",
            "choices": list(WIDTH_INITS),
        },
    )
    student_source_model: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub name of another checkpoint of the teacher's architecture and sizes, such as the "
            "pretrained one: the student's layers, embeddings and, where it has one, pooler come from it, the head "
            "from the teacher. One with another tokenizer, or beside soft labels, may be any model: then the teacher's "
            "logits alone are imitated."
        },
    )
    student_model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub name of an existing smaller model with the teacher's vocabulary: it is the student, "
            "and nothing is cut. Its head is kept where it has the task's labels, else drawn anew."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in STUDENT_SIZES:
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"--{name} is {size}: give at least 1, or leave it out for the teacher's own")
        if self.student_width_init is None and self.student_hidden_size is None:
            self.student_width_init = "importance"  # heads and units have no other choice of their own
        if self.student_width_init not in (None, *WIDTH_INITS):
            raise ValueError(
                f"--student_width_init is {self.student_width_init!r}: choose one of {', '.join(WIDTH_INITS)}"
            )

    @property
    def wants_width(self) -> bool:
        """Whether another size than the teacher's is asked for."""
        return any(getattr(self, name) is not None for name in STUDENT_SIZES)


@dataclass
class StudentArguments(OriginArguments):
    """Where the student's weights come from."""

    layer_strategy: str | None = field(
        default=None,
        metadata={
            "help": "Which teacher layers the student starts from, counted from the input: top = first (nearest the "
            "input), bottom = last (nearest the output), odd, even, ... Chosen by looking at training rows: "
            f"{', '.join(SEARCHED_STRATEGY_NAMES)}. Default: {DEFAULT_STRATEGY}.",
            "choices": [*LAYER_STRATEGIES, *LAYER_STRATEGY_ALIASES, *SEARCHED_STRATEGY_NAMES],
        },
    )
    student_num_layers: int | None = field(
        default=None, metadata={"help": "Layers of the student. Default: half of the teacher's."}
    )
    student_layers: str | None = field(
        default=None, metadata={"help": "In place of a strategy the teacher layers themselves, such as 11,1,3,5,7,9."}
    )
    save_dtype: str = field(
        default="float32",
        metadata={
            "help": "Type in which the finished student is saved; its recorded scores are those of the saved weights, "
            "computed in this type, as whoever loads them gets them.",
            "choices": list(SAVED_TYPES),
        },
    )
    export: str | None = field(
        default=None,
        metadata={
            "help": "Export the finished student too, as export_student.py does with these --formats, such as "
            "onnx,onnx-int8; scored and timed beside the teacher. Default: none."
        },
    )
    trim_vocabulary: bool = field(
        default=False, metadata={"help": "With --export: also the student with the tokens of its texts alone."}
    )
    tuned_flags: str | None = field(
        default=None,
        metadata={
            "help": "Flags, comma-separated, whose values here are chosen for this kind of student on validation rows, "
            "as run_all_strategies.sh --tune does: noted for the comparison and the card, changes nothing."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student_layers is not None and self.layer_strategy is not None:
            raise ValueError(
                f"both --layer_strategy {self.layer_strategy} and --student_layers {self.student_layers} are given: "
                "leave one out"
            )
        self._check_existing_student()
        if self.student_layers is None and self.layer_strategy is None and self.student_model_name_or_path is None:
            self.layer_strategy = DEFAULT_STRATEGY
        if self.student_num_layers is not None and self.student_num_layers < 1:
            raise ValueError(f"--student_num_layers is {self.student_num_layers}: a student has at least 1 layer")
        if self.student_layers is not None:
            parse_layer_list(self.student_layers)
        if self.tuned_flags is not None and not re.fullmatch(r"[a-z]\w*(,[a-z]\w*)*", self.tuned_flags, re.ASCII):
            raise ValueError(f"--tuned_flags is {self.tuned_flags!r}: give names of flags, such as learning_rate")
        if self.save_dtype not in SAVED_TYPES:
            raise ValueError(f"--save_dtype is {self.save_dtype!r}: choose one of {', '.join(SAVED_TYPES)}")

    def _check_existing_student(self) -> None:
        """Raises ValueError where an existing student is to be cut all the same."""
        names = ("layer_strategy", "student_layers", "student_num_layers", "student_source_model", *STUDENT_SIZES)
        given = [name for name in names if getattr(self, name) is not None]
        if self.student_model_name_or_path is not None and given:
            raise ValueError(
                f"--student_model_name_or_path {self.student_model_name_or_path} is the student as it is, and --"
                f"{given[0]} {getattr(self, given[0])} would cut one from the teacher: leave one of the two out"
            )

    @property
    def run_name(self) -> str:
        """The strategy's name and what else tells this student from others, as it stands in names of folders."""
        return self.strategy_name + name_folder(name_variant(vars(self)))

    @property
    def strategy_name(self) -> str:
        """The strategy without its alias, the list, or the existing model, as it stands in names of tables."""
        if self.student_model_name_or_path is not None:
            return f"model{name_folder('-' + PurePath(self.student_model_name_or_path).name)}"
        if self.layer_strategy is None:
            return f"layers-{'-'.join(map(str, parse_layer_list(self.student_layers)))}"
        return LAYER_STRATEGY_ALIASES.get(self.layer_strategy, self.layer_strategy)
