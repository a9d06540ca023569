"""LossFlags: what a user says of the loss. Its terms' names and flags, checked without torch."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from layer_distillation.losses.layer_matching import check_matching
from layer_distillation.losses.schedules import Schedule, parse_schedules

PREDICTION_TERMS = ("ce", "kl", "logit_cosine", "margin", "similarity")
STATE_TERMS = ("hidden", "pkd", "rkd")  # they compare the hidden states of matched layers
INTERMEDIATE_TERMS = (*STATE_TERMS, "attention", "embedding", "relation")
BATCH_TERMS = ("rkd", "similarity")  # they compare the rows of a batch with each other
PART_TERMS = ("kl", "logit_cosine", "similarity")  # they compare parts of vectors too, where these are asked for
TERM_NAMES = (*PREDICTION_TERMS, *INTERMEDIATE_TERMS)
SCHEDULED_NAMES = ("temperature", *(f"{name}_weight" for name in TERM_NAMES))
SECOND_STAGES = ("all", "prediction")
HIDDEN_LOSS_NAMES = ("mse", "cosine")
ATTENTION_LOSS_NAMES = ("mse", "kl")
SIMILARITY_LOSS_NAMES = ("kl", "mse", "distance")


BALANCED = "balanced"


@dataclass
class LossFlags:
    """Weights of the terms, how each compares, and how they change while the student trains."""

    ce_weight: float = field(default=0.5, metadata={"help": "Weight of the task's loss on the true labels."})
    class_weights: str | None = field(
        default=None,
        metadata={
            "help": "Weights of the classes in cross-entropy, sum(w[y] CE) / sum(w[y]): one number for each of the "
            "printed labels, in their order, as a,b,c; or balanced (all rows / (classes * rows of the class)). "
            "eval_loss and the teacher's fine-tuning stay unweighted."
        },
    )
    kl_weight: float = field(
        default=0.5,
        metadata={
            "help": "Weight of T^2 KL(teacher || student); for regression and reranking of the outputs' squared error, "
            "of embeddings of the vectors' squared distance."
        },
    )
    hidden_weight: float = field(default=10.0, metadata={"help": "Weight of the hidden states' distance."})
    attention_weight: float = field(default=0.0, metadata={"help": "Weight of the attention matrices' distance."})
    logit_cosine_weight: float = field(
        default=0.0, metadata={"help": "Weight of 1 - cosine of the logits; of embeddings of the vectors."}
    )
    margin_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of MarginMSE: by how much a query's best candidate is ahead of each other one, of student "
            "and teacher (reranking; as many candidates for every query)."
        },
    )
    pkd_weight: float = field(
        default=10.0,
        metadata={
            "help": "Weight of the distance of matched layers' normalized states where the head reads them: [CLS], a "
            "decoder's last token, or the mean of all."
        },
    )
    embedding_weight: float = field(default=0.0, metadata={"help": "Weight of the embedding outputs' distance."})
    relation_weight: float = field(
        default=0.0, metadata={"help": "Weight of the KL of query, key and value relations of one teacher layer."}
    )
    rkd_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the difference in how far apart a batch's rows are, by matched layers' states where the "
            "head reads them; it depends on what rows are together, so no accumulation and one process."
        },
    )
    similarity_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the difference in how similar a batch's vectors are to each other (embedding); it "
            "depends on what rows are together, so no accumulation and one process."
        },
    )
    similarity_loss: str = field(
        default="kl",
        metadata={
            "help": "How similarities are compared: kl (each row's softmax of cosines / --temperature), mse (cosines), "
            "distance (Euclidean distances over their mean).",
            "choices": sorted(SIMILARITY_LOSS_NAMES),
        },
    )
    matryoshka_dims: str | None = field(
        default=None,
        metadata={
            "help": "Such as 64,128,256: kl, logit_cosine and similarity terms compare the first dimensions of the "
            "vectors too, the mean of all (embedding)."
        },
    )
    pkd_last_layer: bool = field(
        default=True,
        metadata={"help": "Whether --pkd_weight compares the student's last layer too; the paper leaves it to the KL."},
    )
    relation_layer: int | None = field(
        default=None,
        metadata={"help": "Teacher layer whose relations the student's last layer imitates (default: its last)."},
    )
    relation_heads: int = field(
        default=12, metadata={"help": "Relation heads, a divisor of both widths; attention heads may differ."}
    )
    temperature: float = field(
        default=1.0, metadata={"help": "Softmax temperature T of the KL term; of embeddings of the similarities."}
    )
    hidden_loss: str = field(
        default="cosine", metadata={"help": "How hidden states are compared.", "choices": sorted(HIDDEN_LOSS_NAMES)}
    )
    attention_loss: str = field(
        default="mse",
        metadata={
            "help": "How attention is compared: mse (scores) or kl (distributions).",
            "choices": sorted(ATTENTION_LOSS_NAMES),
        },
    )
    schedules: str = field(
        default="",
        metadata={
            "help": "Weights or a temperature that change from their own flag's value to an end, by linear or cosine, "
            "such as hidden_weight=cosine:0,temperature=linear:1; all others stay constant. From Python a mapping too."
        },
    )
    intermediate_epochs: float = field(
        default=0.0,
        metadata={
            "help": "First epochs in which only hidden, pkd, rkd, attention, embedding and relation terms count."
        },
    )
    second_stage: str = field(
        default="prediction",
        metadata={
            "help": "What counts after --intermediate_epochs: prediction (ce, kl, logit_cosine, margin) or all terms.",
            "choices": list(SECOND_STAGES),
        },
    )
    layer_matching: str = field(
        default="block",
        metadata={
            "help": "Which teacher layer each student layer imitates: block (the end of its block), the name of a "
            "layer strategy (but scratch), a list such as 1,3,5, or best (the layer that it resembles most before "
            "training, by CKA on --calibration_rows, in ascending order)."
        },
    )

    @property
    def parsed_schedules(self) -> Mapping[str, Schedule]:
        """Field name -> how it changes."""
        return parse_schedules(self.schedules, SCHEDULED_NAMES)

    def get_largest_weights(self) -> dict[str, float]:
        """Term name -> the larger of the two ends of its weight; 0 for a term that is off all the time."""
        schedules, weights = self.parsed_schedules, {}
        for name in TERM_NAMES:
            flag = f"{name}_weight"
            weights[name] = max(getattr(self, flag), schedules[flag].end if flag in schedules else 0.0)
        return weights

    def check_loss(self) -> None:
        """Raises ValueError where a weight, a temperature or a choice is none."""
        weights = {name: getattr(self, f"{name}_weight") for name in TERM_NAMES}
        if min(weights.values()) < 0:
            name = min(weights, key=weights.__getitem__)
            raise ValueError(f"{name}_weight is {weights[name]}: a weight is at least 0")
        if sum(self.get_largest_weights().values()) == 0:
            flags = ", ".join(f"--{name}_weight" for name in weights)
            raise ValueError(f"all weights are 0: set one of {flags} above 0")
        schedules = self.parsed_schedules
        temperatures = [self.temperature] + ([schedules["temperature"].end] if "temperature" in schedules else [])
        if not min(temperatures) > 0:
            raise ValueError(f"temperature is {min(temperatures)}: it has to be above 0 (1 changes nothing)")
        for name, choices in (
            ("hidden_loss", HIDDEN_LOSS_NAMES),
            ("attention_loss", ATTENTION_LOSS_NAMES),
            ("similarity_loss", SIMILARITY_LOSS_NAMES),
            ("second_stage", SECOND_STAGES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        check_matching(self.layer_matching)
        parse_sizes(self.matryoshka_dims)
        if self.class_weights is not None:
            parse_class_weights(self.class_weights)
            if self.get_largest_weights()["ce"] == 0:
                raise ValueError(f"--class_weights {self.class_weights} weighs --ce_weight, which is 0: leave one out")

    def check_batches(
        self, gradient_accumulation_steps: int, num_processes: int, activation_checkpointing: bool
    ) -> None:
        """Raises ValueError where a batch is run in a way that a term cannot follow."""
        weights = self.get_largest_weights()
        for name in BATCH_TERMS:
            if weights[name] > 0 and gradient_accumulation_steps * num_processes > 1:
                raise ValueError(
                    f"--{name}_weight compares the rows of one whole batch: with --gradient_accumulation_steps "
                    f"{gradient_accumulation_steps} and {num_processes} processes it would be another loss; take 1 "
                    f"of each, or --{name}_weight 0"
                )
        if weights["relation"] > 0 and activation_checkpointing:
            raise ValueError(
                "--relation_weight needs what --activation_checkpointing throws away: leave one of the two out"
            )

    def check_stages(self, num_train_epochs: float, max_steps: int) -> None:
        """Raises ValueError where one of the two stages would have no epoch, or no term."""
        if self.intermediate_epochs == 0:
            return
        if not 0 < self.intermediate_epochs < num_train_epochs or max_steps > 0:
            raise ValueError(
                f"--intermediate_epochs {self.intermediate_epochs:g} has to leave epochs for the second stage: take "
                f"more than 0 and less than --num_train_epochs {num_train_epochs:g}, without --max_steps"
            )
        weights = self.get_largest_weights()
        for stage, names in (("first", INTERMEDIATE_TERMS), ("second", PREDICTION_TERMS)):
            if sum(weights[name] for name in names) == 0:
                flags = ", ".join(f"--{name}_weight" for name in names)
                raise ValueError(f"--intermediate_epochs has nothing to do in its {stage} stage: set one of {flags}")


def parse_sizes(text: str | None) -> list[int]:
    """Of `--matryoshka_dims`; ValueError for what is no list of sizes."""
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts) or len(set(parts)) < len(parts):
        raise ValueError(f"--matryoshka_dims is {text!r}: give different whole numbers above 0, such as 64,128,256")
    return [int(part) for part in parts]


def parse_class_weights(text: str) -> list[float] | None:
    """Numbers above 0, or None for balanced; ValueError for anything else."""
    if text == BALANCED:
        return None
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if not weights or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        near = difflib.get_close_matches(text, [BALANCED], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"--class_weights is {text!r}{hint}: give {BALANCED}, or a finite number above 0 for each class, as 1,2.5"
        )
    return weights
