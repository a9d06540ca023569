"""Sentence encoders as ONNX and in 8 bits: pooled inside the graph, scored as the run scored them, read by others."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

import run_distillation
from export_tools import MISSING, NO_CLIENT, export, refuse
from layer_distillation.embedding.encoding import SentenceEncoder, load_encoder
from layer_distillation.embedding.modules import SentenceModules
from layer_distillation.embedding.pooled_model import save_pooled
from layer_distillation.export import teacher_cache
from layer_distillation.export.clients import open_onnx, open_pytorch
from layer_distillation.export.conversion import convert
from layer_distillation.export.formats import FORMATS
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.run_record import read_run_record
from made_tokenizers import save_bert_tokenizer
from sentence_folders import make_pooled, make_texts, write_sentence_folder
from test_embedding_runs import make_project

TEXTS = ["the cat sat", "dogs were running", "quickly unhappy gardens and a cat", "a"]
# Libraries that do not install beside transformers 5: a Python of an environment of their own.
SENTENCE_TRANSFORMERS, FASTEMBED = "SENTENCE_TRANSFORMERS_ONNX", "FASTEMBED"
ASK_SENTENCE_TRANSFORMERS = """
import json, sys
from sentence_transformers import SentenceTransformer
folder, backend, texts = json.load(sys.stdin)
options = {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}} if backend == "openvino" else {}
model = SentenceTransformer(folder, backend=backend, device="cpu", model_kwargs=options)
print(json.dumps(model.encode(texts).tolist()))
"""
ASK_FASTEMBED = """
import json, sys
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
folder, width, texts = json.load(sys.stdin)
how = {"pooling": PoolingType.DISABLED, "normalization": False, "sources": ModelSource(hf="a/b")}
TextEmbedding.add_custom_model(model="a/b", dim=width, model_file="onnx/model.onnx", **how)
model = TextEmbedding("a/b", specific_model_path=folder)
print(json.dumps([vector.tolist() for vector in model.embed(texts)]))
"""
ASK_TRANSFORMERS_JS = """
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const library = createRequire(`${process.env.TRANSFORMERS_JS}/`).resolve("@huggingface/transformers");
const { pipeline, env } = await import(pathToFileURL(library));
const [root, name, texts] = JSON.parse(readFileSync(0));
env.allowRemoteModels = false;
env.localModelPath = root;
const extract = await pipeline("feature-extraction", name, { dtype: "fp32" });
console.log(JSON.stringify((await extract(texts, { pooling: "mean", normalize: true })).tolist()));
"""


def write_retrieval(folder: Path) -> Path:
    folder.mkdir()
    texts = make_texts(20, seed=5)
    rows = {"corpus.jsonl": texts, "queries.jsonl": texts[:6]}
    for name, found in rows.items():
        lines = [json.dumps({"_id": f"{name[0]}{row}", "text": text}) for row, text in enumerate(found)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = "".join(f"q{row}\tc{row + 1}\t1\n" for row in range(6))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return folder


# ---- a run --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Of a teacher with all that a folder can say, and takes few tokens: many texts are cut."""
    folder = tmp_path_factory.mktemp("project")
    sets = f"found={write_retrieval(folder / 'set')}"
    flags = make_project(folder, evaluation_files=sets, validation_file=None)
    dense = {"name": "dense", "in_features": 32, "out_features": 12, "bias": True, "activation": "Tanh"}
    how = {"max_length": 9, "lowers_case": True, "prompts": {"query": "the green cup "}}
    write_sentence_folder(
        folder / "teacher", modules=SentenceModules(("cls", "mean"), (dense, {"name": "normalize"}), **how)
    )
    assert run_distillation.main(flags) == 0
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_every_form_has_the_scores_of_the_run_and_the_teacher_is_asked_once(finished, monkeypatch):
    """Of gold scores, of a retrieval set, and of texts alone by the teacher's vectors; fresh processes answer too."""
    assert export(finished, "--formats=onnx,onnx-int8", "--trim_vocabulary") == 0
    record, run = read_export_record(finished / "run"), read_run_record(finished / "run")
    assert record.headline == {"split": "test", "metric": "spearmanr"}
    assert "| mean cosine with the student |" in (finished / "run" / "README.md").read_text(encoding="utf-8")
    for model, form in [(model, form) for model in ("student", "trimmed student") for form in ("pytorch", "onnx")]:
        metrics = record.find(model, form).metrics
        wanted = {split: {name: run.metrics[split][name] for name in metrics[split]} for split in metrics}
        assert list(wanted) == ["validation", "test", "found"]
        assert list(wanted["validation"]) == ["cosine_to_teacher"]
        assert metrics == {split: pytest.approx(scores, abs=1e-4) for split, scores in wanted.items()}
        assert record.find(model, form).agreement["test"]["student"] == pytest.approx(1, abs=1e-6)
    teacher = record.find("teacher", "onnx").metrics
    assert teacher["test"] == pytest.approx(run.teacher["metrics"]["test"], abs=1e-4)
    assert teacher["found"] == pytest.approx(run.teacher["metrics"]["found"], abs=1e-4)
    assert teacher["validation"] == {"cosine_to_teacher": pytest.approx(1, abs=1e-6)}
    small = record.find("student", "onnx-int8")
    assert 0.9 < small.agreement["validation"]["student"] < 1
    first = small.metrics
    monkeypatch.setattr(teacher_cache.TeacherCache, "keep", None)  # nothing is made that would be kept
    assert export(finished, "--formats=onnx,onnx-int8") == 0
    assert read_export_record(finished / "run").find("student", "onnx-int8").metrics == first


@pytest.mark.slow
def test_the_folders_are_asked_as_sentence_encoders(finished):
    """The whole one and the trimmed one, which other programs read too."""
    assert export(finished, "--formats=pytorch", "--trim_vocabulary") == 0
    texts, vectors = (finished / "texts.txt").read_text(encoding="utf-8").splitlines()[:8], {}
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    for name in (".", "trimmed"):
        folder = finished / "run" / name
        tokenizer, answer = AutoTokenizer.from_pretrained(folder), open_pytorch(folder, 1)
        vectors[name] = np.concatenate(
            [answer({**tokenizer(text, truncation=True, return_tensors="np")}) for text in texts]
        )
        np.testing.assert_allclose(vectors[name], load_encoder(str(folder)).encode(texts), atol=1e-6)
        theirs = library.SentenceTransformer(str(folder), device="cpu").encode(texts)
        np.testing.assert_allclose(vectors[name], theirs, atol=1e-5)
    np.testing.assert_allclose(vectors["trimmed"], vectors["."], atol=1e-6)


@pytest.mark.slow
def test_without_gold_scores_the_teacher_cannot_be_left_out(tmp_path, capsys):
    assert run_distillation.main(make_project(tmp_path, test_file=None, num_train_epochs=1)) == 0
    message = refuse(tmp_path, capsys, "--formats=pytorch", "--no_controls")
    assert message.startswith("no row of validation has a gold score, so that vectors are scored by the teacher's (cos")
    assert export(tmp_path, "--formats=pytorch") == 0
    assert read_export_record(tmp_path / "run").headline == {"split": "validation", "metric": "cosine_to_teacher"}
    assert export(tmp_path, "--formats=pytorch", "--no_scores") == 0


@pytest.mark.slow
def test_with_gold_scores_it_can(finished):
    assert export(finished, "--formats=pytorch", "--no_controls") == 0
    (made,) = read_export_record(finished / "run").artifacts[:1]
    assert list(made.metrics) == ["test", "found"]
    assert made.change["difference"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("set/corpus.jsonl", "the", "a", "retrieval sets"),
        ("set/qrels.tsv", "q5\tc6\t1\n", "", "retrieval sets"),
        ("sts.csv", "the red", "a blue", "test"),
        ("texts.txt", "the blue", "a red", "training or validation"),
    ],
)
def test_rows_that_are_others_by_now_are_refused(finished, capsys, name, old, new, changed):
    content = (finished / name).read_text(encoding="utf-8")
    (finished / name).write_text(content.replace(old, new), encoding="utf-8")
    try:
        message = refuse(finished, capsys, "--formats=pytorch")
    finally:
        (finished / name).write_text(content, encoding="utf-8")
    assert f"are others than it was trained and scored on ({changed}): bring" in message


# ---- other programs -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """The folder of a normalised encoder with a BERT's tokenizer and its forms, and its vectors of the texts."""
    pytest.importorskip("onnxscript", reason=MISSING)
    folder = tmp_path_factory.mktemp("models") / "encoder"
    tokenizer = save_bert_tokenizer(folder)
    tokenizer.model_max_length = 64  # as every real one says
    tokenizer.save_pretrained(folder)
    model = make_pooled(num_layers=2, vocab_size=len(tokenizer))
    save_pooled(model, folder)
    (folder / "onnx").mkdir()
    convert(model, tokenizer, folder / "onnx" / "model.onnx", 20)
    return folder, SentenceEncoder(model, tokenizer).encode(TEXTS)


def ask(command: list[str], *what: object) -> np.ndarray:
    done = subprocess.run(command, input=json.dumps(what), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def find_python(variable: str, packages: str) -> str:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no Python of an environment in which {packages} is installed")
    return os.environ[variable]


@pytest.mark.slow
def test_the_vector_is_the_first_output(deployed):
    folder, expected = deployed
    tokenizer, answer = AutoTokenizer.from_pretrained(folder), open_onnx(folder / "onnx" / "model.onnx", 1)
    found = [answer({**tokenizer(text, return_tensors="np")})[0] for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_sentence_transformers_backends_give_equal_vectors(deployed, backend):
    python = find_python(SENTENCE_TRANSFORMERS, "sentence-transformers[onnx,openvino]")
    folder, expected = deployed
    if backend == "openvino" and not (folder / "openvino").exists():
        pytest.importorskip("openvino", reason=MISSING)
        FORMATS["openvino"].write(folder / "onnx" / "model.onnx", folder / "openvino")
    theirs = ask([python, "-c", ASK_SENTENCE_TRANSFORMERS], str(folder), backend, TEXTS)
    np.testing.assert_allclose(theirs, expected, atol=1e-5)


@pytest.mark.slow
def test_fastembed_gives_equal_vectors(deployed):
    folder, expected = deployed
    theirs = ask([find_python(FASTEMBED, "fastembed"), "-c", ASK_FASTEMBED], str(folder), expected.shape[1], TEXTS)
    np.testing.assert_allclose(theirs, expected, atol=1e-5)


@pytest.mark.slow
def test_transformers_js_gives_equal_vectors(deployed):
    if shutil.which("node") is None or not os.environ.get("TRANSFORMERS_JS"):
        pytest.skip(NO_CLIENT)
    folder, expected = deployed
    program = folder.parent / "client.mjs"
    program.write_text(ASK_TRANSFORMERS_JS, encoding="utf-8")
    theirs = ask(["node", str(program)], str(folder.parent), folder.name, TEXTS)
    np.testing.assert_allclose(theirs, expected, atol=1e-5)
