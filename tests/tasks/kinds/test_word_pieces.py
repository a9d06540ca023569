"""A word given by itself is cut as it is within a text, by tokenizers of every kind, also once these are saved."""

import json

import pytest
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification, BertModel, RobertaTokenizer

import run_distillation
from layer_distillation.tasks.kinds.word_pieces import cuts_as_text, find_first_pieces, separate_words
from made_tokenizers import KINDS, SPECIAL, WORDS, train_bytes, wrap
from tiny_kinds import make_kind_project


def make_glued(is_own_class: bool = False, pre_tokenizer=None):
    """Byte-level, as RoBERTa's and ModernBERT's folders have it."""
    backend = train_bytes()
    backend.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    if not is_own_class:
        return wrap(backend)
    model = json.loads(backend.to_str())["model"]
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], **names)


def cut_words(tokenizer, words):
    encoding = tokenizer(words, is_split_into_words=True, add_special_tokens=False)
    return tokenizer.convert_ids_to_tokens(encoding["input_ids"])


@pytest.mark.parametrize("name", KINDS)
def test_a_tokenizer_that_cuts_words_as_texts_stays_as_it_is(name):
    tokenizer = wrap(KINDS[name]())
    before = tokenizer.backend_tokenizer.to_str()
    separate_words(tokenizer, is_trained=False)
    assert tokenizer.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("is_own_class", [False, True])
def test_bytes_get_the_blank_before_every_word(tmp_path, is_own_class):
    tokenizer = make_glued(is_own_class)
    assert cut_words(tokenizer, WORDS[:3]) != tokenizer.tokenize("x " + " ".join(WORDS[:3]))[1:]
    separate_words(tokenizer, is_trained=False)
    tokenizer.save_pretrained(tmp_path)
    for found in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert cut_words(found, WORDS[:3]) == found.tokenize("x " + " ".join(WORDS[:3]))[-3:]


def test_a_later_step_that_sees_parts_of_words_is_left_alone_and_said(caplog):
    parts = [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer = make_glued(pre_tokenizer=pre_tokenizers.Sequence(parts))
    separate_words(tokenizer, is_trained=False)
    assert not cuts_as_text(tokenizer)
    assert "nothing could be done about it" in caplog.text


def test_a_trained_tagger_keeps_what_it_was_trained_on(caplog):
    tokenizer = make_glued()
    separate_words(tokenizer, is_trained=True)
    assert not cuts_as_text(tokenizer)
    assert "load and save it with add_prefix_space=True" in caplog.text


def test_no_word_of_which_no_token_is_made_has_no_first_piece():
    assert find_first_pieces([]) == []
    assert find_first_pieces([None, 0, 0, 1, None]) == [None, 0, None, 1, None]


@pytest.mark.parametrize("is_trained", [False, True])
def test_a_run_saves_the_tokenizer_that_it_read_words_with(tmp_path, is_trained):
    flags = make_kind_project(tmp_path, "token-classification", num_train_epochs=1)
    tokenizer, folder = make_glued(), tmp_path / "teacher"
    tokenizer.save_pretrained(folder)
    config = BertConfig.from_pretrained(folder, vocab_size=len(tokenizer))
    (BertForTokenClassification if is_trained else BertModel)(config).save_pretrained(folder)
    run_distillation.main(flags)
    assert cuts_as_text(AutoTokenizer.from_pretrained(tmp_path / "run")) != is_trained
