"""Another checkpoint or an existing student with damaged weights is refused: nothing of an encoder is made up."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import make_bert
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.preparation import open_record, prepare_run
from tiny_project import make_project, write_tokenizer

QUERY = "encoder.layer.1.attention.self.query.weight"
EMBEDDINGS = "embeddings.word_embeddings.weight"


def write_damaged(folder: Path, name: str, number: float | None, has_head: bool) -> Path:
    """A checkpoint without one tensor or, with a number, with that in it."""
    model = make_bert(seed=7)
    (model if has_head else model.bert).save_pretrained(folder)
    write_tokenizer(folder)
    tensors = load_file(folder / "model.safetensors")
    key = f"bert.{name}" if has_head else name
    if number is None:
        del tensors[key]
    else:
        tensors[key] = torch.full_like(tensors[key], number)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("flag", ["student_source_model", "student_model_name_or_path"])
@pytest.mark.parametrize("has_head", [True, False])
@pytest.mark.parametrize(
    ("name", "number", "message"),
    [(QUERY, None, "lack "), (EMBEDDINGS, None, "lack "), (QUERY, float("nan"), "numbers that are not finite")],
)
def test_damaged_weights_are_refused(tmp_path, flag, has_head, name, number, message):
    folder = write_damaged(tmp_path / "other", name, number, has_head)
    arguments = parse_command_line([*make_project(tmp_path / "project"), f"--{flag}={folder}"])
    record = open_record(Path(arguments.training.output_dir), arguments)
    with pytest.raises(ValueError, match=rf"weights of .*other' (hold|lack).*{name}.*") as refusal:
        prepare_run(arguments, record)
    assert message in str(refusal.value)
