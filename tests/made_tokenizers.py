"""Small tokenizers of every kind, trained or made here."""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

TEXT = "the cat sat on a mat while dogs were running quickly through unhappy gardens of lower houses"
WORDS = TEXT.split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
METASPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def make_corpus() -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=8)) for _ in range(300)]


def train_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(make_corpus(), trainers.WordPieceTrainer(vocab_size=160, special_tokens=SPECIAL))
    return add_template(tokenizer)


def train_bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(make_corpus(), trainer)
    return add_template(tokenizer)


def train_endings() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=SPECIAL, end_of_word_suffix="</w>")
    tokenizer.train_from_iterator(make_corpus(), trainer)
    return add_template(tokenizer)


def score_pieces() -> Tokenizer:
    """Words are better than letters, and the worst piece is a word."""
    letters = dict.fromkeys("abcdefghijklmnopqrstuvwxyz" + METASPACE, -9.0)
    words = {METASPACE + word: -3.0 - index / 50 for index, word in enumerate(dict.fromkeys(WORDS))}
    pieces = dict.fromkeys(SPECIAL, 0.0) | letters | words | {METASPACE + "worst": -20.0}
    tokenizer = Tokenizer(models.Unigram(list(pieces.items()), unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return add_template(tokenizer)


def list_words() -> Tokenizer:
    names = [*SPECIAL, *sorted(set(WORDS))]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def add_template(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


KINDS = {
    "WordLevel": list_words,
    "WordPiece": train_pieces,
    "byte-level BPE": train_bytes,
    "BPE with endings": train_endings,
    "Unigram": score_pieces,
}


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def save_bert_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    wrap(train_pieces()).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "BertTokenizer"}))
    return AutoTokenizer.from_pretrained(folder)
