"""What a student was not measured on, and what of its texts was cut or unknown.

Entry: `list_limits`.
"""

from layer_distillation.records.markdown_text import code_span, escape_markdown
from layer_distillation.records.run_record import RunRecord
from layer_distillation.tasks.kinds.embedding import EMBEDDING
from layer_distillation.tasks.kinds.table import get_record_kind


def find_max_length(record: RunRecord) -> int:
    """Tokens, at most; records of before have no other length than the one asked for."""
    return record.task.get("max_length") or record.arguments["max_length"]


def describe_cuts(record: RunRecord) -> str:
    """Such as `: of train 12 of 100 rows and 3.4 % of the tokens`, over the splits of which something was cut."""
    cuts = [
        f"of {escape_markdown(name)} {facts['cut_rows']:,} of {facts['rows']:,} rows and "
        f"{100 * facts['cut_token_share']:.1f} % of the tokens"
        for name, facts in record.task.get("texts", {}).items()
        if facts["cut_rows"]
    ]
    return f": {', '.join(cuts)}" if cuts else ""


def describe_length(record: RunRecord) -> str:
    length, cuts = find_max_length(record), describe_cuts(record)
    if get_record_kind(record.task) is not EMBEDDING:
        return f"Texts are cut at {length} tokens, as in training{cuts}."
    return (  # the folder has its teacher's length, which may be more
        f"Texts were cut at {length} tokens in training{cuts}. `SentenceTransformer` cuts them at "
        "its `max_seq_length`, which is the teacher's."
    )


def list_limits(record: RunRecord) -> list[str]:
    limits = [
        "Trained and scored on one task: nothing was measured on other data, and it inherits the teacher's biases.",
        describe_length(record),
        f"One run, seed {record.seed}: a difference of one or two points from another run is within what a seed "
        "changes.",
    ]
    if unknown := record.task.get("texts", {}).get("train", {}).get("unknown_token_share", 0):
        limits.append(f"{100 * unknown:.1f} % of the tokens of the training texts are unknown to its tokenizer.")
    if absent := record.task.get("labels_without_rows"):
        limits.append(f"No training row had the label {', '.join(map(code_span, absent))}: it is the teacher's alone.")
    if record.task.get("without_gold"):
        limits.append("It was trained on the teacher's answers alone, its errors with them: no gold label was learned.")
    if not record.teacher["is_trained"]:
        limits.append("The teacher's head was untrained: what was imitated is noise, as an experiment.")
    return limits
