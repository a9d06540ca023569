"""Tiny teachers of texts' vectors, written as sentence-transformers would have them, without it."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
)

from conftest import make_bert
from layer_distillation.embedding.modules import SentenceModules, set_modules
from layer_distillation.embedding.pooled_model import make_pooled_class, save_pooled
from tiny_project import COLOURS, NOUNS, WORDS, write_tokenizer

TEXTS = [
    "the red ball is a house",
    "a car",
    "the tree is not a green cup and the door is red",
    "blue",
    "not the house",
    "a red car and a blue car and a green car",
    "the door",
]
SIZES = {"vocab_size": len(WORDS), "initializer_range": 0.2}


def make_encoder(model_type: str = "bert", num_layers: int = 4, seed: int = 1, **options: Any) -> PreTrainedModel:
    """16 wide; weights wide enough that every layer shows."""
    torch.manual_seed(seed)
    if model_type == "qwen3":
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
        sizes |= {"intermediate_size": 32, "max_position_embeddings": 64, "use_cache": False}
        return Qwen3Model(Qwen3Config(num_hidden_layers=num_layers, **sizes, **SIZES, **options)).eval()
    if model_type == "distilbert":
        sizes = {"dim": 16, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
        return DistilBertModel(DistilBertConfig(n_layers=num_layers, **sizes, **SIZES, **options)).eval()
    config = SIZES | make_bert(num_layers, **{"vocab_size": len(WORDS), **options}).config.to_dict()
    torch.manual_seed(seed)
    if model_type == "mpnet":
        config = {name: value for name, value in config.items() if name not in ("model_type", "pad_token_id")}
        return MPNetModel(MPNetConfig(**config, pad_token_id=0)).eval()
    return BertModel(BertConfig.from_dict(config)).eval()


def make_pooled(
    model_type: str = "bert",
    modules: SentenceModules = SentenceModules(("mean",), ({"name": "normalize"},)),  # noqa: B008 - immutable
    num_layers: int = 4,
    seed: int = 1,
    **options: Any,
) -> PreTrainedModel:
    encoder = make_encoder(model_type, num_layers, seed, **options)
    set_modules(encoder.config, modules)
    model = make_pooled_class(type(encoder))(encoder.config)
    model.load_state_dict(encoder.state_dict(), strict=False)
    return model.eval()


def write_sentence_folder(folder: Path, model: PreTrainedModel | None = None, **options: Any) -> Path:
    """The folder of a teacher with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    save_pooled(make_pooled(**options) if model is None else model, folder)
    write_tokenizer(folder)
    return folder


def make_texts(num_texts: int, seed: int = 0) -> list[str]:
    draw = torch.Generator().manual_seed(seed)

    def pick(words: list[str]) -> str:
        return words[int(torch.randint(len(words), (1,), generator=draw))]

    return [
        " ".join([f"the {pick(COLOURS)} {pick(NOUNS)}", *(pick([*NOUNS, "is", "a", "not"]) for _ in range(index % 7))])
        for index in range(num_texts)
    ]
