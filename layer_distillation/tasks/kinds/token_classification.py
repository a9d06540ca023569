"""A tag for every word: named entities and the like.

Columns are those of run_ner: lists of words, and of as many tags, by name or by id. The first piece of each word has
its tag, every other token -100; `item_mask` is 1 at these pieces, also of a row without tags. A row longer than
`--max_length` is cut, and how many words fell off is said: metrics do not know them.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.columns import check_column, parse_cell, shorten
from layer_distillation.tasks.gold_labels import find_gold_column, name_labels, read_gold
from layer_distillation.tasks.kinds import tag_scores
from layer_distillation.tasks.kinds.entry import CLASSES, LOST_WORDS, LabelNames, ReadTask, TaskKind
from layer_distillation.tasks.kinds.texts import check_names
from layer_distillation.tasks.kinds.word_pieces import find_first_pieces, separate_words
from layer_distillation.tasks.labels import IGNORED_LABEL

if TYPE_CHECKING:
    from transformers import BatchEncoding, DataCollatorWithPadding, PreTrainedTokenizerBase

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.data import TaskData
    from layer_distillation.tasks.files import RawSplit

WORD_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("ner_tags", "tags", "labels", "label", "ner", "pos_tags")
ITEM_MASK = "item_mask"
LOOKED_AT_CELLS = 1000


# ---- data --------------------------------------------------------------------------------------------------------


def recognise(split: "RawSplit", arguments: DataArguments) -> str | None:
    for name in [arguments.text_columns] if arguments.text_columns else WORD_COLUMNS:
        if holds_lists(split.columns.get(name, [])):
            return f"{name!r} holds lists of words"
    return None


def holds_lists(cells: Sequence[Any]) -> bool:
    looked_at = cells[:LOOKED_AT_CELLS]
    return bool(looked_at) and all(isinstance(parse_cell(cell), list) for cell in looked_at)


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    word_column = find_column(splits["train"], arguments.text_columns, WORD_COLUMNS, "--text_columns")
    splits, tag_column = find_tag_column(dict(splits), arguments, word_column, bool(teacher_labels))
    words = {name: read_texts(split, (word_column,))[word_column] for name, split in splits.items()}
    check_words(splits, words)

    def read_split(name: str, may_lack: bool) -> list[list[str] | None]:
        return read_tags(splits[name], tag_column, words[name], may_lack)

    tags, gold = read_gold(splits, read_split, teacher_labels)
    check_tagged(gold, tags)
    label_names = name_labels(gold, tag_column, tags, teacher_labels, "tags")
    index_of = {name: index for index, name in enumerate(label_names)}
    columns = {
        name: {
            word_column: words[name],
            "labels": [
                [IGNORED_LABEL] * len(row_words) if row is None else [index_of[tag] for tag in row]
                for row, row_words in zip(tags[name], words[name], strict=True)
            ],
        }
        for name in splits
    }
    return ReadTask((word_column,), label_names, columns, {word_column: ["string"], "labels": ["int64"]})


def find_tag_column(
    splits: dict[str, "RawSplit"], arguments: DataArguments, word_column: str, has_teacher: bool
) -> tuple[dict[str, "RawSplit"], str | None]:
    """As `find_gold_column`, which also says what becomes of the splits; without a teacher tags are needed."""
    known = [name for name in TAG_COLUMNS if name != word_column]
    find = partial(find_column, known=known, flag="--label_column")
    if not has_teacher:
        return splits, find(splits["train"], arguments.label_column)

    def holds_no_other_list(split: "RawSplit") -> bool:
        return not any(holds_lists(cells) for name, cells in split.columns.items() if name != word_column)

    return find_gold_column(splits, arguments.label_column, True, holds_no_other_list, known, find)


def find_column(split: "RawSplit", requested: str | None, known: Sequence[str], flag: str) -> str:
    if requested is not None:
        return check_column(split, requested, flag)
    found = [name for name in known if name in split.columns]
    if not found:
        raise ValueError(
            f"{split.origin} has none of the columns {', '.join(known)} among {list(split.columns)}: name it by {flag}."
        )
    return found[0]


def read_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> dict[str, list[list[str]]]:
    check_names(text_columns)
    return {column: read_words(split, check_column(split, column, "--text_columns")) for column in text_columns}


def read_words(split: "RawSplit", column: str) -> list[list[str]]:
    rows = []
    for number, cell in enumerate(split.columns[column], start=1):
        words = parse_cell(cell)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(
                f"{split.origin}, data row {number} has {shorten(cell)} in {column!r}: a list of words is needed, such "
                'as ["a", "word"]; name its column by --text_columns.'
            )
        rows.append(words)
    return rows


def read_tags(split: "RawSplit", column: str | None, words: list[list[str]], may_lack: bool) -> list[list[str] | None]:
    """The tags of every row by name; None for a row that has none."""
    if may_lack and column not in split.columns:
        return [None] * len(words)
    names = split.element_names.get(column)
    cells = split.columns[check_column(split, column, "--label_column")]
    origins = (f"{split.origin}, data row {number}" for number in range(1, len(cells) + 1))
    return [read_row(*row, column, names) for row in zip(cells, words, origins, strict=True)]


def read_row(cell: Any, words: list[str], origin: str, column: str, names: list[str] | None) -> list[str] | None:
    tags = parse_cell(cell)
    if tags is None or (isinstance(tags, str) and not tags.strip()):
        return None
    if isinstance(tags, list) and tags and all(tag in (None, IGNORED_LABEL) for tag in tags):
        return None
    if not isinstance(tags, list) or not all(map(is_tag, tags)):
        raise ValueError(
            f"{origin} has {shorten(cell)} in {column!r}: give a list with a tag, name or id from 0 on, per word; only "
            f"whole rows may have none (null, or {IGNORED_LABEL} throughout)."
        )
    if len(tags) != len(words):
        raise ValueError(f"{origin} has {len(words)} words and {len(tags)} tags in {column!r}: give one tag per word.")
    if names is None:
        return [str(tag) for tag in tags]
    if wrong := [tag for tag in tags if tag not in range(len(names))]:
        raise ValueError(f"{origin} has the tag {wrong[0]!r}, and the data name {len(names)}: count them from 0.")
    return [names[tag] for tag in tags]


def is_tag(tag: Any) -> bool:
    return bool(tag.strip()) if isinstance(tag, str) else type(tag) is int and tag >= 0


def check_words(splits: Mapping[str, "RawSplit"], words: Mapping[str, list[list[str]]]) -> None:
    for name, rows in words.items():
        if name != "test" and not any(rows):
            raise ValueError(f"{splits[name].origin} has no row with a word: give texts with words.")


def check_tagged(splits: Mapping[str, "RawSplit"], tags: Mapping[str, list]) -> None:
    """Raises ValueError where rows lack tags that have to have some: of the training rows one, of validation all."""
    for name, split in splits.items():
        without = [number for number, row in enumerate(tags[name], start=1) if row is None]
        if name == "train" and len(without) == len(tags[name]):
            raise ValueError(f"{split.origin} has no row with tags: fill them in, or change --label_column.")
        if name not in ("train", "test") and without:
            raise ValueError(
                f"{split.origin}: {len(without)} of {len(tags[name])} rows have no tags, the first is data row "
                f"{without[0]}: only training and test rows may lack them; drop them or tag them."
            )


def tokenize(
    rows: dict[str, list], data: "TaskData", tokenizer: "PreTrainedTokenizerBase", max_length: int | None
) -> dict[str, list]:
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not say which word a piece is of: give a fast tokenizer")
    words = rows[data.text_columns[0]]
    encoding, firsts = cut_words(words, tokenizer, max_length)
    tags = rows.get("labels", [None] * len(words))
    encoding[ITEM_MASK] = [[int(word is not None) for word in row] for row in firsts]
    encoding["labels"] = [
        [IGNORED_LABEL if word is None or own is None else own[word] for word in row]
        for row, own in zip(firsts, tags, strict=True)
    ]
    encoding[LOST_WORDS] = [
        len(row_words) - sum(word is not None for word in row) for row, row_words in zip(firsts, words, strict=True)
    ]
    return encoding


def cut_words(
    words: list[list[str]], tokenizer: "PreTrainedTokenizerBase", max_length: int | None
) -> tuple["BatchEncoding", list[list[int | None]]]:
    """The tokenizer's columns, and of every row the words at their first pieces."""
    encoding = tokenizer(words, is_split_into_words=True, truncation=max_length is not None, max_length=max_length)
    return encoding, [find_first_pieces(encoding.word_ids(row)) for row in range(len(words))]


def number_words(
    rows: dict[str, list], data: "TaskData", tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> list[list[int]]:
    _, firsts = cut_words(rows[data.text_columns[0]], tokenizer, max_length)
    return [[word for word in row if word is not None] for row in firsts]


def collate(tokenizer: "PreTrainedTokenizerBase") -> "DataCollatorWithPadding":
    from layer_distillation.tasks.kinds.collating import ItemCollator  # loads torch, which a comparison does without

    return ItemCollator(tokenizer)


def is_missing(labels: Sequence[int]) -> bool:
    """A row without words misses nothing."""
    return bool(labels) and all(label == IGNORED_LABEL for label in labels)


def make_unlabelled(columns: Mapping[str, list], label_names: LabelNames) -> list[list[int]]:
    return [[IGNORED_LABEL] * len(words) for words in next(iter(columns.values()))]


def find_present(labels: Sequence[Sequence[int]]) -> set[int]:
    return set().union(*map(set, labels)) - {IGNORED_LABEL}


def move_label(labels: Sequence[int], places: Mapping[int, int], num_classes: int) -> list[int]:
    return [label if label == IGNORED_LABEL else places[label] for label in labels]


def take_items(values: Any, is_item: Any) -> Any:
    return values[is_item]


# ---- outputs -----------------------------------------------------------------------------------------------------


def get_outputs(label_names: LabelNames) -> str:
    return CLASSES


def get_problem_type(label_names: LabelNames) -> None:
    return None  # a head for tokens has no other


# ---- words -------------------------------------------------------------------------------------------------------


def describe_answer(labels: str) -> str:
    return f"one tag to a word: {labels}"


def write_call(record: "RunRecord", location: str, options: str) -> str:
    """By words, as it is scored: a pipeline answers for parts of words that have punctuation in them."""
    return (
        "import torch\n"
        "from transformers import AutoModelForTokenClassification, AutoTokenizer\n"
        f"folder = {json.dumps(location, ensure_ascii=False)}\n"
        "model = AutoModelForTokenClassification.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        'words = ["the", "words", "of", "a", "text"]\n'
        f'inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt", {options})\n'
        "with torch.no_grad():\n"
        "    tags = model(**inputs).logits[0].argmax(-1).tolist()\n"
        "pieces = inputs.word_ids()\n"
        "print([(word, model.config.id2label[tags[pieces.index(i)]]) for i, word in enumerate(words) if i in pieces])"
    )


TOKEN_CLASSIFICATION = TaskKind(
    name="token-classification",
    auto_class="AutoModelForTokenClassification",
    head_suffix="ForTokenClassification",
    pipeline_tag="token-classification",
    unit="sentences",
    recognise=recognise,
    read=read,
    read_texts=read_texts,
    tokenize=tokenize,
    make_collator=collate,
    is_missing=is_missing,
    make_unlabelled=make_unlabelled,
    find_present=find_present,
    move_label=move_label,
    get_outputs=get_outputs,
    get_problem_type=get_problem_type,
    list_default_metrics=tag_scores.list_default_metrics,
    check_metric=tag_scores.check_metric,
    score=tag_scores.score,
    read_answers=tag_scores.read_answers,
    list_scorers=tag_scores.list_scorers,
    list_shown_beside=tag_scores.list_default_metrics,
    list_constants=tag_scores.list_constants,
    compare_answers=tag_scores.compare_answers,
    mark_right=tag_scores.mark_right,
    count_products=tag_scores.count_products,
    describe_answer=describe_answer,
    write_call=write_call,
    fit_tokenizer=separate_words,
    number_items=number_words,
    take_items=take_items,
    take_labels=take_items,
    item_column=ITEM_MASK,
    has_label_lists=True,
    is_per_token=True,
)
