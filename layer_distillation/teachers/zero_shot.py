"""A teacher that was never trained on the task: a model of natural language inference is told the classes by name.

Every text stands beside one sentence for each class, such as `This example is sports.`, and the model's logit of
entailment answers for that class: their softmax over the classes is what transformers' zero-shot pipeline calls scores
(Yin et al. 2019, arXiv:1909.00161, section 5; there each class by itself).

Entry: `load_reader`.
"""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    BatchEncoding,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from layer_distillation.outputs.store import TeacherStore
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.model_checks import (
    check_tensors,
    check_vocabulary,
    explain_errors,
    one_line_errors,
    quiet_loading,
)
from layer_distillation.tasks.tokenizing import TOKEN_TYPES, list_limits
from layer_distillation.teachers.answers import Reader
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.label_matching import list_labels
from layer_distillation.teachers.loading import fingerprint_model

logger = logging.getLogger(__name__)

FLAG = "--zero_shot_labels"


def find_entailment(config: PreTrainedConfig, location: str) -> int:
    """The output that stands for entailment, as the pipeline finds it: conventions differ (MNLI's 0, many models' 2).

    Raises:
        ValueError: no label is called so; the pipeline would take the last.
    """
    labels = list_labels(config)
    found = [index for index, name in enumerate(labels) if name.lower().startswith("entail")]
    if len(found) != 1:
        raise ValueError(
            f"{FLAG} needs a model of natural language inference, one of whose labels is called entailment, and "
            f"{location} has {labels}: give another model, or name the label in its config.json (id2label, label2id)"
        )
    return found[0]


def load_model(location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """In float32, whole, its head too. Raises ValueError for any other."""
    with quiet_loading(), one_line_errors(location):
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            location,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            revision=arguments.teacher_revision,
            trust_remote_code=arguments.trust_remote_code,
        )
    check_tensors(model, loading, location)
    if loading["missing_keys"]:
        raise ValueError(f"{FLAG}: the head of {location} is not trained: give a model of natural language inference")
    check_vocabulary(model, tokenizer, location)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.float().eval()


def load_reader(
    location: str,
    arguments: TeacherArguments,
    tokenizer: PreTrainedTokenizerBase,
    texts: TaskData,
    names: Sequence[str],
    template: str,
    max_length: int,
) -> Reader:
    """The model and its rows, one for each text and class, in this order.

    Args:
        names: the classes, in the order of the logits.
        max_length: tokens at which a text is cut, as the student's; the sentence comes on top.

    Raises:
        ValueError: the model is none of this kind, or there are two texts to a row.
    """
    model = load_model(location, arguments, tokenizer)
    entailment = find_entailment(model.config, location)
    if len(texts.text_columns) > 1:
        raise ValueError(
            f"{FLAG} holds a sentence against one text, and a row has {', '.join(texts.text_columns)}: name one by "
            "--text_columns"
        )
    hypotheses = [template.replace("{}", name) for name in names]
    length = fit_pairs(max_length, tokenizer, model.config, hypotheses)
    splits = dict(texts.list_splits()) | ({} if texts.unlabelled is None else {"unlabelled": texts.unlabelled})
    common = texts.text_columns[0], hypotheses, tokenizer, length, model.config.to_dict().get("type_vocab_size") != 1
    rows = {name: pair_rows(split, *common) for name, split in splits.items()}
    fingerprint = fingerprint_model(model)

    def take(store: TeacherStore, split: str) -> np.ndarray:
        return store.logits[:, entailment].reshape(-1, len(names))

    return Reader(model, tokenizer, fingerprint, rows, take)


def fit_pairs(
    max_length: int, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, hypotheses: Sequence[str]
) -> int:
    """Tokens of a pair: a text of `max_length` beside the longest sentence, or what tokenizer and model take."""
    longest = max(len(ids) for ids in tokenizer(list(hypotheses), add_special_tokens=True)["input_ids"])
    wanted, limit = max_length + longest, min(list_limits(tokenizer, config).values())
    if longest >= limit:
        raise ValueError(
            f"the longest sentence of --hypothesis_template has {longest} tokens, and the teacher takes {limit}: write "
            "a shorter one, or shorter names"
        )
    if wanted > limit:
        logger.info("the zero-shot teacher takes %d tokens, sentence included: longer texts are cut there", limit)
    return min(wanted, limit)


def pair_rows(
    split: Dataset,
    column: str,
    hypotheses: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    has_token_types: bool,
) -> Dataset:
    """Row by row all sentences; a text that is too long is cut, a sentence never."""

    def pair(rows: dict[str, list]) -> BatchEncoding:
        firsts = [text for text in rows[column] for _ in hypotheses]
        seconds = list(hypotheses) * len(rows[column])
        return tokenizer(firsts, seconds, truncation="only_first", max_length=max_length)

    problem, remedy = "the tokenizer of the zero-shot teacher fails on the texts", "save it with the model"
    with explain_errors(tokenizer.name_or_path, problem, remedy):
        rows = split.map(pair, batched=True, remove_columns=split.column_names, desc="Texts beside sentences")
    return rows.remove_columns(TOKEN_TYPES) if TOKEN_TYPES in rows.column_names and not has_token_types else rows
