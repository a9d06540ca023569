"""Smaller tokenizers of every kind: covered texts keep their tokens, all others still are tokens."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from layer_distillation.export.tokenizer_files import rebuild_tokenizer
from made_tokenizers import KINDS, SPECIAL, score_pieces, train_bytes, wrap

COVERED = ["the cat sat on a mat", "dogs were running"]
OTHERS = ["quickly unhappier gardeners", "tac eht", "zebra 99 \N{GREEK SMALL LETTER ALPHA}", "", "\N{DOG FACE}"]


def trim(whole: PreTrainedTokenizerFast, folder: Path) -> tuple[PreTrainedTokenizerFast, list[int]]:
    used = {token for text in COVERED for token in whole(text)["input_ids"]}
    old_ids = rebuild_tokenizer(whole, used, folder)
    return AutoTokenizer.from_pretrained(folder), old_ids


@pytest.mark.parametrize("kind", KINDS)
def test_covered_texts_keep_their_tokens_and_every_other_text_still_is_tokens(kind, tmp_path):
    whole = wrap(KINDS[kind]())
    smaller, old_ids = trim(whole, tmp_path)
    assert len(smaller) == len(old_ids) < len(whole)
    for text in COVERED:
        assert [old_ids[token] for token in smaller(text)["input_ids"]] == whole(text)["input_ids"]
    pair = smaller(COVERED[0], COVERED[1])
    assert [old_ids[token] for token in pair["input_ids"]] == whole(COVERED[0], COVERED[1])["input_ids"]
    for text in OTHERS:
        assert max(smaller(text)["input_ids"], default=0) < len(old_ids)
    assert smaller.pad_token_id == old_ids.index(whole.pad_token_id)
    raw = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))  # as a client without transformers reads it
    assert raw.encode(*COVERED).ids == pair["input_ids"]


@pytest.mark.parametrize("kind", ["WordPiece", "byte-level BPE", "BPE with endings", "Unigram"])
def test_a_word_that_is_not_kept_falls_into_pieces_and_none_is_unknown(kind, tmp_path):
    whole = wrap(KINDS[kind]())
    smaller, _ = trim(whole, tmp_path)
    text = "quickly unhappy gardens"
    assert whole.unk_token_id not in whole(text)["input_ids"]
    pieces = smaller(text)["input_ids"]
    assert smaller.unk_token_id not in pieces
    assert len(pieces) > len(whole(text)["input_ids"])


def test_bytes_survive_so_that_every_text_comes_back(tmp_path):
    smaller, _ = trim(wrap(train_bytes()), tmp_path)
    text = "zebra 99 \N{GREEK SMALL LETTER ALPHA}\N{DOG FACE}"
    assert smaller.decode(smaller(text)["input_ids"], skip_special_tokens=True).strip() == text


def test_the_unknown_costs_what_it_cost(tmp_path):
    whole = wrap(score_pieces())
    rebuild_tokenizer(whole, {5}, tmp_path)
    scores = [score for _, score in json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]]
    assert min(scores) == min(score for _, score in json.loads(whole.backend_tokenizer.to_str())["model"]["vocab"])


def test_merges_on_the_way_to_a_kept_token_stay(tmp_path):
    merges = [("a", "b"), ("ab", "c"), ("c", "d")]
    vocabulary = {name: index for index, name in enumerate([*SPECIAL, "a", "b", "c", "d", "ab", "abc", "cd"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="[UNK]"))
    old_ids = rebuild_tokenizer(wrap(tokenizer), {vocabulary["abc"]}, tmp_path)
    names = {index: name for name, index in vocabulary.items()}
    assert {names[old] for old in old_ids} == {*SPECIAL, "a", "b", "c", "d", "ab", "abc"}


def test_a_tokenizer_that_cannot_be_trimmed_is_named(tmp_path):
    tokenizer = Tokenizer(models.BPE({"[PAD]": 0, "a": 1, "##a": 2}, [], continuing_subword_prefix="##"))
    with pytest.raises(ValueError, match=r"of TokenizersBackend cannot be trimmed \(its BPE marks .*leave --trim"):
        rebuild_tokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]"), {1}, tmp_path)
