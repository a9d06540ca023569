"""Loads a sentence encoder with what pools its states, as an Auto class of transformers loads a model.

Entry: `AutoPooledModel`, `fit_tokenizer`.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers.normalizers import Lowercase, Sequence
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from layer_distillation.embedding.folders import read_modules
from layer_distillation.embedding.modules import SentenceModules, get_modules, set_modules
from layer_distillation.embedding.pooled_model import DENSE_NAME, list_dense, make_pooled_class

POOLER = "pooler."


class AutoPooledModel:
    """`from_pretrained` and `from_config` take what those of an Auto class take."""

    @staticmethod
    def from_config(config: PreTrainedConfig, trust_remote_code: bool = False, **options: Any) -> PreTrainedModel:
        """Of a config without modules, the mean of its states: its layers are what is looked at."""
        config = copy.deepcopy(config)
        if get_modules(config) is None:
            set_modules(config, SentenceModules(("mean",)))
        return find_class(config, trust_remote_code)._from_config(config, **options)

    @staticmethod
    def from_pretrained(
        location: str | Path,
        config: PreTrainedConfig | None = None,
        output_loading_info: bool = False,
        pooling: str | None = None,
        normalize: bool | None = None,
        revision: str = "main",
        trust_remote_code: bool = False,
        **options: Any,
    ) -> PreTrainedModel | tuple[PreTrainedModel, dict[str, Any]]:
        """The model in eval mode and, where asked for, what its checkpoint lacked.

        Args:
            config: one with modules of its own says how to pool; else the folder does, and the two arguments for a
                plain encoder.

        Raises:
            ValueError: the modules cannot be built (`read_modules`), or their weights are no safetensors.
        """
        location = str(location)
        source = {"revision": revision, "trust_remote_code": trust_remote_code}
        config = copy.deepcopy(config) if config is not None else AutoConfig.from_pretrained(location, **source)
        is_told = get_modules(config) is not None
        if not is_told:
            set_modules(config, read_modules(location, config, pooling, normalize, revision))
        pooled_class = find_class(config, trust_remote_code)
        load = {"config": config, "output_loading_info": True, **source, **options}
        model, loading = pooled_class.from_pretrained(location, **load)
        lacking = set(loading["missing_keys"])
        if any(name.startswith(POOLER) for name in lacking):  # that nothing reads: random weights would be saved
            drop_pooler(model)
        if not is_told:
            read_dense_weights(model, location, revision)
            lacking = {name for name in lacking if not name.startswith(f"{DENSE_NAME}.")}
        # A plain encoder's names, as a model with a head has them.
        prefix = f"{model.base_model_prefix}."
        loading["missing_keys"] = {f"{prefix}{name}" for name in lacking if not name.startswith(POOLER)}
        return (model, loading) if output_loading_info else model


def find_class(config: PreTrainedConfig, trust_remote_code: bool) -> type[PreTrainedModel]:
    """The pooled form of what AutoModel makes of the config."""
    with torch.device("meta"):
        encoder = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    return make_pooled_class(type(encoder))


def drop_pooler(model: PreTrainedModel) -> None:
    model.pooler = None
    set_modules(model.config, replace(get_modules(model.config), has_pooler=False))


@torch.no_grad()
def read_dense_weights(model: PreTrainedModel, location: str, revision: str) -> None:
    """From the folders that modules.json names. ValueError for a pickle, which is never loaded."""
    for layer, step in zip(list_dense(model), get_modules(model.config).dense, strict=True):
        name = f"{step['path']}/model.safetensors"
        path = Path(location) / name if Path(location).is_dir() else find_cached(location, name, revision)
        if path is None or not Path(path).is_file():
            raise ValueError(
                f"{location!r} has no {name} (a pickle such as pytorch_model.bin is never loaded): load the model with "
                "sentence-transformers and save it again"
            )
        layer.load_state_dict({key: tensor.float() for key, tensor in load_file(path).items()})


def find_cached(location: str, name: str, revision: str) -> str | None:
    quiet = {f"_raise_exceptions_for_{kind}": False for kind in ("missing_entries", "connection_errors")}
    return cached_file(location, name, revision=revision, **quiet)


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, modules: SentenceModules) -> None:
    """In place: the length and the case that sentence-transformers gives the tokenizer of such a folder."""
    if modules.max_length is not None:
        tokenizer.model_max_length = modules.max_length
    if modules.lowers_case:
        backend = tokenizer.backend_tokenizer
        others = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = Sequence([Lowercase(), *others])
