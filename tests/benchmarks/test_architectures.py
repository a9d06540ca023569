"""docs/ARCHITECTURES.md says of every architecture what comes of it now."""

from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSES

from benchmarks import architectures
from benchmarks.architectures import REFUSED, WrongError, format_page, judge

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ARCHITECTURES.md"


def list_lines() -> list[str]:
    return [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]


def check_row(model_type: str) -> None:
    row = judge(model_type)
    assert format_page([row]).splitlines()[-1] in list_lines()


def test_the_page_has_a_row_for_every_class_with_a_head_for_sequence_classification():
    assert [line.split(" | ")[0].removeprefix("| ") for line in list_lines()] == sorted(CLASSES)


@pytest.mark.parametrize("model_type", ["bert", "mistral", "canine"])
def test_a_row_is_what_comes_of_its_architecture(model_type):
    check_row(model_type)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(CLASSES))
def test_every_row_is_what_comes_of_its_architecture(model_type):
    check_row(model_type)


def test_an_architecture_that_is_accepted_and_not_right_fails(monkeypatch):
    monkeypatch.setattr(architectures, "FINAL_NORM_MODEL_TYPES", frozenset())
    with pytest.raises(WrongError, match="mistral is accepted, and its final norm: True"):
        judge("mistral")
    monkeypatch.undo()
    monkeypatch.setattr(architectures, "place_head", lambda config: "first")
    with pytest.raises(WrongError, match="mistral is accepted, and its head reads last where first is compared"):
        judge("mistral")


def test_a_refused_architecture_is_refused_by_its_config_or_its_shape_alone():
    refused = [line for line in list_lines() if f"| {REFUSED} |" in line]
    assert len(refused) > 20
    for line in refused:
        assert "differ)" not in line  # that needs a student to be built
