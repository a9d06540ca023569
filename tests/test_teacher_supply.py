"""What decides between the store and the live teacher, and that it is said."""

import pytest

from teacher_arguments import TeacherArguments
from teacher_store import StoreSpec
from teacher_supply import explain_live, format_bytes

SPEC = StoreSpec("t", "r", (1, 3), num_rows=1000, num_tokens=20_000, num_labels=3, hidden_size=384)


def explain(tmp_path, **options: object) -> str | None:
    return explain_live(SPEC, TeacherArguments(cache_dir=str(tmp_path / "not" / "there"), **options))


def test_what_fits_is_stored(tmp_path):
    assert explain(tmp_path) is None


def test_the_reasons_for_a_live_teacher_name_their_numbers(tmp_path, monkeypatch):
    assert explain(tmp_path, teacher_outputs="live") == "--teacher_outputs live"
    assert (
        explain(tmp_path, teacher_store_max_gb=0.01) == "a store would take 30.7 MB, over --teacher_store_max_gb 0.01"
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert "and 1 kB are free" in explain(tmp_path)
    (tmp_path / "not" / "there" / "teacher_outputs" / SPEC.name).mkdir(parents=True)
    assert explain(tmp_path) is None  # made when there was room


@pytest.mark.parametrize("limit", [float("nan"), -1.0])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match=r"--teacher_store_max_gb is .*: give 0"):
        TeacherArguments(teacher_store_max_gb=limit)


@pytest.mark.parametrize(("count", "text"), [(12, "12 bytes"), (30_732_000, "30.7 MB"), (9.2e12, "9.2e+03 GB")])
def test_bytes_are_written_for_people(count, text):
    assert format_bytes(count) == text
