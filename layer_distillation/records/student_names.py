"""What tells students apart that start from the same layers: their width, the checkpoint that these come from, and what
they were trained on.

Without torch, as the comparison reads it from records.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

STUDENT_SIZES = {
    "student_hidden_size": "hidden",
    "student_intermediate_size": "intermediate",
    "student_attention_heads": "heads",
}
LOSS_TERMS = (
    *("ce", "kl", "logit_cosine", "margin", "similarity"),
    *("rkd", "hidden", "attention", "pkd", "embedding", "relation"),
)
VARIANT_ARGUMENTS = (*STUDENT_SIZES, "student_source_model", "student_model_name_or_path")


def name_variant(arguments: Mapping[str, Any], width_init: str | None = None) -> str:
    """Such as `, hidden 192, heads 6 (truncation), from bert-base-uncased`; empty for a student as wide as its teacher
    and cut out of it. `width_init` is what a narrower one kept where that was left to the default."""
    sizes = [f"{title} {arguments[name]}" for name, title in STUDENT_SIZES.items() if arguments[name] is not None]
    kept = width_init or arguments["student_width_init"]
    init = f" ({kept})" if sizes and kept else ""
    source = arguments["student_source_model"]
    origin = [] if source is None else [f"from {PurePath(source).name}"]
    return "".join(f", {part}" for part in [*([", ".join(sizes) + init] if sizes else []), *origin])


def name_settings(arguments: Mapping[str, Any], names: Iterable[str]) -> str:
    """Such as `, layer_matching top, hidden_weight 1`: the values of some arguments; of a path the last part."""
    return "".join(f", {name} {format_setting(arguments.get(name))}" for name in names)


def name_loss(arguments: Mapping[str, Any]) -> str:
    """Such as `, 0.5 ce + 0.5 kl (T 2) + 1 hidden (cosine)`: the terms, and what of the loss is not the default."""
    notes = {"kl": f" (T {arguments['temperature']:g})"}
    notes |= {name: f" ({arguments[f'{name}_loss']})" for name in ("hidden", "attention")}
    notes |= {"similarity": f" ({arguments.get('similarity_loss')}, T {arguments['temperature']:g})"}
    notes |= {} if arguments["pkd_last_layer"] else {"pkd": " (not the last layer)"}
    notes |= {"ce": f" (classes {arguments['class_weights']})"} if arguments.get("class_weights") else {}
    weights = {name: arguments[f"{name}_weight"] for name in LOSS_TERMS}
    parts = [" + ".join(f"{weight:g} {name}{notes.get(name, '')}" for name, weight in weights.items() if weight > 0)]
    if arguments["intermediate_epochs"] > 0:
        rest = ", then all" if arguments["second_stage"] == "all" else ""
        parts.append(f"{arguments['intermediate_epochs']:g} intermediate epochs{rest}")
    parts += [f"parts {arguments['matryoshka_dims']}"] if arguments.get("matryoshka_dims") else []
    parts += [arguments["schedules"]] if arguments["schedules"] else []
    parts += [f"matching {arguments['layer_matching']}"] if arguments["layer_matching"] != "block" else []
    return "".join(f", {part}" for part in parts if part)


def format_setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in (None, "") else PurePath(str(value)).name


def name_folder(text: str) -> str:
    """The text as a part of a folder's name: what is neither letter, digit, dot nor underscore becomes one dash."""
    return re.sub(r"[^\w.]+", "-", text).rstrip("-")
