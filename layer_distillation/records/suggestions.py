"""The name that was meant, where one that is not known is nearly right."""

import difflib
from collections.abc import Iterable


def suggest(got: str, names: Iterable[str]) -> str:
    """` (did you mean x?)` or nothing."""
    close = difflib.get_close_matches(got, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def suggest_name(name: str, valid_names: Iterable[str]) -> str:
    """` Did you mean 'x'?`, as a sentence of its own, or nothing."""
    near = difflib.get_close_matches(name, list(valid_names), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
