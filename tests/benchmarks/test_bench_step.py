"""The step benchmark on a tiny project: every way asked for is measured in every round."""

import json

from benchmarks.bench_step import WAYS, main
from tiny_project import write_csv, write_teacher


def test_every_way_is_measured_in_turns_and_the_last_line_is_json(tmp_path, capsys):
    write_teacher(tmp_path / "model")
    flags = {"model": tmp_path / "model", "train_file": write_csv(tmp_path / "train.csv", 40)}
    flags |= {"validation_file": write_csv(tmp_path / "validation.csv", 9), "steps": 2, "uncounted_steps": 2}
    flags |= {"batch_size": 8}
    ways = list(WAYS)[2:4]
    main([word for name, value in flags.items() for word in (f"--{name}", str(value))] + ["--ways", *ways])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if line.endswith(" ms")] == ways * 2
    report = json.loads(lines[-1])
    assert report["milliseconds"].keys() == set(ways)
    assert all(len(values) == 2 and min(values) > 0 for values in report["milliseconds"].values())
