"""The benchmark of embeddings: what it runs, what it refuses, and a tiny one from end to end."""

import csv
import json

import pytest

from benchmarks.bench_embedding import OURS, PEER, main, summarize_way
from sentence_folders import make_texts, write_sentence_folder
from test_evaluation_files import write_retrieval


@pytest.fixture
def flags(tmp_path) -> list[str]:
    write_sentence_folder(tmp_path / "teacher")
    (tmp_path / "texts.txt").write_text("\n".join(make_texts(60)) + "\n", encoding="utf-8")
    texts = make_texts(24, seed=3)
    with (tmp_path / "sts.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[texts[2 * row], texts[2 * row + 1], row % 5] for row in range(12)]
        csv.writer(file).writerows([["sentence1", "sentence2", "score"], *rows])
    folder = write_retrieval(tmp_path / "beir")
    values = {"teacher": tmp_path / "teacher", "train_file": tmp_path / "texts.txt", "sts_file": tmp_path / "sts.csv"}
    values |= {"retrieval_folder": folder, "student_layers": "0,2", "sentences": 40, "batch_size": 8, "threads": 1}
    return [f"--{name}={value}" for name, value in values.items()]


@pytest.mark.slow
def test_both_ways_are_trained_and_scored_alike(tmp_path, flags, capsys):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    assert main([*flags, f"--output_dir={tmp_path / 'bench'}"]) == 0
    output = capsys.readouterr().out.strip().splitlines()
    report = json.loads(output[-1])
    assert [run["way"] for run in report["runs"]] == [OURS, PEER]
    for run in report["runs"]:
        assert run["seconds"] > 0
        assert -1 <= run["spearmanr"] <= 1
        assert 0 < run["ndcg_at_10"] <= 1
    assert {entry["metric"] for entry in report["differences"]} == {"spearmanr", "ndcg_at_10", "recall_at_10"}
    for entry in report["differences"]:
        assert entry["low"] <= entry["difference"] <= entry["high"]
    assert report["summary"][1]["seconds_to_peer"] == 1
    assert str(tmp_path) not in output[-1]
    assert (tmp_path / "bench" / "students" / f"{OURS}-seed42" / "modules.json").exists()


@pytest.mark.slow
def test_files_that_cannot_be_meant_are_one_line(tmp_path, flags, capsys):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    assert main([*flags, "--sentences=100"]) == 2
    assert "has 60 texts, and --sentences is 100" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main([*flags, f"--output_dir={tmp_path / 'full'}"]) == 2
    assert "is not empty: give another --output_dir" in capsys.readouterr().err


def test_ratios_are_of_mean_seconds():
    runs = [
        {"way": way, "seed": seed, "seconds": seconds, "spearmanr": 0.5}
        for way, seed, seconds in ((OURS, 1, 10), (PEER, 1, 20), (OURS, 2, 20), (PEER, 2, 40))
    ]
    assert summarize_way(OURS, runs)["seconds_to_peer"] == 0.5
    assert summarize_way(PEER, runs)["seeds"] == [1, 2]
