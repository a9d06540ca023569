"""What the model types of transformers do that a config does not say. `benchmarks/architectures.py` measures each on a
tiny model, and a slow test holds these lists against what it finds.
"""

import logging
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

# Their head reads the last real token: a decoder's first token has seen nothing of the text. XLNet's reads the last
# position, so that its rows are padded on the left.
LAST_TOKEN_MODEL_TYPES = frozenset(
    [
        "arcee",
        "axk1",
        "axk2",
        "biogpt",
        "bloom",
        "cohere_compass_text",
        "ctrl",
        "deepseek_v2",
        "deepseek_v3",
        "diffllama",
        "doge",
        "exaone4",
        "falcon",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "glm4",
        "gpt-sw3",
        "gpt2",
        "gpt_bigcode",
        "gpt_neox",
        "gpt_oss",
        "gptj",
        "helium",
        "hunyuan_v1_dense",
        "hunyuan_v1_moe",
        "jamba",
        "jetmoe",
        "llama",
        "minimax",
        "ministral",
        "ministral3",
        "mistral",
        "mistral4",
        "mixtral",
        "modernbert-decoder",
        "mpt",
        "nemotron",
        "olmo",
        "olmo2",
        "olmo3",
        "openai-gpt",
        "opt",
        "persimmon",
        "phi",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_5_text",
        "qwen3_moe",
        "qwen3_next",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder2",
        "xlnet",
    ]
)
LEFT_PADDED_MODEL_TYPES = frozenset({"xlnet"})
# The last of their hidden states has passed the model's final norm, the others have not.
FINAL_NORM_MODEL_TYPES = frozenset(
    ["esm", "eurobert", "megatron-bert", "modernbert", "roberta-prelayernorm", "ultrabert", "xlm-roberta-xl"]
) | (LAST_TOKEN_MODEL_TYPES - {"openai-gpt", "xlnet"})
# Their position numbers begin at pad_token_id + 1: of 514 positions, 512 are there for tokens.
POSITION_OFFSET_MODEL_TYPES = frozenset(
    ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "longformer", "xmod")
    + ("data2vec-text", "ibert", "luke", "lilt")
)

WARNINGS = {
    "big_bird": "transformers computes full attention from the first batch of short rows on (at most 704 tokens by its "
    "usual config) and goes on with it, whatever attention_type its config says",
    "convbert": "its convolution reads padding too: what a row answers depends a little on how far it is padded",
    "mobilebert": "its embedding of a token holds its neighbours', padding too: what a row answers depends a little on "
    "how far it is padded",
    "nystromformer": "its convolution reads padding too: what a row answers depends on how far it is padded",
    "yoso": "its attention hashes padding too: what a row answers depends on how far it is padded",
}


@cache
def warn_about(model_type: str) -> None:
    """Says, once, what is right and yet not what one expects of such a model."""
    if model_type in WARNINGS:
        logger.warning("%s: %s", model_type, WARNINGS[model_type])


def count_positions(config: "PreTrainedConfig") -> int | None:
    """Tokens that a model has positions for; None where it says nothing of it."""
    # Names differ (GPT-2: n_positions) and a model without position limit has none.
    key = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    positions = config.to_dict().get(key)
    if positions is not None and config.model_type in POSITION_OFFSET_MODEL_TYPES:
        positions -= config.pad_token_id + 1
    return positions
