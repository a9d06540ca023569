"""What a user says of the student beside its layers: how wide it is, and which checkpoint its weights come from."""

from dataclasses import dataclass, field

from layer_search import SearchArguments
from student_names import STUDENT_SIZES
from student_width import WIDTH_INITS


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
            "from the teacher."
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
