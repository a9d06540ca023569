"""The vectors of texts: what a sentence encoder is for, and what evaluations ask of teacher and student.

Entry: `load_encoder`, then `SentenceEncoder.encode`; `encode_texts` of a model that is in memory.
"""

import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.architectures.traits import count_positions
from layer_distillation.embedding.loading import AutoPooledModel, fit_tokenizer
from layer_distillation.embedding.modules import get_modules, get_vector_width


@dataclass
class SentenceEncoder:
    """A model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def encode(
        self, texts: Sequence[str], prompt_name: str | None = None, batch_size: int = 32, disable_tqdm: bool = True
    ) -> np.ndarray:
        """(texts, width), float32, as `encode_texts`."""
        prompt = get_modules(self.model.config).get_prompt(prompt_name)
        return encode_texts(self.model, self.tokenizer, texts, prompt, batch_size=batch_size, disable_tqdm=disable_tqdm)


def load_encoder(
    location: str,
    pooling: str | None = None,
    normalize: bool | None = None,
    device: torch.device | str = "cpu",
    **options: object,
) -> SentenceEncoder:
    """A folder of sentence-transformers, or a plain encoder, in float32; ValueError as `AutoPooledModel`."""
    model = AutoPooledModel.from_pretrained(
        location, pooling=pooling, normalize=normalize, use_safetensors=True, **options
    )
    tokenizer = AutoTokenizer.from_pretrained(location, **options)
    fit_tokenizer(tokenizer, get_modules(model.config))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return SentenceEncoder(model.float().to(device).eval(), tokenizer)


@torch.no_grad()
def encode_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    prompt: str = "",
    max_length: int | None = None,
    batch_size: int = 32,
    disable_tqdm: bool = True,
) -> np.ndarray:
    """The vectors (texts, width), float32, in the order of the texts, each cut at `max_length` tokens (default: what
    tokenizer and model take). The model is in eval mode meanwhile and computes in its own precision."""

    def ask(batch: BatchEncoding) -> np.ndarray:
        return model(**keep_taken(model, batch.to(model.device))).logits.float().cpu().numpy()

    if not texts:
        return np.zeros((0, get_vector_width(model.config)), np.float32)
    was_training = model.training
    model.eval()
    try:
        prompted = [prompt + text for text in texts]
        limit = limit_length(model.config, tokenizer, max_length)
        return ask_all(ask, tokenizer, prompted, limit, batch_size, disable_tqdm=disable_tqdm)
    finally:
        model.train(was_training)


def limit_length(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> int:
    """Tokens of a text at most: what is asked for, and what tokenizer and model take."""
    limits = max_length, tokenizer.model_max_length, count_positions(config)
    return min(limit for limit in limits if limit is not None)


def ask_all(
    ask: Callable[[BatchEncoding], np.ndarray],
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    limit: int,
    batch_size: int,
    threads: int = 1,
    disable_tqdm: bool = True,
) -> np.ndarray:
    """(texts, width), float32, in the order of the texts, of whatever answers batches of tokens, the longest first.

    Args:
        limit: tokens at which a text is cut.
        threads: that ask at the same time.
    """
    options = {"truncation": True, "max_length": limit} if limit < 1e9 else {}
    ids = tokenizer(list(texts), **options)
    rows = [{name: values[row] for name, values in ids.items()} for row in range(len(texts))]
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]["input_ids"]))
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    batches = (tokenizer.pad([rows[row] for row in part], return_tensors="pt") for part in parts)
    with ThreadPoolExecutor(threads) as pool:
        asked = map(ask, batches) if threads == 1 else pool.map(ask, batches)
        answers = list(tqdm(asked, total=len(parts), desc="vectors", disable=disable_tqdm, leave=False))
    vectors = np.empty((len(texts), answers[0].shape[1]), np.float32)
    vectors[order] = np.concatenate(answers)
    return vectors


def keep_taken(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those that its forward pass names."""
    names = inspect.signature(model.forward).parameters
    return {name: tensor for name, tensor in batch.items() if name in names}
