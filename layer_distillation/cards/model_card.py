"""The model card: what its user needs to know of a student, from the run's record and predictions. Without torch.

Entry: `build_model_card`. What nobody recorded is said to be unknown, or left out; nothing is made up.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from layer_distillation.cards.inheritance import describe_inheritance
from layer_distillation.cards.limits import find_max_length, list_limits
from layer_distillation.cards.metadata import build_card_metadata, find_origin
from layer_distillation.cards.scores import ComparisonRow, Interval, Score
from layer_distillation.comparison.numbers import name_one
from layer_distillation.comparison.runs import TEACHER_TERMS
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.answers import describe_answers, describe_gold
from layer_distillation.records.markdown_text import code_span, escape_markdown, fence_code, format_table
from layer_distillation.records.run_record import RunRecord
from layer_distillation.records.student_names import name_variant
from layer_distillation.tasks.kinds.table import get_record_kind

MOST_SHOWN_LABELS = 30
SCORE_TITLES = {"agreement": "agreement with the teacher", "kl_to_teacher": "KL to the teacher"}
MATCHED_TERMS = ("hidden_weight", "attention_weight", "pkd_weight", "rkd_weight")


def build_model_card(
    record: RunRecord,
    location: str,
    scores: Sequence[Score],
    comparison: ComparisonRow | None = None,
    artifacts: Sequence[str] = (),
) -> ModelCard:
    """The card of the student that is loaded from `location`, a folder or a name on the Hub; `artifacts` are the
    section on its other forms."""
    name = Path(location).name
    sections = [
        f"---\n{build_card_metadata(record, name).to_yaml()}\n---",
        f"# {escape_markdown(name)}",
        describe_student(record),
        *([f"**{escape_markdown(describe_gold(record))}.**"] if record.task.get("without_gold") else []),
        fence_code(write_usage(record, location), "python"),
        "## Scores",
        *describe_scores(record, scores),
        *describe_members(record),
        "## Size and speed",
        *describe_size(record),
        *artifacts,
        *(describe_comparison(comparison) if comparison else []),
        "## Where its layers come from",
        *describe_layers(record),
        "## Training",
        format_table(["setting", "value"], list_settings(record)),
        fence_code(hide_folders(record.command)),
        "## Licence and data",
        *describe_inheritance(record),
        "## Limits",
        "\n".join(f"- {line}" for line in list_limits(record)),
    ]
    return ModelCard("\n\n".join(sections) + "\n")


def name_teacher(teacher: dict[str, Any]) -> str:
    """Of the record's teacher or a member of it. What leaves this machine names none of its folders."""
    return Path(teacher["name"]).name if teacher["is_local"] else teacher["name"]


def name_member(member: dict[str, Any]) -> str:
    """One of several teachers, by the seed of its fine-tuning where that was done here."""
    return name_teacher(member) + ("" if member["seed"] is None else f", seed {member['seed']}")


# ---- what it is --------------------------------------------------------------------------------------------------


def describe_student(record: RunRecord) -> str:
    labels = record.task["label_names"]
    answer = get_record_kind(record.task).number_in_words
    if labels is not None:
        more = f" and {len(labels) - MOST_SHOWN_LABELS} more" if len(labels) > MOST_SHOWN_LABELS else ""
        shown = ", ".join(map(code_span, labels[:MOST_SHOWN_LABELS])) + more
        answer = get_record_kind(record.task).describe_answer(shown)
    teacher, count = code_span(name_teacher(record.teacher)), len(record.student["layers"])
    began = f"cut from the {record.teacher['layers']} layers of {teacher}"
    if record.teacher.get("kind"):
        began = f"cut from {code_span(find_origin(record) or name_teacher(record.teacher))}"
    elif (origin := find_origin(record)) is not None:
        began = f"which began as {code_span(origin)} and imitates the {record.teacher['layers']} layers of {teacher}"
    strategy = code_span(
        show_strategy(record.strategy) + name_variant(record.arguments, record.student.get("width_init"))
    )
    return (
        f"A student of {count} layers, {began} (strategy {strategy}) and trained by knowledge "
        f"distillation on {code_span(record.task['name'])}. It answers {answer}."
        + (f" Its teacher: {escape_markdown(describe_answers(record.teacher))}." if record.teacher.get("kind") else "")
    )


def write_usage(record: RunRecord, location: str) -> str:
    """The lines that ask the student."""
    # A pipeline cuts no long text by itself.
    options = f"truncation=True, max_length={find_max_length(record)}"
    return get_record_kind(record.task).write_call(record, location, options)


def describe_scores(record: RunRecord, scores: Sequence[Score]) -> list[str]:
    """The table, and what its intervals mean."""
    rows = [
        [
            score.split,
            f"{score.rows:,}",
            SCORE_TITLES.get(score.name, score.name),
            format_score(score.student, score.student_interval),
            format_score(score.teacher, score.teacher_interval),
        ]
        for score in scores
    ]
    selecting = next(iter(record.metrics))
    units = " or ".join(sorted({score.units for score in scores}))
    return [
        format_table(["split", "rows", "score", "student", "teacher"], rows),
        f"In brackets 95 % intervals: of shares of rows Wilson's, else the bootstrap's over {units}; they hold what "
        f"other {units} would change, not what another seed would. {escape_markdown(selecting)} also chose the epoch.",
    ]


def format_score(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def describe_members(record: RunRecord) -> list[str]:
    """Several teachers, each by itself; nothing of a single one."""
    members = record.teacher.get("members", [])
    if not members:
        return []
    split, metric = next(iter(record.metrics)), record.task["metric_names"][0]
    mean = "output" if record.task["label_names"] is None else "distribution"
    scores = [format_score(member["metrics"].get(split, {}).get(metric), None) for member in members]
    return [
        f"The teacher is the mean {mean} of {len(members)} models; layers, size and speed below are the first's.",
        format_table(["teacher", f"{split} {metric}"], list(zip(map(name_member, members), scores, strict=True))),
    ]


def describe_size(record: RunRecord) -> list[str]:
    """Sizes and, where the run measured it, seconds; how they were measured below."""
    teacher, student, speed = record.teacher, record.student, record.speed
    rows = [
        ["layers", f"{len(student['layers'])}", f"{teacher['layers'] or '-'}", ""],
        ["parameters", f"{student['parameters']:,}", format_count(teacher["parameters"]), ""],
    ]
    if not speed:
        return [format_table(["", "student", "teacher", ""], rows), "How fast it is was not measured."]
    sizes = {name: f"{count / 1e6:,.2f}" for name, count in speed["weight_bytes"].items()}
    rows.append(["weights in float32, MB", sizes["student"], sizes.get("teacher", "-"), ""])
    for batch_size, milliseconds in speed["milliseconds"].items():
        own, others = milliseconds["student"], milliseconds.get("teacher")
        known = ["-", ""] if others is None else [f"{others:.2f}", f"{others / own:.2f} times as fast"]
        rows.append([f"milliseconds, batch of {batch_size}", f"{own:.2f}", *known])
    passes = " and ".join(map(str, speed["rounds"].values()))
    return [
        format_table(["", "student", "teacher", ""], rows),
        f"Milliseconds per forward pass on {escape_markdown(record.hardware['device'])} "
        f"(threads: {speed['threads']}), {speed['tokens']} random tokens per row (as many as the "
        "training rows have on average, at most 128), float32; the "
        f"fastest of {passes} passes of each, by turns, at the end of the run.{describe_passes(teacher)}",
    ]


def format_count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def describe_passes(teacher: dict[str, Any]) -> str:
    """A zero-shot teacher reads a text once for each class."""
    passes = teacher.get("passes_per_row", 1)
    return "" if passes == 1 else f" The teacher takes {passes} such passes for a text, one for each class."


def describe_comparison(row: ComparisonRow) -> list[str]:
    """The strategy among those it was compared with: a mean over seeds, of which this student is one."""
    spread = "" if row.standard_deviation is None else f" ± {row.standard_deviation:.4f}"
    difference = "-" if row.difference is None else format_score(row.difference, row.interval)
    p_value = "-" if row.p_value is None else f"{row.p_value:.4f}"
    table = format_table(
        ["strategy", f"{row.split} {row.metric_name}", "seeds", "behind the best", "corrected p"],
        [
            [
                show_strategy(row.arm),
                f"{row.mean:.4f}{spread}",
                f"{len(row.seeds)} ({', '.join(row.seeds)})",
                difference,
                p_value,
            ]
        ],
    )
    return [
        "## Among the strategies compared",
        table,
        "\n".join(f"- {escape_markdown(line)}" for line in row.verdict),
        f"Mean ± standard deviation over seeds on {row.rows:,} {row.units}; the best is "
        f"{escape_markdown(show_strategy(row.best))}. "
        f"Differences are paired by seed and {name_one(row.units)}, with 95 % intervals, their p-values "
        "corrected after Holm.",
    ]


def describe_layers(record: RunRecord) -> list[str]:
    """One row per student layer, and what it imitated where a term of the loss compares layers."""
    matching = record.student["layer_matching"]
    is_matched = any(record.arguments[name] > 0 for name in MATCHED_TERMS)
    origin = find_origin(record)
    columns = {"student layer": [str(layer) for layer in range(len(matching))]}
    if record.arguments["student_model_name_or_path"] is None:
        starts = ["fresh weights" if source is None else str(source) for source in record.student["layers"]]
        columns[f"starts from layer of {origin or 'the teacher'}"] = starts
    if is_matched:
        columns["imitates teacher layer"] = list(map(str, matching))
    return [
        "Layers are numbered from the input, from 0. Embeddings and norms began as "
        f"{code_span(origin) if origin else 'the teacher'} had them.",
        format_table(list(columns), list(zip(*columns.values(), strict=True))),
    ]


# ---- how it came about -------------------------------------------------------------------------------------------


def list_settings(record: RunRecord) -> list[list[str]]:
    arguments, processes = record.arguments, record.hardware["processes"]
    terms = [f"{arguments[name]:g} {name.removesuffix('_weight')}" for name in ("ce_weight", *TEACHER_TERMS)]
    weights = [term for term in terms if not term.startswith("0 ")]
    kept = "the last" if record.best_epoch is None else f"the one after epoch {record.best_epoch:g}"
    precision = next((name for name in ("bf16", "fp16") if arguments[name]), "float32")
    rate = record.student.get("learning_rate") or arguments["learning_rate"]  # older records have the second alone
    settings = {
        "training rows": f"{record.task['rows']['train']:,}",
        "unlabelled training rows": describe_unlabelled(record),
        "epochs": f"{arguments['num_train_epochs']:g}; kept is {kept}",
        "rows per step": f"{record.count_rows_per_step()}",
        "optimizer": f"{arguments['optim']}, weight decay {arguments['weight_decay']:g}",
        "learning rate": f"{rate:.3g}, {arguments['lr_scheduler_type']}, warm-up {arguments['warmup_steps']:g}",
        "tuned on validation rows": arguments.get("tuned_flags"),
        "loss": f"{' + '.join(weights)}, temperature {arguments['temperature']:g}",
        "class weights of ce": arguments.get("class_weights"),
        "schedules": arguments["schedules"],
        "tokens per row": f"at most {find_max_length(record)}",
        "precision of training": precision,
        "weights saved in": arguments["save_dtype"],
        "seed": str(record.seed),
        "machine": f"{record.hardware['device']}, {record.hardware['cores']} cores, processes: {processes}",
        "seconds of training": f"{record.seconds.get('distillation', 0):.0f}",
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    return [[name, value] for name, value in settings.items() if value]


def describe_unlabelled(record: RunRecord) -> str:
    """Empty where none took part; no record from before says."""
    count = record.task.get("unlabelled_rows")
    return f"{count:,}, in every term but ce" if count else ""


def hide_folders(command: str) -> str:
    """The command with the last part in place of every path of this machine."""
    words = []
    for word in shlex.split(command):
        flag, is_pair, value = word.rpartition("=")
        is_list = "/" in value and not is_there(value)  # as of --additional_teachers
        parts = value.split(",") if is_list else [value]
        words.append(f"{flag}{is_pair}{','.join(map(hide_folder, parts))}")
    return shlex.join(words)


def hide_folder(value: str) -> str:
    is_local = "/" in value and (value.strip().startswith(("/", ".", "~")) or is_there(value))
    return Path(value).name if is_local else value


def is_there(value: str) -> bool:
    try:
        return Path(value).exists()
    except OSError:  # too long for a path
        return False
