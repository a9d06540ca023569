"""The benchmark of the layer searches on a tiny project: every strategy beside all subsets."""

import json

from benchmarks.bench_layer_search import main
from tiny_project import make_project


def test_every_strategy_has_a_rank_among_all_subsets_and_the_last_line_is_json(tmp_path, capsys):
    main([*make_project(tmp_path), "--student_num_layers=2", "--beam_width=9"])
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    strategies = report["strategies"]
    assert lines[-2].startswith("| ends |")
    assert report["subsets"] == 6
    assert strategies["beam"] | {"seconds": 0} == strategies["exhaustive"] | {"seconds": 0}  # as wide as all subsets
    assert strategies["exhaustive"]["rank"] == 1
    ranked = sorted(strategies.values(), key=lambda row: row["score"])
    assert [row["rank"] for row in ranked] == sorted(row["rank"] for row in ranked)
