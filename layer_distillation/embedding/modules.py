"""What stands behind an encoder in a folder of sentence-transformers, as plain data.

The description lives in the config of a model in memory (`config.sentence_modules`), so that whatever is built of that
config pools as its source does. `folders.py` reads and writes it. Entry: `get_modules`, `get_vector_width`.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import PreTrainedConfig

CONFIG_KEY = "sentence_modules"
DENSE, NORMALIZE = "dense", "normalize"


@dataclass(frozen=True)
class SentenceModules:
    """What becomes of the token states.

    pooling: one way, or several whose vectors are joined. steps: what follows, each `{"name": "normalize"}` or a dense
    layer with its sizes. prompts: name -> text that is put before a text. is_assumed: no modules.json says it.
    has_pooler: False where the encoder's class has one and the checkpoint does not.
    """

    pooling: tuple[str, ...]
    steps: tuple[dict[str, Any], ...] = ()
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str | None = None
    max_length: int | None = None
    lowers_case: bool = False
    is_assumed: bool = False
    has_pooler: bool = True

    @property
    def dense(self) -> list[dict[str, Any]]:
        return [step for step in self.steps if step["name"] == DENSE]

    @property
    def normalizes(self) -> bool:
        return any(step["name"] == NORMALIZE for step in self.steps)

    def get_prompt(self, name: str | None = None) -> str:
        """What stands before every text: of that name, else the default one's. ValueError where there is no such."""
        name = self.default_prompt_name if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            raise ValueError(f"there is no prompt {name!r}: the teacher has {', '.join(self.prompts) or 'none'}")
        return self.prompts[name]


# ---- in a config -------------------------------------------------------------------------------------------------


def get_modules(config: PreTrainedConfig) -> SentenceModules | None:
    """None of a config that is no sentence encoder's."""
    values = vars(config).get(CONFIG_KEY)
    if values is None:
        return None
    return SentenceModules(**values | {name: tuple(values[name]) for name in ("pooling", "steps")})


def set_modules(config: PreTrainedConfig, modules: SentenceModules) -> None:
    """In place, as JSON has it."""
    setattr(config, CONFIG_KEY, json.loads(json.dumps(asdict(modules))))


def get_vector_width(config: PreTrainedConfig) -> int:
    modules = get_modules(config)
    return modules.dense[-1]["out_features"] if modules.dense else len(modules.pooling) * config.hidden_size


def count_outputs(config: PreTrainedConfig) -> int:
    """Numbers that a model of this config answers: a classifier's are its labels'."""
    return config.num_labels if get_modules(config) is None else get_vector_width(config)
