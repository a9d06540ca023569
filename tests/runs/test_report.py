"""The table at the end names teacher and student, and says how to load the student."""

from layer_distillation.records.run_record import RunRecord
from layer_distillation.runs.report import format_layer_map, format_report


def test_the_table_shows_both_models_and_the_loading_code():
    record = RunRecord("c", {}, {}, {}, seed=1, strategy="odd")
    record.task = {"metric_names": ["accuracy"]}
    record.teacher = {"layers": 4, "parameters": 1000, "metrics": {"validation": {"loss": 0.5, "accuracy": 0.75}}}
    record.student = {"layers": [1, 3], "parameters": 600}
    record.metrics = {"validation": {"loss": 0.625, "accuracy": 0.5, "agreement": 0.9, "kl_to_teacher": 0.1}}
    record.speed = {"milliseconds": {"32": {"teacher": 8.0, "student": 4.25}}}
    record.seconds = {"distillation": 12.4}
    text = format_report(record, "runs/x")
    rows = [line.split() for line in text.splitlines()]
    assert ["validation", "accuracy", "0.7500", "0.5000"] in rows
    assert ["parameters", "1,000", "600"] in rows
    assert ["agrees", "with", "the", "teacher", "0.9000"] in rows
    assert ["ms,", "batch", "of", "32", "8.00", "4.25"] in rows
    assert "seconds: distillation 12" in text
    assert text.endswith("AutoModelForSequenceClassification.from_pretrained('runs/x')")


def test_the_layer_map_says_where_from_and_what_is_imitated():
    assert format_layer_map([None, 3], [1, 3]).splitlines() == [
        "student layer 0 <- fresh weights   (imitates teacher layer 1)",
        "student layer 1 <- teacher layer 3   (imitates teacher layer 3)",
    ]
