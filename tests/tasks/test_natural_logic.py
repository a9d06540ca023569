import itertools
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from layer_distillation.tasks.natural_logic import (
    LABEL_NAMES,
    Sentence,
    build_tokenizer,
    build_untrained_model,
    draw_sentence,
    generate_corpus,
    label_pair,
    write_untrained_encoder,
)

# The meanings of the words, written down a second time: each row lists the leaves that a word stands for.
# "other dog" and the like are the individuals that an open taxonomy leaves room for.
NOUN_LEAVES = {
    "animals": {"poodle", "beagle", "other dog", "robin", "owl", "other bird", "other animal"},
    "dogs": {"poodle", "beagle", "other dog"},
    "poodles": {"poodle"},
    "beagles": {"beagle"},
    "birds": {"robin", "owl", "other bird"},
    "robins": {"robin"},
    "owls": {"owl"},
}
VERB_LEAVES = {
    "move": {"stroll", "march", "other walk", "run", "other move"},
    "walk": {"stroll", "march", "other walk"},
    "stroll": {"stroll"},
    "march": {"march"},
    "run": {"run"},
}
SIZES = ("small", "large", "middling")
AGES = ("young", "old", "grown")
INDIVIDUALS = list(
    itertools.product(sorted(NOUN_LEAVES["animals"]), SIZES, AGES, sorted(VERB_LEAVES["move"] | {"keep still"}))
)


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[dict]]:
    return generate_corpus()


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another():
    first, again, other = (generate_corpus(300, 30, 30, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert len({read_pair(row) for row in first["train"]} & {read_pair(row) for row in other["train"]}) < 15


def test_no_pair_occurs_twice_within_or_between_splits(corpus):
    pairs = Counter(read_pair(row) for rows in corpus.values() for row in rows)
    assert pairs.most_common(1)[0][1] == 1
    assert len(pairs) == 12_000 + 1_500 + 1_500


@pytest.mark.parametrize("train_rows", [1, 2, 100])
def test_row_counts_are_those_asked_for_and_labels_are_balanced_up_to_one_row(train_rows):
    corpus = generate_corpus(train_rows, 50, 31)
    assert {split: len(rows) for split, rows in corpus.items()} == {
        "train": train_rows,
        "validation": 50,
        "test": 31,
    }
    for rows in corpus.values():
        counts = [sum(row["label"] == label for row in rows) for label in range(3)]
        assert max(counts) - min(counts) <= 1


def test_more_rows_than_there_are_distinct_pairs_are_refused():
    with pytest.raises(ValueError, match="ask for fewer"):
        generate_corpus(1_000_000)


@pytest.mark.parametrize("longest_ngram", [1, 2])
def test_the_hypothesis_alone_does_not_give_the_label_away(corpus, longest_ngram):
    assert fit_bag_of_words(corpus, lambda row: row["hypothesis"].split(), longest_ngram) < 0.45


@pytest.mark.parametrize("longest_ngram", [1, 2])
def test_a_bag_of_words_over_both_sentences_does_not_solve_the_task(corpus, longest_ngram):
    assert fit_bag_of_words(corpus, mark_both_sentences, longest_ngram) < 0.60


def test_the_labels_of_a_sample_are_those_that_enumerating_all_worlds_gives(corpus):
    rows = random.Random(0).sample(corpus["train"], 400)
    wrong = [row for row in rows if row["label"] != label_by_worlds(row["premise"], row["hypothesis"])]
    assert wrong == []


def test_label_pair_agrees_with_enumerating_all_worlds_on_sentences_drawn_independently():
    generator = random.Random(0)
    for _ in range(400):
        premise, hypothesis = draw_sentence(generator), draw_sentence(generator)
        expected = label_by_worlds(str(premise), str(hypothesis))
        assert label_pair(premise, hypothesis) == expected, (str(premise), str(hypothesis))


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("all dogs move", "all small poodles move", "entailment"),
        ("all dogs stroll", "all dogs walk", "entailment"),
        ("no dogs walk", "no poodles stroll", "entailment"),
        ("all dogs stroll", "no dogs run", "entailment"),
        ("all dogs move", "some old owls move", "neutral"),
        ("all dogs move", "some old poodles move", "entailment"),
        ("some poodles never move", "not all dogs stroll", "entailment"),
        ("some dogs walk", "some poodles walk", "neutral"),
        ("all small dogs walk", "all dogs walk", "neutral"),
        ("all small dogs walk", "no old dogs walk", "neutral"),
        ("all dogs walk", "no dogs walk", "contradiction"),
        ("all dogs never move", "some beagles march", "contradiction"),
        ("not all young robins stroll", "all birds walk", "neutral"),
        ("not all young robins walk", "all birds stroll", "contradiction"),
    ],
)
def test_textbook_inferences_have_their_labels(premise, hypothesis, label):
    assert LABEL_NAMES[label_pair(read_sentence(premise), read_sentence(hypothesis))] == label
    assert LABEL_NAMES[label_by_worlds(premise, hypothesis)] == label


def test_quantifiers_negation_adjectives_and_hypernyms_all_occur_with_every_label(corpus):
    for label in range(3):
        words = Counter(word for row in corpus["train"] if row["label"] == label for word in mark_both_sentences(row))
        assert set(words) >= {f"{side}:{word}" for side in "ph" for word in list_words()}


def test_the_tokenizer_knows_every_word_and_marks_the_two_sentences(corpus):
    tokenizer = build_tokenizer()
    rows = corpus["validation"]
    assert {word for row in rows for word in " ".join(read_pair(row)).split()} == list_words()
    encoded = tokenizer([row["premise"] for row in rows], [row["hypothesis"] for row in rows])
    assert max(map(len, encoded["input_ids"])) <= tokenizer.model_max_length
    assert all(tokenizer.unk_token_id not in ids for ids in encoded["input_ids"])
    assert tokenizer("unicorns").input_ids[1] == tokenizer.unk_token_id

    pair = tokenizer("not all dogs walk", "no Owls run")
    assert tokenizer.decode(pair.input_ids) == "[CLS] not all dogs walk [SEP] no owls run [SEP]"
    assert pair.token_type_ids == [0] * 6 + [1] * 4


def test_the_written_encoder_has_twelve_layers_and_its_classifier_is_reported_missing(tmp_path):
    folder = tmp_path / "nested" / "encoder"
    write_untrained_encoder(folder, seed=0)
    model, loading = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert len(model.bert.encoder.layer) == 12
    assert loading["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert tuple(model.config.id2label[label] for label in range(3)) == LABEL_NAMES
    for name, tensor in build_untrained_model(seed=0).bert.state_dict().items():
        assert torch.equal(tensor, model.bert.state_dict()[name]), name
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == build_tokenizer().get_vocab()


def test_an_encoder_that_fails_to_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        write_untrained_encoder(tmp_path / "encoder", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_of_the_encoder_is_cleared_away(tmp_path):
    left = tmp_path / "encoder.unfinished"
    left.mkdir()
    (left / "half.safetensors").write_bytes(b"half")
    write_untrained_encoder(tmp_path / "encoder", seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
    assert not (tmp_path / "encoder" / "half.safetensors").exists()


def test_building_the_encoder_depends_on_its_seed_alone():
    torch.manual_seed(5)
    expected_draw = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (build_untrained_model(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected_draw)
    query = "bert.encoder.layer.11.attention.self.query.weight"
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert (first[query] - other[query]).abs().mean() > 0.01


def read_pair(row: dict) -> tuple[str, str]:
    return row["premise"], row["hypothesis"]


def mark_both_sentences(row: dict) -> list[str]:
    sides = (("p", row["premise"]), ("h", row["hypothesis"]))
    return [f"{side}:{word}" for side, sentence in sides for word in sentence.split()]


def list_words() -> set[str]:
    return {*NOUN_LEAVES, *VERB_LEAVES, *SIZES[:2], *AGES[:2], "all", "some", "no", "not", "never"}


def fit_bag_of_words(corpus: dict[str, list[dict]], read_words: Callable[[dict], list[str]], longest: int) -> float:
    """Validation accuracy of a logistic regression on counts of n-grams up to the longest."""
    classifier = make_pipeline(
        CountVectorizer(analyzer=lambda row: list_ngrams(read_words(row), longest)),
        LogisticRegression(max_iter=1000),
    )
    train, validation = corpus["train"], corpus["validation"]
    classifier.fit(train, [row["label"] for row in train])
    return classifier.score(validation, [row["label"] for row in validation])


def list_ngrams(words: list[str], longest: int) -> list[str]:
    return [
        " ".join(words[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    ]


def label_by_worlds(premise: str, hypothesis: str) -> int:
    """The label by its definition, over all worlds: two individuals that no word of the pair tells apart are one.

    A world is then the set of the kinds of individuals it contains, and there are at most 2 ** 16 of them.
    """
    masks = np.array([*read_masks(premise), *read_masks(hypothesis)])
    kinds = np.unique(masks, axis=1)
    worlds = (np.arange(2 ** kinds.shape[1])[:, None] >> np.arange(kinds.shape[1])) & 1 == 1
    worlds = worlds[(worlds & kinds[0]).any(1) & (worlds & kinds[2]).any(1)]  # existential import
    premise_truth = evaluate(premise, worlds, kinds[0], kinds[1])
    hypothesis_truth = evaluate(hypothesis, worlds, kinds[2], kinds[3])
    assert premise_truth.any()
    if hypothesis_truth[premise_truth].all():
        return LABEL_NAMES.index("entailment")
    return LABEL_NAMES.index("neutral" if hypothesis_truth[premise_truth].any() else "contradiction")


def evaluate(text: str, worlds: np.ndarray, subject: np.ndarray, predicate: np.ndarray) -> np.ndarray:
    """Per world whether the sentence holds there."""
    some_do, some_do_not = (worlds & subject & predicate).any(1), (worlds & subject & ~predicate).any(1)
    if text.startswith("not all"):
        return some_do_not
    return {"all": ~some_do_not, "some": some_do, "no": ~some_do}[text.split()[0]]


def read_masks(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Per possible individual whether it is in the subject, and whether the predicate holds of it."""
    sentence = read_sentence(text)
    subject = [
        noun in NOUN_LEAVES[sentence.noun] and sentence.adjective in ("", size, age)
        for noun, size, age, _ in INDIVIDUALS
    ]
    predicate = [(verb in VERB_LEAVES[sentence.verb]) != sentence.is_negated for *_, verb in INDIVIDUALS]
    return np.array(subject), np.array(predicate)


def read_sentence(text: str) -> Sentence:
    words = text.removeprefix("not all").split()
    quantifier = "not all" if text.startswith("not all") else words.pop(0)
    adjective = words.pop(0) if words[0] in (*SIZES, *AGES) else ""
    return Sentence(quantifier, adjective, words[0], words[1] == "never", words[-1])
