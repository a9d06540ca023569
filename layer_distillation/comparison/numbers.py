"""Numbers as the tables show them; a dash for what is not there."""

import math


def format_number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def format_interval(low: float, high: float) -> str:
    return f"[{low:.4f}, {high:.4f}]"


def format_share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def name_one(units: str) -> str:
    """The singular of what is resampled: rows, queries, contexts or articles."""
    words = units.split(" or ")
    return " or ".join(word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s") for word in words)
