"""The machine-readable head of a model card: base model, data, metrics as a model index, tags, what is inherited.

Entry: `build_card_metadata`.
"""

import math
import re
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from layer_distillation.records.markdown_text import clean_text
from layer_distillation.records.run_record import RunRecord
from layer_distillation.tasks.evaluation_sets import list_metric_names, list_set_names
from layer_distillation.tasks.kinds.table import get_record_kind

# The Hub refuses a whole push for a word it does not know: what does not look like its words is in the text alone.
LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
LANGUAGE = re.compile(r"[a-z]{2,3}|multilingual|code")
# The Hub knows adapter, merge, quantized and finetune. A student's weights are the teacher's, fewer and trained on.
BASE_MODEL_RELATION = "finetune"


def build_card_metadata(record: RunRecord, name: str) -> ModelCardData:
    """Base model: the teacher by its name on the Hub, or of a local one the origin that its card names; of a student
    that came from another checkpoint that one, and then the teacher's card is not where its licence stands."""
    task, teacher, kind = record.task, record.teacher, get_record_kind(record.task)
    card: dict[str, list[str]] = teacher.get("card", {})
    origin = find_origin(record)
    if origin is not None:
        card, base_models = {}, [origin] if is_on_hub(record, origin) else []
    elif teacher["is_local"]:
        base_models = keep_repository_names(card.get("base_model", []))
    else:
        base_models = [teacher["name"]]
    dataset_name = find_hub_dataset(task)
    languages = [language for language in card.get("language", []) if LANGUAGE.fullmatch(language)]
    licences = [licence for licence in card.get("license", []) if LICENCE.fullmatch(licence)]
    named = {key: card[key][0] for key in ("license_name", "license_link") if key in card} if licences else {}
    return ModelCardData(
        base_model=join_single(base_models),
        base_model_relation=BASE_MODEL_RELATION if base_models else None,
        datasets=[dataset_name] if dataset_name else None,
        eval_results=list_results(record, dataset_name) or None,
        language=join_single(languages),
        library_name=kind.library_name,
        license=licences[0] if licences else None,
        metrics=list(task["metric_names"]),
        model_name=clean_text(name),
        pipeline_tag=kind.pipeline_tag,
        tags=[*kind.card_tags, "knowledge-distillation", "layer-pruning"],
        **named,
    )


def list_results(record: RunRecord, dataset_name: str | None) -> list[EvalResult]:
    """The task's metrics on every labelled split; a score that is no number has no place in a model index."""
    task = clean_text(record.task["name"])
    own = {
        "dataset_type": dataset_name or task,
        "dataset_name": task,
        "dataset_config": record.task.get("dataset_config_name"),
    }
    sets = {
        name: {"dataset_type": name, "dataset_name": name}
        for name in list_set_names(record.arguments.get("evaluation_files"))
    }
    return [
        EvalResult(
            task_type=get_record_kind(record.task).pipeline_tag,
            dataset_split=split,
            metric_type=metric,
            metric_value=scores[metric],
            **sets.get(split, own),
        )
        for split, scores in record.metrics.items()
        for metric in list_metric_names(record.task, split)
        if metric in scores and math.isfinite(scores[metric])
    ]


def find_origin(record: RunRecord) -> str | None:
    """The checkpoint that the student's weights came from, where it is not the teacher (no record from before has one):
    its name on the Hub, or the last part of its folder."""
    source = record.student.get("source")
    return source and source["name"]


def is_on_hub(record: RunRecord, origin: str) -> bool:
    location = record.arguments["student_model_name_or_path"] or record.arguments["student_source_model"]
    return location == origin and not Path(location).is_dir() and is_repository_name(origin)


def find_hub_dataset(task: dict[str, Any]) -> str | None:
    """The data set's name on the Hub; None for the user's own files or folder, whose name the Hub refuses in a card."""
    name = task["dataset_name"]
    return None if name is None or Path(name).is_dir() else name


def keep_repository_names(names: list[str]) -> list[str]:
    return [name for name in names if is_repository_name(name)]


def is_repository_name(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def join_single(values: list[str]) -> str | list[str] | None:
    """One value as such, as cards have it; None for none."""
    return values[0] if len(values) == 1 else values or None
