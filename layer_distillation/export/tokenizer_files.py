"""A tokenizer with fewer tokens that splits every text it still covers as before, and every other text into pieces.

Entry: `rebuild_tokenizer`. It works on the plain data of tokenizer.json. SPLITTERS says by kind of model what has to
stay beside the tokens that are asked for, and what the smaller model is: a further kind is one entry.

Why a covered text keeps its tokens: WordPiece takes the longest piece that fits, BPE the first merge that applies,
Unigram the best of all ways. What is taken of all is still taken where some that were not taken are gone, as long as
the merges on the way to each kept token stay (BPE), and the worst score does, which sets the cost of the unknown.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

Data = dict[str, Any]  # of tokenizer.json or a part of it


@dataclass(frozen=True)
class Splitter:
    """One kind of tokenizer model.

    Attributes:
        close: from the model and wanted tokens to all that have to stay.
        shrink: from the model and the new ids of all tokens that stay to the smaller model.
    """

    close: Callable[[Data, set[str]], set[str]]
    shrink: Callable[[Data, dict[str, int]], Data]


def rebuild_tokenizer(tokenizer: PreTrainedTokenizerBase, used_ids: Iterable[int], folder: Path) -> list[int]:
    """Saves the smaller tokenizer; returns for each of its ids the id of before, in ascending order.

    Args:
        used_ids: those that some text has to keep; special and added tokens, and single characters, stay anyway.

    Raises:
        ValueError: a tokenizer that cannot be trimmed.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    if not tokenizer.is_fast or not path.is_file():
        raise refuse(tokenizer, "it has no tokenizer.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    kind = data["model"].get("type")
    if kind not in SPLITTERS:
        raise refuse(tokenizer, f"its model is {kind}, known are {', '.join(SPLITTERS)}")
    if data["model"].get("continuing_subword_prefix") and kind == "BPE":
        raise refuse(tokenizer, "its BPE marks the pieces inside of words")
    ids = number_tokens(data)
    names = {number: token for token, number in ids.items()}
    added = {entry["content"] for entry in data["added_tokens"]}
    special = {names[number] for number in tokenizer.all_special_ids if number in names}
    wanted = {names[number] for number in used_ids} | added | special
    kept = SPLITTERS[kind].close(data["model"], wanted)
    old_ids = sorted(ids[token] for token in kept)
    new_ids = {names[old]: new for new, old in enumerate(old_ids)}
    data["model"] = SPLITTERS[kind].shrink(data["model"], new_ids)
    renumber(data, new_ids)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=2), encoding="utf-8")
    renumber_config(folder / "tokenizer_config.json", {old: new for new, old in enumerate(old_ids)})
    return old_ids


def refuse(tokenizer: PreTrainedTokenizerBase, reason: str) -> ValueError:
    return ValueError(
        f"the vocabulary of {type(tokenizer).__name__} cannot be trimmed ({reason}): leave --trim_vocabulary out"
    )


def number_tokens(data: Data) -> dict[str, int]:
    """Every token, added ones too, and its id."""
    vocabulary = data["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pairs of piece and score, in the order of the ids
        vocabulary = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    return vocabulary | {entry["content"]: entry["id"] for entry in data["added_tokens"]}


def renumber(data: Data, new_ids: dict[str, int]) -> None:
    """Writes new ids wherever else the file has some; what the last call cut and padded by is no part of it."""
    data["truncation"] = data["padding"] = None
    for entry in data["added_tokens"]:
        entry["id"] = new_ids[entry["content"]]
    data["added_tokens"].sort(key=lambda entry: entry["id"])
    renumber_processor(data["post_processor"], new_ids)


def renumber_processor(processor: Data | None, new_ids: dict[str, int]) -> None:
    if processor is None:
        return
    for inner in processor.get("processors", []):  # a sequence of some
        renumber_processor(inner, new_ids)
    for name in ("sep", "cls"):  # of BertProcessing and RobertaProcessing: the token and its id
        if name in processor:
            processor[name][1] = new_ids[processor[name][0]]
    for entry in processor.get("special_tokens", {}).values():  # of TemplateProcessing
        entry["ids"] = [new_ids[token] for token in entry["tokens"]]


def renumber_config(path: Path, new_of_old: dict[int, int]) -> None:
    """tokenizer_config.json of earlier versions repeats the added tokens by id."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if "added_tokens_decoder" in config:
        decoder = config["added_tokens_decoder"]
        config["added_tokens_decoder"] = {str(new_of_old[int(old)]): entry for old, entry in decoder.items()}
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


# ---- word by word ------------------------------------------------------------------------------------------------


def close_words(model: Data, wanted: set[str]) -> set[str]:
    """A word that is not kept becomes the unknown token, which is the way of this model."""
    return wanted | {model["unk_token"]}


def close_pieces(model: Data, wanted: set[str]) -> set[str]:
    """WordPiece: every single character, at the start of a word and inside."""
    prefix = model["continuing_subword_prefix"]
    return wanted | {model["unk_token"]} | {token for token in model["vocab"] if len(token.removeprefix(prefix)) == 1}


def shrink_vocabulary(model: Data, new_ids: dict[str, int]) -> Data:
    return model | {"vocab": {token: new_ids[token] for token in model["vocab"] if token in new_ids}}


# ---- merge by merge ----------------------------------------------------------------------------------------------


def close_merges(model: Data, wanted: set[str]) -> set[str]:
    """BPE: every character, byte and byte piece, and whatever the merges pass on the way to a token that stays."""
    ranks = {pair: rank for rank, pair in enumerate(read_merges(model))}
    ending = model.get("end_of_word_suffix") or ""
    letters = set(bytes_to_unicode().values())
    kept = set(wanted)
    for token in model["vocab"]:
        plain = token.removesuffix(ending) if ending else token
        if len(plain) == 1 or plain in letters or is_byte(token):
            kept.add(token)
    for token in wanted & model["vocab"].keys():
        kept |= list_steps(token, ranks, ending)
    return {token for token in kept if token in model["vocab"] or token in wanted}


def is_byte(token: str) -> bool:
    """Such as <0x0A>, by which SentencePiece's BPE and Unigram spell what they have no piece for."""
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def read_merges(model: Data) -> list[tuple[str, str]]:
    """Pairs; files of before tokenizers 0.20 hold them with a blank between."""
    return [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]


def list_steps(token: str, ranks: dict[tuple[str, str], int], ending: str) -> set[str]:
    """All pieces that exist while the token is merged from its characters."""
    plain = token.removesuffix(ending) if ending else token
    pieces = list(plain)
    if ending and plain != token:
        pieces[-1] += ending
    seen = set(pieces)
    while len(pieces) > 1:
        pairs = [(ranks.get(pair, len(ranks)), index) for index, pair in enumerate(pairwise(pieces))]
        rank, index = min(pairs)
        if rank == len(ranks):
            break  # a token that no merges lead to, which only `ignore_merges` finds
        pieces[index : index + 2] = [pieces[index] + pieces[index + 1]]
        seen.add(pieces[index])
    return seen


def shrink_merges(model: Data, new_ids: dict[str, int]) -> Data:
    merges = [pair for pair in read_merges(model) if {*pair, "".join(pair)} <= new_ids.keys()]
    return shrink_vocabulary(model, new_ids) | {"merges": [list(pair) for pair in merges]}


# ---- piece by piece ----------------------------------------------------------------------------------------------


def close_scores(model: Data, wanted: set[str]) -> set[str]:
    """Unigram: every single character and byte, the unknown piece, and the worst score, which its cost goes by."""
    pieces = [piece for piece, _ in model["vocab"]]
    worst = min(model["vocab"], key=lambda entry: entry[1])[0]
    single = {piece for piece in pieces if len(piece.removeprefix("\N{LOWER ONE EIGHTH BLOCK}")) <= 1 or is_byte(piece)}
    unknown = set() if model["unk_id"] is None else {pieces[model["unk_id"]]}
    return wanted | single | unknown | {worst}


def shrink_scores(model: Data, new_ids: dict[str, int]) -> Data:
    """Added tokens need no place in the list, but their ids follow it."""
    kept = [entry for entry in model["vocab"] if entry[0] in new_ids]
    unknown = model["unk_id"]
    return model | {"vocab": kept, "unk_id": None if unknown is None else new_ids[model["vocab"][unknown][0]]}


SPLITTERS: dict[str, Splitter] = {
    "WordLevel": Splitter(close_words, shrink_vocabulary),
    "WordPiece": Splitter(close_pieces, shrink_vocabulary),
    "BPE": Splitter(close_merges, shrink_merges),
    "Unigram": Splitter(close_scores, shrink_scores),
}
