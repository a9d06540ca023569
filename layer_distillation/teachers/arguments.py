"""TeacherArguments: which teachers, how they are fine-tuned, and where their outputs are kept."""

import re
from dataclasses import dataclass, field

TEACHER_SEED = 42  # one teacher for all seeds of the student
MAX_SEED = 2**32 - 1
NO_LAYER_DECAY = 1.0
TASK_LOSS = "loss"


@dataclass
class TeacherArguments:
    """Which teacher, and how it is fine-tuned where its head is untrained."""

    teacher_model_name_or_path: str | None = field(
        default=None, metadata={"help": "The fine-tuned model to distil: a folder or a Hub name. Built-in task: none."}
    )
    additional_teachers: str | None = field(
        default=None,
        metadata={
            "help": "Further teachers with the first one's tokenizer: folders or Hub names, comma-separated. The "
            "student is cut from the first, which alone gives hidden states, attention and relations; KL compares with "
            "the mean over all teachers of softmax(logits / T), logit_cosine with their mean logits."
        },
    )
    pooling: str | None = field(
        default=None,
        metadata={
            "help": "How a plain encoder's states become a vector (default: mean, of a decoder lasttoken; a folder of "
            "sentence-transformers says it itself; embedding).",
            "choices": ["mean", "cls", "lasttoken", "weightedmean"],
        },
    )
    normalize_embeddings: bool | None = field(
        default=None,
        metadata={"help": "Whether the vectors of a plain encoder get the length 1 (default: no; embedding)."},
    )
    teacher_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a teacher on the Hub."})
    teacher_training: str = field(
        default="auto",
        metadata={
            "help": "auto: fine-tune a teacher whose head is newly initialised, once; never: do not.",
            "choices": ["auto", "never"],
        },
    )
    allow_untrained_teacher: bool = field(
        default=False, metadata={"help": "Go on with a teacher whose head is random (only to repeat an experiment)."}
    )
    teacher_seeds: str = field(
        default=str(TEACHER_SEED),
        metadata={
            "help": "Seed of its fine-tuning. Several, such as 42,43,44, make as many teachers of the one encoder; the "
            "student is cut from the first. --additional_teachers are fine-tuned with the first seed."
        },
    )
    teacher_learning_rate: float = field(default=5e-5, metadata={"help": "Peak learning rate of its fine-tuning."})
    teacher_num_train_epochs: float = field(default=4.0, metadata={"help": "Epochs of its fine-tuning."})
    teacher_train_batch_size: int = field(default=32, metadata={"help": "Rows per step of its fine-tuning."})
    teacher_warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up: steps, or below 1 a share of them."})
    teacher_weight_decay: float = field(default=0.0, metadata={"help": "Weight decay of its fine-tuning."})
    teacher_layer_decay: float = field(
        default=NO_LAYER_DECAY,
        metadata={
            "help": "Layer-wise decay of its learning rate: the head learns at the full rate, each layer at this times "
            "the rate of the one above it, the embeddings at the lowest; 1: all at one rate."
        },
    )
    teacher_metric_for_best_model: str = field(
        default=TASK_LOSS,
        metadata={"help": "What chooses the epoch that its fine-tuning keeps: loss, or one of the task's metrics."},
    )
    teacher_adam_beta2: float = field(default=0.999, metadata={"help": "AdamW's second beta in its fine-tuning."})
    teacher_outputs: str = field(
        default="auto",
        metadata={
            "help": "Where the teacher's outputs for the training rows come from: live (it runs on every batch), "
            "stored (computed once, kept on disk), auto (stored where it fits).",
            "choices": ["auto", "live", "stored"],
        },
    )
    teacher_store_max_gb: float = field(
        default=20.0,
        metadata={
            "help": "The largest store of a run's teacher outputs, in gigabytes, that may be written; the logits of "
            "evaluation rows, a few bytes each, are beside it."
        },
    )
    cache_dir: str = field(
        default="~/.cache/layer_distillation", metadata={"help": "Where fine-tuned teachers and stores are kept."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run model code that comes with the teacher."})

    def __post_init__(self) -> None:
        if self.teacher_training == "never" and self.teacher_model_name_or_path is None:
            raise ValueError("--teacher_training never needs --teacher_model_name_or_path: a model already fine-tuned")
        if not self.teacher_store_max_gb >= 0:  # nan is no limit either
            raise ValueError(f"--teacher_store_max_gb is {self.teacher_store_max_gb:g}: give 0 (no store) or more")
        if not 0 < self.teacher_layer_decay <= 1:
            raise ValueError(f"--teacher_layer_decay is {self.teacher_layer_decay:g}: give 1 (none) or less, above 0")
        self.check_teachers()

    @property
    def seeds(self) -> list[int]:
        return [int(seed) for seed in self.teacher_seeds.split(",")]

    @property
    def additional_names(self) -> list[str]:
        return [name.strip() for name in (self.additional_teachers or "").split(",") if name.strip()]

    def check_teachers(self) -> None:
        """Raises ValueError where the lists of seeds or of further teachers are none."""
        if not re.fullmatch(r"\d+( *, *\d+)*", self.teacher_seeds) or max(self.seeds) > MAX_SEED:
            raise ValueError(f"--teacher_seeds is {self.teacher_seeds!r}: give whole numbers, such as 42,43,44")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--teacher_seeds {self.teacher_seeds} has a seed twice: it would be the same teacher")
        names = [self.teacher_model_name_or_path, *self.additional_names]
        if repeated := [name for name in self.additional_names if names.count(name) > 1]:
            raise ValueError(f"{repeated[0]} is there twice among the teachers: it would count twice, leave one out")
