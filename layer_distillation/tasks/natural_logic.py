"""The built-in task: generated natural-language inference whose labels follow from the grammar, with no download.

A sentence is `quantifier [adjective] noun [never] verb`, "not all small poodles never march"; a pair is labelled
entailment, neutral or contradiction by `label_pair`, a decision procedure for this fragment of natural logic
(MacCartney and Manning 2009): words stand in the relations that the taxonomy gives them, a quantifier and a negation
decide how these relations carry over to sentences.

What the labels assume, so that they are exact:
- A word implies its hypernyms (poodles are dogs); sisters exclude each other, and so do their hyponyms (no poodle is
  a beagle or a robin, nothing is small and large, who strolls does not run). Unrelated words are independent.
- The taxonomy is open: a dog may be neither poodle nor beagle, a thing neither small nor large.
- Existential import: what premise or hypothesis has as subject exists ("all small dogs run": there are small dogs).
- "never" negates the verb alone: "all dogs never run" says that no dog runs.
Entailment: the hypothesis holds in every such world where the premise does; contradiction: in none; neutral: otherwise.

Each hypothesis comes with one premise of every label, so that the hypothesis alone says nothing about the label.

Entry: `generate_corpus`; `write_untrained_encoder` makes the 12-layer encoder that the task's teacher is trained from.
"""

import itertools
import os
import random
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from layer_distillation.tasks.arguments import BUILT_IN_MAX_LENGTH

LABEL_NAMES: tuple[str, ...] = ("entailment", "neutral", "contradiction")
ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)

QUANTIFIERS = ("all", "some", "no", "not all")
NEGATION = "never"
FORMS = tuple(itertools.product(QUANTIFIERS, (False, True)))
NOUN_HYPERNYMS = {
    "dogs": "animals", "poodles": "dogs", "beagles": "dogs",
    "birds": "animals", "robins": "birds", "owls": "birds",
}  # fmt: skip
VERB_HYPERNYMS = {"walk": "move", "stroll": "walk", "march": "walk", "run": "move"}
# The value is the scale on which an adjective lies: never written, it makes the two ends of a scale sisters.
ADJECTIVE_SCALES = {"small": "SIZE", "large": "SIZE", "young": "AGE", "old": "AGE"}
NO_ADJECTIVE = ""
HYPERNYMS = NOUN_HYPERNYMS | VERB_HYPERNYMS | ADJECTIVE_SCALES
NOUNS = tuple(sorted({*NOUN_HYPERNYMS, *NOUN_HYPERNYMS.values()}))
VERBS = tuple(sorted({*VERB_HYPERNYMS, *VERB_HYPERNYMS.values()}))
ADJECTIVES = tuple(sorted(ADJECTIVE_SCALES))

MAX_ROWS = 45_000  # beyond, hypotheses without an unused premise for every label become the rule

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_POSITIONS = BUILT_IN_MAX_LENGTH
ENCODER_LAYERS = 12
HIDDEN_SIZE = 64
ATTENTION_HEADS = 2
FEED_FORWARD_SIZE = 128


class Sentence(NamedTuple):
    quantifier: str
    adjective: str
    noun: str
    is_negated: bool
    verb: str

    def __str__(self) -> str:
        words = (self.quantifier, self.adjective, self.noun, NEGATION if self.is_negated else "", self.verb)
        return " ".join(word for word in words if word)


def write_untrained_encoder(folder: Path, seed: int) -> None:
    """Save the encoder without a head, and its tokenizer: whoever loads a classifier from it sees the head missing.

    One process at a time: what a killed one left is cleared away first.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        build_untrained_model(seed).bert.save_pretrained(unfinished)
        build_tokenizer().save_pretrained(unfinished)
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def build_untrained_model(seed: int) -> BertForSequenceClassification:
    """A stock 12-layer BERT; the caller's random state is left as it was."""
    config = BertConfig(
        vocab_size=len(list_vocabulary()),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=FEED_FORWARD_SIZE,
        num_hidden_layers=ENCODER_LAYERS,
        num_attention_heads=ATTENTION_HEADS,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=HIDDEN_SIZE**-0.5,
        id2label=dict(enumerate(LABEL_NAMES)),
        label2id={name: label for label, name in enumerate(LABEL_NAMES)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    shrink_residual_branches(model)
    return model


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, over the whole vocabulary, with BERT's special tokens and token types."""
    ids = {token: token_id for token_id, token in enumerate(list_vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def generate_corpus(
    train_rows: int = 12_000, validation_rows: int = 1_500, test_rows: int = 1_500, seed: int = 0
) -> dict[str, list[dict]]:
    """Splits of {"premise", "hypothesis", "label"}; no pair occurs twice, labels are balanced up to one row."""
    if train_rows + validation_rows + test_rows > MAX_ROWS:
        raise ValueError(
            f"got {train_rows} + {validation_rows} + {test_rows} rows; the grammar has distinct pairs for about "
            f"{MAX_ROWS}: ask for fewer"
        )
    generator = random.Random(seed)
    rows = generate_rows(generator)
    corpus = {}
    for split, row_count in (("train", train_rows), ("validation", validation_rows), ("test", test_rows)):
        # Whole triples are drawn, so that the next split begins with a new hypothesis.
        drawn = [next(rows) for _ in range(row_count + -row_count % 3)][:row_count]
        generator.shuffle(drawn)
        corpus[split] = drawn
    return corpus


def generate_rows(generator: random.Random) -> Iterator[dict]:
    """Endless distinct rows: every three in a row share a hypothesis and have the three labels."""
    seen: set[tuple[Sentence, Sentence]] = set()
    while True:
        hypothesis = draw_sentence(generator)
        pairs = [(draw_premise(generator, hypothesis, label), hypothesis) for label in range(len(LABEL_NAMES))]
        if seen.isdisjoint(pairs):  # else anew: "no animals move" follows from hardly anything, which runs out
            seen.update(pairs)
            for label, (premise, _) in enumerate(pairs):
                yield {"premise": str(premise), "hypothesis": str(hypothesis), "label": label}


def draw_sentence(generator: random.Random) -> Sentence:
    return Sentence(
        quantifier=generator.choice(QUANTIFIERS),
        adjective=generator.choice((NO_ADJECTIVE, generator.choice(ADJECTIVES))),
        noun=generator.choice(NOUNS),
        is_negated=generator.random() < 0.5,
        verb=generator.choice(VERBS),
    )


def draw_premise(generator: random.Random, hypothesis: Sentence, label: int) -> Sentence:
    """A premise of this label whose words are near the hypothesis's: unrelated words would all be neutral."""
    while True:
        adjective = generator.choice(list_near_words(hypothesis.adjective))
        noun = generator.choice(list_near_words(hypothesis.noun))
        verb = generator.choice(list_near_words(hypothesis.verb))
        # The words first, then a form that fits the label: the other way round nearly all words would be the same.
        for quantifier, is_negated in generator.sample(FORMS, len(FORMS)):
            premise = Sentence(quantifier, adjective, noun, is_negated, verb)
            if premise != hypothesis and label_pair(premise, hypothesis) == label:
                return premise


def shrink_residual_branches(model: BertForSequenceClassification) -> None:
    """A post-norm stack of 12 starts near the identity: otherwise it falls to chance at useful learning rates."""
    scale = (2 * ENCODER_LAYERS) ** -0.5
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.output.dense.weight.mul_(scale)
            layer.output.dense.weight.mul_(scale)


def list_vocabulary() -> list[str]:
    words = {word for quantifier in QUANTIFIERS for word in quantifier.split()}
    return [*SPECIAL_TOKENS, *sorted(words), NEGATION, *ADJECTIVES, *NOUNS, *VERBS]


def label_pair(premise: Sentence, hypothesis: Sentence) -> int:
    """Entailment is inconsistency with the contradictory of the hypothesis, which is a sentence again."""
    if are_inconsistent(premise, hypothesis):
        return CONTRADICTION
    return ENTAILMENT if are_inconsistent(premise, contradict(hypothesis)) else NEUTRAL


@cache
def contradict(sentence: Sentence) -> Sentence:
    opposites = {"all": "not all", "not all": "all", "some": "no", "no": "some"}
    return sentence._replace(quantifier=opposites[sentence.quantifier])


def are_inconsistent(first: Sentence, second: Sentence) -> bool:
    """Each sentence says that a region, subject and verb or subject without verb, is empty or is inhabited.

    Empty against inhabited clash if the inhabited region lies in the empty one; two empty regions clash if together
    they leave no room for one of the subjects, which existential import says is there; two inhabited ones never clash.
    """
    if says_empty(first) and says_empty(second):
        nested = implies_subject(first, second) or implies_subject(second, first)
        return nested and covers_everything(first, second)
    if says_empty(first):
        first, second = second, first
    return says_empty(second) and implies_subject(first, second) and implies_predicate(first, second)


def says_empty(sentence: Sentence) -> bool:
    return sentence.quantifier in ("all", "no")


def is_outside_verb(sentence: Sentence) -> bool:
    """Whether the region lies outside the verb: "all dogs run" empties dogs without running, "no dogs run" with."""
    return sentence.is_negated != (sentence.quantifier in ("all", "not all"))


def implies_subject(first: Sentence, second: Sentence) -> bool:
    return implies(first.noun, second.noun) and second.adjective in (NO_ADJECTIVE, first.adjective)


def implies_predicate(first: Sentence, second: Sentence) -> bool:
    """Whether the first's verb side, the verb or its complement, lies in the second's."""
    match is_outside_verb(first), is_outside_verb(second):
        case False, False:
            return implies(first.verb, second.verb)
        case True, True:
            return implies(second.verb, first.verb)
        case False, True:
            return excludes(first.verb, second.verb)
    return False  # a complement never lies in a verb: the taxonomy is open


def covers_everything(first: Sentence, second: Sentence) -> bool:
    """Whether the two verb sides leave nothing out, so that nobody can be in neither."""
    match is_outside_verb(first), is_outside_verb(second):
        case False, True:
            return implies(second.verb, first.verb)
        case True, False:
            return implies(first.verb, second.verb)
        case True, True:
            return excludes(first.verb, second.verb)
    return False


@cache
def implies(word: str, other: str) -> bool:
    return other in list_implied(word)


@cache
def excludes(word: str, other: str) -> bool:
    """Whether the two words, or hypernyms of them, are sisters."""
    return any(
        one != two and one in HYPERNYMS and HYPERNYMS[one] == HYPERNYMS.get(two)
        for one in list_implied(word)
        for two in list_implied(other)
    )


@cache
def list_implied(word: str) -> tuple[str, ...]:
    """The word and its hypernyms, upwards."""
    return (word, *list_implied(HYPERNYMS[word])) if word in HYPERNYMS else (word,)


@cache
def list_near_words(word: str) -> tuple[str, ...]:
    """Words to draw a premise's word from: what it implies, what implies it, its sisters, and often itself."""
    if word in ADJECTIVES or word == NO_ADJECTIVE:
        related = [*ADJECTIVES, *[NO_ADJECTIVE] * len(ADJECTIVES)]
    else:
        related = [other for other in (*NOUNS, *VERBS) if implies(other, word) or implies(word, other)]
        related += [other for other in HYPERNYMS if HYPERNYMS[other] == HYPERNYMS.get(word) and other != word]
    return (*related, *[word] * (len(related) // 2))
