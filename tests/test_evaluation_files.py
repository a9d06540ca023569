"""Named evaluation sets of an embedding run: in record, report, card, predictions, comparison; they choose nothing."""

import json
import re

import numpy as np
import pytest
import torch

import run_distillation
from compare_strategies import main as compare
from layer_distillation.embedding.encoding import load_encoder
from layer_distillation.embedding.modules import SentenceModules
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs import retrieval_sets
from layer_distillation.runs.retrieval_sets import find_or_score, make_encoder
from layer_distillation.tasks.retrieval import (
    DOCUMENT_PROMPTS,
    QUERY_PROMPTS,
    average_retrieval,
    read_retrieval,
    score_retrieval,
    score_sets,
)
from sentence_folders import make_texts, write_sentence_folder
from test_embedding_runs import make_project


def write_retrieval(folder):
    """Queries are the beginnings of documents, two of three relevant to each."""
    folder.mkdir()
    texts = make_texts(20, seed=7)
    corpus = [{"_id": f"d{place}", "title": "", "text": text} for place, text in enumerate(texts)]
    queries = [{"_id": f"q{place}", "text": " ".join(texts[place].split()[:3])} for place in range(8)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = [f"q{place}\td{document}\t1" for place in range(8) for document in (place, place + 9)]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


@pytest.fixture
def flags(tmp_path) -> list[str]:
    folder = write_retrieval(tmp_path / "beir")
    sets = f"pairs={tmp_path / 'sts.csv'},beir={folder}"
    return make_project(tmp_path, test_file=None, evaluation_files=sets, num_train_epochs=1)


def test_a_run_is_scored_on_all_sets_and_chosen_by_its_own_texts(tmp_path, flags, capsys):
    assert run_distillation.main(flags) == 0
    folder, record = tmp_path / "run", read_run_record(tmp_path / "run")
    assert list(record.task["rows"]) == ["train", "validation", "pairs"]
    assert record.arguments["metric_for_best_model"] == "cosine_to_teacher"
    sizes = record.task["retrieval"]["beir"]
    assert (sizes["queries"], sizes["documents"]) == (8, 20)
    assert record.metrics["pairs"].keys() >= {"spearmanr", "cosine_to_teacher"}
    data = read_retrieval(tmp_path / "beir")
    for place, metrics in ((folder, record.metrics), (tmp_path / "teacher", record.teacher["metrics"])):
        encode = load_encoder(str(place)).encode
        expected = average_retrieval(score_retrieval(data, encode(data.queries), encode(data.documents)))
        assert metrics["beir"] == pytest.approx(expected, abs=1e-6)
    with np.load(folder / "predictions.npz") as stored:
        assert stored["beir.student_scores"].mean(axis=0)[0] == pytest.approx(record.metrics["beir"]["ndcg_at_10"])
        assert stored["beir.teacher_scores"].shape == (8, 2)
    assert "beir ndcg_at_10" in capsys.readouterr().out
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| beir | 8 | ndcg_at_10 |" in card
    assert "type: recall_at_10" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "metric", "rows"),
    [("beir", "ndcg_at_10", 8), ("pairs", "spearmanr", 12), ("auto", "cosine_to_teacher", 1)],
)
def test_runs_are_compared_by_a_set(tmp_path, flags, split, metric, rows):
    for strategy in ("top", "bottom"):
        own = [f"--layer_strategy={strategy}", f"--output_dir={tmp_path / 'runs' / strategy}"]
        assert run_distillation.main([*flags, *own]) == 0
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "out"), "--split", split]) == 0
    unit = json.loads((tmp_path / "out" / "comparison.json").read_text())["units"][0]
    assert (unit["metric_name"], unit["rows"]) == (metric, rows)
    record = read_run_record(tmp_path / "runs" / "top")
    report = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "| Validation cosine_to_teacher |" in report
    [top] = [line.split(" | ") for line in report.splitlines() if line.startswith("| top")][:1]
    assert float(top[3]) == pytest.approx(record.metrics["validation"]["cosine_to_teacher"], abs=1e-4)
    assert "of these runs that of the best cosine_to_teacher" in report


@pytest.mark.parametrize("prompts", [{"query": "the red car and "}, {"query": "a ", "document": "not a "}, {"x": "a "}])
def test_queries_and_documents_are_encoded_as_sentence_transformers_does(tmp_path, prompts):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    modules = SentenceModules(("mean",), prompts=prompts, default_prompt_name=next(iter(prompts)))
    theirs = library.SentenceTransformer(str(write_sentence_folder(tmp_path, modules=modules)), device="cpu")
    ours, texts = load_encoder(str(tmp_path)), make_texts(9)
    encode = make_encoder(ours.model, ours.tokenizer, 4)
    np.testing.assert_allclose(encode(texts, QUERY_PROMPTS), theirs.encode_query(texts), atol=1e-5)
    np.testing.assert_allclose(encode(texts, DOCUMENT_PROMPTS), theirs.encode_document(texts), atol=1e-5)


def test_a_teacher_is_scored_once(tmp_path):
    data, asked = read_retrieval(write_retrieval(tmp_path / "beir")), []

    def encode(texts, names):
        asked.append(names)
        return np.asarray(torch.randn(len(texts), 4, generator=torch.Generator().manual_seed(0)))

    found = [find_or_score({"beir": data}, encode, "weights", str(tmp_path)) for _ in range(2)]
    assert asked == [QUERY_PROMPTS, DOCUMENT_PROMPTS]
    assert np.array_equal(found[0]["beir"], found[1]["beir"])
    [path] = (tmp_path / "retrieval_scores").glob("*.npy")
    path.write_bytes(path.read_bytes()[:40])
    assert np.array_equal(find_or_score({"beir": data}, encode, "weights", str(tmp_path))["beir"], found[0]["beir"])
    assert len(asked) == 4
    assert score_sets({}, encode) == {}
    find_or_score({"beir": data}, encode, "others", str(tmp_path))
    assert len(asked) == 6
    assert retrieval_sets.MAX_LENGTH == 256


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ("beir={beir}", "names 'd99', an id that corpus.jsonl does not have"),
        ("pairs={texts}", "--evaluation_files pairs: .*no score: give two texts"),
        ("pairs={bad}", "data row 1 has the score 'high' in 'score': a number is needed"),
        ("validation={texts}", "names a set 'validation'"),
    ],
)
def test_what_is_no_set_is_one_line_before_any_training(tmp_path, capsys, sets, message):
    beir = write_retrieval(tmp_path / "beir")
    with (beir / "qrels.tsv").open("a") as file:
        file.write("q0\td99\t1\n")
    (tmp_path / "texts.csv").write_text("text\na\nb\n")
    (tmp_path / "bad.csv").write_text("sentence1,sentence2,score\na,b,high\nc,d,1\n")
    places = {"beir": beir, "texts": tmp_path / "texts.csv", "bad": tmp_path / "bad.csv"}
    with pytest.raises(SystemExit) as ended:
        run_distillation.main(make_project(tmp_path, evaluation_files=sets.format(**places)))
    assert ended.value.code == 2

    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_other_kinds_have_no_such_sets(tmp_path, capsys):
    flags = [f"--train_file={tmp_path / 'a.csv'}", f"--validation_file={tmp_path / 'a.csv'}"]
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    with pytest.raises(SystemExit):
        run_distillation.main([*flags, f"--evaluation_files=x={tmp_path}", "--teacher_model_name_or_path=x"])
    assert "goes with --task_type embedding" in capsys.readouterr().err
