"""Which class each column of soft labels stands for: by its name, by what is left of it without a common beginning or
end, else by the order of the labels.

Entry: `match_soft_labels`.
"""

import logging
from collections.abc import Sequence

from layer_distillation.tasks.soft_labels import SoftLabels, list_readings, name_classes
from layer_distillation.teachers.label_matching import LabelMatch, fold_names, is_unnamed, match_labels

logger = logging.getLogger(__name__)

FLAG = "--soft_label_columns"


def match_soft_labels(soft: SoftLabels, label_names: Sequence[str]) -> LabelMatch:
    """One list of labels for the columns and the rows: `outputs` are the columns in its order.

    Raises:
        ValueError: a column's name is no class, or there are more classes than columns.
    """
    if len(soft.columns) == 1:
        return match_by_order([f"{soft.columns[0]}[{index}]" for index in range(soft.num_classes)], label_names)
    for reading in list_readings(soft.columns):
        if set(fold_names(label_names)) <= set(fold_names(reading)):
            match = match_labels(reading, label_names, FLAG)
            places = [fold_names(reading).index(name) for name in fold_names(match.names)]
            outputs = [soft.columns[place] for place in places]
            logger.info("soft labels: %s", ", ".join(map(" is ".join, zip(outputs, match.names, strict=True))))
            return LabelMatch(match.names, match.indices, outputs, True)
    refuse_strange_names(soft, label_names)
    names = name_classes(soft)
    if is_unnamed(label_names) and not is_unnamed(names):  # bare numbers of gold labels get the columns' names
        match = match_labels(names, label_names, FLAG)
        return LabelMatch(match.names, match.indices, soft.columns, False)
    return match_by_order(soft.columns, label_names)


def refuse_strange_names(soft: SoftLabels, label_names: Sequence[str]) -> None:
    """Raises ValueError where some columns are called by a class and another is not."""
    labels = fold_names(label_names)
    for reading in list_readings(soft.columns):
        strange = [column for column, name in zip(soft.columns, fold_names(reading), strict=True) if name not in labels]
        if len(strange) < len(reading):
            raise ValueError(
                f"{FLAG} {','.join(soft.columns)}: the name of {strange[0]!r} is none of the classes "
                f"{list(label_names)}, while others' are: name every column by its class, or none"
            )


def match_by_order(columns: Sequence[str], label_names: Sequence[str]) -> LabelMatch:
    if len(columns) != len(label_names):
        raise ValueError(
            f"{FLAG} has {len(columns)} columns or numbers and the rows have {len(label_names)} classes "
            f"({', '.join(label_names)}): give one for each, named by its class"
        )
    logger.warning(
        "soft labels: no name tells which class is which, they are taken in the order of the labels: %s",
        ", ".join(f"{column} is {label}" for column, label in zip(columns, label_names, strict=True)),
    )
    return LabelMatch(list(label_names), list(range(len(label_names))), list(columns), False)
