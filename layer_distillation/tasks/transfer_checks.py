"""Whether text without labels goes with what else is asked for, as far as flags say: without torch and `datasets`.

Entry: `check_transfer_set`; `check_pairs` again, once the rows are read.
"""

from collections.abc import Mapping, Sequence

from layer_distillation.tasks.arguments import TASKS, DataArguments

RECOMBINED_KINDS = ("text-classification", "multi-label")  # any two texts are a row of; of regressions too


def check_transfer_set(arguments: DataArguments, term_weights: Mapping[str, float]) -> None:
    """Raises ValueError where no term of the loss, by name and largest weight, could learn from text without labels,
    or rows that are to be paired anew are no pairs."""
    others = [name for name, weight in term_weights.items() if weight > 0 and name != "ce"]
    for name in ("unlabeled_file", "recombined_pairs"):
        if vars(arguments)[name] is not None and not others:
            raise ValueError(
                f"--{name} {vars(arguments)[name]} has no labels, and cross-entropy is the only term of the loss: "
                f"set --kl_weight or another term's weight above 0, or drop --{name}"
            )
    spec, named = TASKS.get(arguments.task_name or ""), arguments.text_columns
    columns = spec.text_columns if spec else [name.strip() for name in named.split(",")] if named else None
    if arguments.recombined_pairs is not None:
        check_pairs(arguments.recombined_pairs, arguments.task_type or RECOMBINED_KINDS[0], columns)


def check_pairs(count: int, kind_name: str, text_columns: Sequence[str] | None) -> None:
    """Raises ValueError where rows have no two texts that may be paired anew; columns that are None are not known."""
    if kind_name in RECOMBINED_KINDS and (text_columns is None or len(text_columns) == 2):
        return
    have = f" of {' and '.join(text_columns)}" if text_columns else ""
    raise ValueError(
        f"--recombined_pairs {count} pairs the two texts of classified rows anew, and this is {kind_name}{have}: leave "
        "it out, or give 0 where a recipe has it"
    )
