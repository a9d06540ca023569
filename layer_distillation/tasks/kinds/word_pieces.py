"""Words that a tokenizer is given one by one: cut as within a text, and which word a piece is of.

A byte-level BPE has the blank before a word in its pieces, so that words by themselves get those of a text without any.
transformers 4 refused that; 5 does not, and a tokenizer of the generic class (ModernBERT) ignores `add_prefix_space`.

Entry: `separate_words`, `find_first_pieces`.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

BEFORE, PROBE = "the", "word"
PREFIX_FLAG = "add_prefix_space"


def separate_words(tokenizer: "PreTrainedTokenizerBase", is_trained: bool) -> None:
    """Lets a word given by itself have the pieces that it has within a text, in place, and in what is saved. That of a
    trained tagger stays as it is, whatever it was trained on, and what it does is said."""
    if not tokenizer.is_fast or cuts_as_text(tokenizer):
        return
    problem = "the tokenizer cuts words given one by one otherwise than running text, which is what a pipeline reads"
    if is_trained:
        remedy = f"if the teacher was trained on words as texts have them, load and save it with {PREFIX_FLAG}=True"
        logger.warning("%s: %s", problem, remedy)
        return
    set_prefix(tokenizer)
    if cuts_as_text(tokenizer):
        logger.info("words are cut as within a text: %s is set, and saved with the student", PREFIX_FLAG)
    else:
        logger.warning("%s, and nothing could be done about it: take a model with another one", problem)


def cuts_as_text(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the second of two words has the same pieces by itself as after a blank."""
    words = tokenizer([BEFORE, PROBE], is_split_into_words=True, add_special_tokens=False)
    text = tokenizer(f"{BEFORE} {PROBE}", add_special_tokens=False, return_offsets_mapping=True)
    own = [piece for piece, word in zip(words["input_ids"], words.word_ids(0), strict=True) if word == 1]
    pieces = zip(text["input_ids"], text["offset_mapping"], strict=True)
    return own == [piece for piece, (_, end) in pieces if end > len(BEFORE)]


def set_prefix(tokenizer: "PreTrainedTokenizerBase") -> None:
    """On the backend's first step, if it is byte-level: further ones see parts of words. And among the arguments, by
    which a tokenizer of a class of its own is built again."""
    from tokenizers import pre_tokenizers  # which a comparison does without

    step = tokenizer.backend_tokenizer.pre_tokenizer
    step = step[0] if isinstance(step, pre_tokenizers.Sequence) else step
    if isinstance(step, pre_tokenizers.ByteLevel):
        step.add_prefix_space = True
        tokenizer.add_prefix_space = tokenizer.init_kwargs[PREFIX_FLAG] = True


def find_first_pieces(word_ids: Sequence[int | None]) -> list[int | None]:
    """The word at its first piece, None at every other token."""
    before: list[int | None] = [None, *word_ids][: len(word_ids)]  # a tokenizer may make no token of no word
    return [word if word != last else None for word, last in zip(word_ids, before, strict=True)]
