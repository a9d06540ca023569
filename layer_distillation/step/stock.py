"""The flags of `transformers.TrainingArguments` from a table, so that a mistake shows before the seconds of torch.

    python -m layer_distillation.step.stock    # writes the table anew, of the transformers that is installed

The table is of one version of transformers; with another one, the class itself is asked.

Entry: `make_stock_flags`.
"""

import dataclasses
import importlib.metadata
import json
from argparse import ArgumentTypeError
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

TABLE = Path(__file__).with_name("stock_flags.json")


def refuse_text(text: str) -> NoReturn:
    raise ArgumentTypeError(f"{text!r} cannot become what this flag wants: it can be set from Python alone")


TYPES = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bool | None": bool | None,
    "list[str]": list[str],
    "object": refuse_text,
}


@dataclasses.dataclass(frozen=True)
class StockTable:
    """What a version of transformers has: the fields in order, the names that --report_to knows, and the keys of
    --accelerator_config."""

    transformers: str
    fields: list[dict[str, Any]]
    integrations: list[str]
    accelerator_keys: list[str]


@cache
def load_stock_table() -> StockTable:
    """The committed table, or where another transformers is installed what that one's class says."""
    table = StockTable(**json.loads(TABLE.read_text(encoding="utf-8")))
    return table if table.transformers == importlib.metadata.version("transformers") else describe_stock()


@cache
def make_stock_flags() -> type:
    """A dataclass with the fields of `transformers.TrainingArguments`, without its work on them."""
    return dataclasses.make_dataclass("StockFlags", [make_field(**entry) for entry in load_stock_table().fields])


def make_field(name: str, type: str, default: Any, metadata: dict[str, Any]) -> tuple[str, Any, dataclasses.Field]:
    if isinstance(default, list):
        return name, TYPES[type], dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return name, TYPES[type], dataclasses.field(default=default, metadata=metadata)


# ---- asking the class --------------------------------------------------------------------------------------------


def describe_stock() -> StockTable:
    """From the classes that are installed: seconds of imports."""
    from transformers import HfArgumentParser, TrainingArguments
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
    from transformers.trainer_pt_utils import AcceleratorConfig

    HfArgumentParser(TrainingArguments)  # settles which one type of several a flag's text becomes
    return StockTable(
        transformers=importlib.metadata.version("transformers"),
        fields=[describe_field(field) for field in dataclasses.fields(TrainingArguments) if field.init],
        integrations=list(INTEGRATION_TO_CALLBACK),
        accelerator_keys=[field.name for field in dataclasses.fields(AcceleratorConfig)],
    )


def describe_field(field: dataclasses.Field) -> dict[str, Any]:
    """Name, the type that a flag's text becomes, default and metadata, as JSON can hold them."""
    is_list = field.type is list or str(field.type).startswith("list[")
    kind = field.type.__args__[0] if is_list else field.type
    metadata = {name: list(value) if name == "choices" else value for name, value in field.metadata.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        metadata["choices"], kind = [member.value for member in kind], str
    names = {value: name for name, value in TYPES.items()}
    name = names.get(list[kind] if is_list else kind, "object")
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    default = default.value if isinstance(default, Enum) else default
    return {"name": field.name, "type": name, "default": default, "metadata": metadata}


if __name__ == "__main__":
    TABLE.write_text(json.dumps(dataclasses.asdict(describe_stock()), indent=1) + "\n", encoding="utf-8")
