"""The folders in the hands of other programs than ours, pairs of texts included: equal answers."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from conftest import make_bert
from export_tools import MISSING, NO_CLIENT
from layer_distillation.export.clients import ask_pytorch, open_onnx, open_openvino
from layer_distillation.export.conversion import convert, make_batch
from layer_distillation.export.formats import FORMATS
from layer_distillation.export.tokenizer_files import rebuild_tokenizer
from layer_distillation.export.vocabulary import trim_model
from made_tokenizers import save_bert_tokenizer

ROWS = [["the cat sat"], ["dogs were running", "the dogs sat on a mat"], ["a cat", "quickly unhappy gardens"], [""]]
CLIENT = Path(__file__).with_name("client.mjs")


@pytest.mark.slow
def test_openvino_answers_as_pytorch_does(exported, tmp_path):
    pytest.importorskip("openvino", reason=MISSING)
    model, tokenizer, path = exported
    FORMATS["openvino"].write(path, tmp_path / "openvino")
    answer, expected = open_openvino(tmp_path / "openvino", 1), ask_pytorch(model, 1)
    for shape, padding in (((1, 5), 0), ((3, 12), 4)):
        batch = make_batch(model, tokenizer, *shape, padding)
        np.testing.assert_allclose(answer(batch), expected(batch), atol=1e-4)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Path:
    """A BERT with its WordPiece tokenizer, and the same with fewer tokens, each with its ONNX files."""
    pytest.importorskip("onnxscript", reason=MISSING)
    root = tmp_path_factory.mktemp("models")
    tokenizer = save_bert_tokenizer(root / "whole")
    model = make_bert(num_layers=2, vocab_size=len(tokenizer), type_vocab_size=2)
    torch.nn.init.normal_(model.bert.embeddings.token_type_embeddings.weight)  # a pair whose types are lost shows
    used = {token for row in ROWS for token in tokenizer(*row)["input_ids"]}
    old_ids = rebuild_tokenizer(tokenizer, used, root / "trimmed")
    for folder, saved in ((root / "whole", model), (root / "trimmed", trim_model(model, old_ids))):
        saved.save_pretrained(folder)
        (folder / "onnx").mkdir()
        convert(saved, AutoTokenizer.from_pretrained(folder), folder / "onnx" / "model.onnx", 20)
        FORMATS["onnx-int8"].write(folder / "onnx" / "model.onnx", folder / "onnx" / "model_quantized.onnx")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole", "trimmed"])
@pytest.mark.parametrize(("dtype", "file"), [("fp32", "model.onnx"), ("q8", "model_quantized.onnx")])
def test_transformers_js_answers_as_python_does(deployed, name, dtype, file):
    if shutil.which("node") is None or not os.environ.get("TRANSFORMERS_JS"):
        pytest.skip(NO_CLIENT)
    command = ["node", str(CLIENT), str(deployed), name, dtype]
    done = subprocess.run(command, input=json.dumps(ROWS), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = np.array(json.loads(done.stdout.splitlines()[-1]))
    tokenizer = AutoTokenizer.from_pretrained(deployed / name)
    answer = open_onnx(deployed / name / "onnx" / file, 1)
    ours = np.concatenate([answer({**tokenizer(*row, return_tensors="np")}) for row in ROWS])
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.slow
def test_the_smaller_student_answers_as_the_whole_one(deployed):
    answers = {}
    for name in ("whole", "trimmed"):
        tokenizer = AutoTokenizer.from_pretrained(deployed / name)
        answer = open_onnx(deployed / name / "onnx" / "model.onnx", 1)
        answers[name] = np.concatenate([answer({**tokenizer(*row, return_tensors="np")}) for row in ROWS])
    np.testing.assert_allclose(answers["trimmed"], answers["whole"], atol=1e-5)
