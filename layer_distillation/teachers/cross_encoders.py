"""What sentence-transformers says of a cross-encoder beside its weights: the modules that it has, and the activation
that its `predict` puts on the logit. A student says the same, so that `CrossEncoder(folder)` scores as its teacher's.

Entry: `check_modules` before a teacher is loaded, `describe_cross_encoder` of a student's config.
"""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils import cached_file

from layer_distillation.tasks.model_checks import explain_errors
from layer_distillation.teachers.folder_kinds import has_file

MODULES, OWN_CONFIG = "modules.json", "config_sentence_transformers.json"
SECTION, OLD_NAME = "sentence_transformers", "sbert_ce_default_activation_function"
# What `CrossEncoder` of this version takes where nothing is written, for one logit.
SIGMOID, VERSION = "torch.nn.modules.activation.Sigmoid", "6.2.0"


def check_modules(location: str, revision: str) -> None:
    """Raises ValueError where more than a transformer makes the score: its head would be another's, or its texts."""
    modules = read_json(location, MODULES, revision) or []
    names = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    others = [name for name in names if name != "Transformer"]
    if others:
        raise ValueError(
            f"{location!r} scores by {' and '.join(names)} ({MODULES}), and a student is a transformer whose own head "
            "gives one logit: give such a cross-encoder, or an encoder without a head, which is fine-tuned here"
        )
    own = (read_json(location, OWN_CONFIG, revision) or {}) if modules else {}  # without modules it is not looked at
    if prompt := (own.get("prompts") or {}).get(own.get("default_prompt_name")):
        raise ValueError(
            f"{location!r} puts its default prompt {prompt!r} before every pair ({OWN_CONFIG}), which is not built: "
            "write it into the queries of your files, and remove default_prompt_name there"
        )


def describe_cross_encoder(config: PreTrainedConfig, location: str, revision: str) -> dict[str, str]:
    """The section `sentence_transformers` of a config.json, by the config and the folder of its teacher."""
    values = config.to_dict()
    section, own = values.get(SECTION) or {}, read_json(location, OWN_CONFIG, revision) or {}
    activation = own.get("activation_fn") or section.get("activation_fn") or values.get(OLD_NAME) or SIGMOID
    version = own.get("__version__", {}).get(SECTION) or section.get("version") or VERSION
    return {"activation_fn": activation, "version": version}


def read_json(location: str, file: str, revision: str) -> Any:
    """None where there is none."""
    if not has_file(location, file, revision):
        return None
    with explain_errors(location, f"{file} of {location!r} cannot be read", "save the model again"):
        return json.loads(Path(cached_file(location, file, revision=revision)).read_text(encoding="utf-8"))
