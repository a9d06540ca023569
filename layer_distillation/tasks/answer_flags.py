"""AnswerFlags: what answers in the place of a model that was trained on the task, checked without torch."""

from dataclasses import dataclass, field

PROBABILITIES, LOGITS = "probabilities", "logits"
SOFT_LABEL_KINDS = (PROBABILITIES, LOGITS)
DEFAULT_TEMPLATE = "This example is {}."  # the zero-shot pipeline's


@dataclass
class AnswerFlags:
    """Columns of soft labels, or a model of natural language inference that is told the classes by name."""

    soft_label_columns: str | None = field(
        default=None,
        metadata={
            "help": "Columns with a teacher's answers, one for each class as p_neg,p_neu,p_pos, or one of lists: they "
            "are the teacher, and no teacher model is loaded. The student starts from --student_source_model."
        },
    )
    soft_label_kind: str | None = field(
        default=None,
        metadata={
            "help": "What these columns hold: probabilities (default: not negative, and a row sums to 1) or logits.",
            "choices": list(SOFT_LABEL_KINDS),
        },
    )

    zero_shot_labels: str | None = field(
        default=None,
        metadata={
            "help": "Names of the classes, as sports,politics: the teacher is a model of natural language inference, "
            "and its logit of entailment for each name answers. The student starts from --student_source_model, or "
            "from the teacher's own layers."
        },
    )
    hypothesis_template: str | None = field(
        default=None,
        metadata={
            "help": "With --zero_shot_labels: the sentence that is held against each text, {} standing for the name "
            f"(default: {DEFAULT_TEMPLATE!r})."
        },
    )

    @property
    def zero_shot_names(self) -> list[str]:
        return [name.strip() for name in (self.zero_shot_labels or "").split(",") if name.strip()]

    @property
    def has_own_answers(self) -> bool:
        """Whether no model that was trained on the task is the teacher."""
        return self.soft_label_columns is not None or self.zero_shot_labels is not None

    @property
    def soft_label_names(self) -> list[str]:
        """The columns' names, none where there are no soft labels."""
        return [name.strip() for name in (self.soft_label_columns or "").split(",") if name.strip()]

    def check_answers(self) -> None:
        """Raises ValueError where one of the flags cannot be meant, or not beside another."""
        self.check_soft_labels()
        self.check_zero_shot()
        if self.soft_label_columns is not None and self.zero_shot_labels is not None:
            raise ValueError(
                "both --soft_label_columns and --zero_shot_labels are given: one teacher answers, leave one of them out"
            )

    def check_zero_shot(self) -> None:
        """Raises ValueError where fewer than two classes are named, or a template has no place for a name."""
        names, template = self.zero_shot_names, self.hypothesis_template
        folded = {name.lower() for name in names}
        if self.zero_shot_labels is not None and (len(names) < 2 or len(folded) < len(names)):
            raise ValueError(
                f"--zero_shot_labels {self.zero_shot_labels!r}: give two different names at least, as sports,politics"
            )
        if template is not None and self.zero_shot_labels is None:
            raise ValueError(f"--hypothesis_template {template!r} goes with --zero_shot_labels: add that")
        if template is not None and template.count("{}") != 1:
            raise ValueError(
                f"--hypothesis_template is {template!r}: write {{}} once, where the name of the class is to stand, as "
                f"in {DEFAULT_TEMPLATE!r}"
            )

    def check_soft_labels(self) -> None:
        """Raises ValueError where the columns are none, or named twice."""
        names, given = self.soft_label_names, self.soft_label_columns
        if given is not None and (not names or len(set(names)) < len(names)):
            raise ValueError(f"--soft_label_columns {given!r}: give different names of columns, as p_neg,p_neu,p_pos")
        if self.soft_label_kind is not None and given is None:
            raise ValueError(f"--soft_label_kind {self.soft_label_kind} goes with --soft_label_columns: add that")
        if self.soft_label_kind not in (None, *SOFT_LABEL_KINDS):
            raise ValueError(
                f"--soft_label_kind is {self.soft_label_kind!r}: choose one of {', '.join(SOFT_LABEL_KINDS)}"
            )
