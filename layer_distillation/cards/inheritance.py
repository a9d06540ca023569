"""What a student has from its teacher, data and origin, for the model card: licence, data sets, language."""

from layer_distillation.cards.metadata import find_hub_dataset, find_origin
from layer_distillation.records.markdown_text import code_span
from layer_distillation.records.run_record import RunRecord


def describe_inheritance(record: RunRecord) -> list[str]:
    """Of the teacher's card, or that there is none; a record of an earlier version has no such entry."""
    card: dict[str, list[str]] = record.teacher.get("card", {})
    dataset = find_hub_dataset(record.task)
    data = f"the data set {code_span(dataset)} of the Hub" if dataset else "data that are not on the Hub"
    if count := record.task.get("unlabelled_rows"):
        data += f", and on {count:,} rows without labels{describe_source(record)}"
    lines = [
        f"Licence: {describe_licence(card, find_origin(record))}",
        f"Data: the student was trained on {data} (task {code_span(record.task['name'])}). "
        + describe_named(
            card, "datasets", "What the teacher was trained on", "The teacher's card names for the teacher"
        ),
        describe_named(card, "base_model", "What the teacher was made from", "The teacher was made from"),
        describe_named(card, "language", "The teacher's language", "Language, by the teacher's card"),
    ]
    return ["\n".join(f"- {line}" for line in lines)]


def describe_source(record: RunRecord) -> str:
    """Of unlabelled rows."""
    sources = {"unlabeled_file": "from a file", "recombined_pairs": "that are its own texts paired anew"}
    return " " + " or ".join(text for name, text in sources.items() if record.arguments.get(name))


def describe_licence(card: dict[str, list[str]], origin: str | None) -> str:
    if origin is not None:
        return f"that of {code_span(origin)}, from whose weights these come; it was not looked up."
    if "license" not in card:
        return (
            "unknown, as no card of the teacher names one. The student's weights come from the teacher's: ask whoever "
            "made it."
        )
    details = [text for name in ("license_name", "license_link") for text in card.get(name, [])]
    return f"{', '.join(map(code_span, [*card['license'], *details]))}, the teacher's, from whose weights these come."


def describe_named(card: dict[str, list[str]], name: str, subject: str, lead: str) -> str:
    if name not in card:
        return f"{subject} is unknown: no card of the teacher names it."
    return f"{lead}: {', '.join(map(code_span, card[name]))}."
