"""What of a run's record is compared, and has to be there as what it is taken for.

Entry: `check_entries`.
"""

from layer_distillation.records.run_record import RunRecord

TEACHER_TERMS = (
    *("kl_weight", "hidden_weight", "attention_weight", "logit_cosine_weight"),
    *("pkd_weight", "embedding_weight", "relation_weight", "rkd_weight", "margin_weight", "similarity_weight"),
)
NEEDED_ENTRIES = {
    "task": ("name", "label_names", "metric_names", "rows", "fingerprint"),
    "teacher": ("name", "is_local", "fingerprint", "layers", "parameters", "metrics"),
    "student": ("layers", "parameters"),
    "arguments": (
        *("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
        *TEACHER_TERMS,
    ),
}


def check_entries(record: RunRecord) -> None:
    """Raises ValueError where the record lacks what is compared, or has something else in its place."""
    for part, names in NEEDED_ENTRIES.items():
        entries = vars(record)[part]
        missing = [name for name in names if not isinstance(entries, dict) or name not in entries]
        if missing:
            raise ValueError(f"its record lacks {part}.{missing[0]}: run it again with this version")
    kinds = {
        "seed": (record.seed, int),
        "strategy": (record.strategy, str),
        "history": (record.history, list),
        "metrics": (record.metrics, dict),
        "best_epoch": (record.best_epoch, int | float | None),
        "task.rows": (record.task["rows"], dict),
        "task.metric_names": (record.task["metric_names"], list),
        "task.label_names": (record.task["label_names"], list | None),
        "teacher.metrics": (record.teacher["metrics"], dict),
        "student.layers": (record.student["layers"], list),
        "versions": (record.versions, dict),
        "hardware": (record.hardware, dict),
        "arguments.schedules": (record.arguments["schedules"], str),
        **{f"arguments.{name}": (record.arguments[name], int | float) for name in NEEDED_ENTRIES["arguments"]},
    }
    wrong = next((name for name, (value, kind) in kinds.items() if not isinstance(value, kind)), None)
    if wrong:
        raise ValueError(f"its record has {kinds[wrong][0]!r} as {wrong}: run it again with this version")
    if not all(isinstance(entry, dict) and "epoch" in entry for entry in record.history):
        raise ValueError("its record's history holds something else than epochs: run it again with this version")
