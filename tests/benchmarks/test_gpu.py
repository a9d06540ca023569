"""The script for a GPU: its folder is small and whole, and every part runs on the processor at tiny sizes."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import gpu_folder
from benchmarks.sweep_settings import ROOT
from tiny_project import write_csv, write_teacher

PARTS = ("machine", "tests", "base", "waits", "sick", "variants", "equality", "sst2")


@pytest.fixture
def folder(tmp_path):
    """A folder of a tiny teacher, without wheels."""
    for name, splits in (("sick", ("train", "validation", "test")), ("sst2", ("train", "validation"))):
        (tmp_path / name).mkdir()
        for seed, split in enumerate(splits):
            write_csv(tmp_path / name / f"{split}.csv", 24, seed=seed + len(name))
    write_teacher(tmp_path / "teacher")
    data = [f"--sick={tmp_path / 'sick'}", f"--sst2={tmp_path / 'sst2'}", f"--teacher={tmp_path / 'teacher'}"]
    assert gpu_folder.main([*data, "--no_wheels", "--tiny", f"--output_dir={tmp_path / 'folder'}"]) == 0
    return tmp_path / "folder"


def test_the_folders_teacher_answers_its_ids_as_the_whole_one_answers_the_texts(tmp_path, folder):
    rows = gpu_folder.read_rows(folder, "sick_test", max_rows=5)
    texts = [line.rsplit(",", 1)[0] for line in (tmp_path / "sick" / "test.csv").read_text().splitlines()[1:6]]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "teacher")
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher").eval()
    with torch.no_grad():
        wanted = whole(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        columns = ("input_ids", "token_type_ids", "attention_mask")
        batch = gpu_folder.make_tokenizer().pad({name: rows[name][:] for name in columns}, return_tensors="pt")
        own = gpu_folder.load_teacher(folder)(**batch).logits
    torch.testing.assert_close(own, wanted, rtol=1e-2, atol=1e-2)  # it travels in half precision
    with np.load(folder / "rows" / "sick_test.npz") as arrays:
        assert int(arrays["ids"].max()) < gpu_folder.load_teacher(folder).get_input_embeddings().num_embeddings


def test_a_folder_that_is_there_is_not_written_into(tmp_path, folder, capsys):
    given = [f"--{name}={tmp_path / name}" for name in ("sick", "sst2", "teacher")]
    assert gpu_folder.main([*given, "--no_wheels", f"--output_dir={folder}"]) == 2
    assert "exists already: remove it" in capsys.readouterr().err


def test_wheels_that_a_machine_lacks_are_laid_out_and_the_others_are_not(tmp_path):
    (tmp_path / "wheels").mkdir()
    installed = torch.__version__.split("+")[0]
    for name, version in (("strange_package", "1.0"), ("numpy", np.__version__), ("pytest", "0.0.1")):
        with zipfile.ZipFile(tmp_path / "wheels" / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", f"# {installed}")
    command = [sys.executable, ROOT / "benchmarks" / "gpu_site.py", tmp_path / "wheels", tmp_path / "site"]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["pytest", "strange_package"]


def test_what_travels_is_followed_from_requirement_to_requirement():
    names = gpu_folder.list_required(gpu_folder.PACKAGES)
    assert {*gpu_folder.PACKAGES} <= {*names}
    assert "httpcore2" in names  # of httpx2, of huggingface_hub, of transformers
    assert not gpu_folder.LEFT_OUT & {*names}


def test_what_is_laid_out_can_be_pickled_by_name():
    """The modules of a folder of another name are the user's own to dill, which pickles them by value."""
    assert '"$results/site-packages"' in (ROOT / "benchmarks" / "gpu.sh").read_text()


def run_script(folder, results, **environment: str) -> list[dict]:
    """Its figures, as the folder's own copy of the code gives them."""
    script = folder / "code" / "benchmarks" / "gpu.sh"
    own = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(["bash", script, folder, results], env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert printed == [json.loads(line) for line in (results / "figures.jsonl").read_text().splitlines()]
    return printed


def test_a_part_that_fails_or_has_no_time_says_so_and_the_next_one_runs(tmp_path, folder):
    (folder / "code" / "benchmarks" / "gpu_parts.py").write_text("import sys, time\nassert sys.argv[2] != 'waits'\n")
    figures = run_script(folder, tmp_path / "results", PARTS="sick waits")
    assert [(line["part"], line["status"]) for line in figures] == [("waits", "failed"), ("sick", "done")]
    assert "AssertionError" in (tmp_path / "results" / "waits.log").read_text()
    figures = run_script(folder, tmp_path / "later", PARTS="sick waits", SECONDS_IN_ALL="5")
    assert [line["status"] for line in figures] == ["left out", "left out"]


@pytest.mark.slow
def test_every_part_runs_at_tiny_sizes_on_the_processor(tmp_path, folder):
    figures = run_script(folder, tmp_path / "results", SECONDS_IN_ALL="3000", LIMITS_TIMES="9")
    logs = {part: (tmp_path / "results" / f"{part}.log").read_text()[-2000:] for part in PARTS}
    assert [line["part"] for line in figures if line.get("status") == "done"] == list(PARTS), (figures, logs)
    by_part = {part: [line for line in figures if line["part"] == part] for part in PARTS}
    assert by_part["machine"][0]["hardware"]["device"]
    assert by_part["tests"][0]["skipped"] == 7 - 7 * torch.cuda.is_available()
    assert {line["strategy"] for line in by_part["sick"] if "strategy" in line} == {"top", "bottom", "odd", "even"}
    ways = [line for line in by_part["base"] if "way" in line]
    assert len(ways) == 9
    assert all(line["share_of_ceiling"] > 0 and line["milliseconds"] > 0 for line in ways)
    waits = {place for line in by_part["waits"] for place in line.get("waits_per_step", {})}
    on_processors = {"training_watch.py", "masking_utils.py", "store.py"}  # that of the batch to come, the last
    assert {place.split(":")[0] for place in waits} <= on_processors
    [equality] = [line for line in by_part["equality"] if "largest_move" in line]
    assert equality["largest_difference"] < 1e-4 * max(1.0, equality["largest_move"]) < equality["largest_move"]
    timed = [line["variant"] for line in by_part["variants"] if "milliseconds" in line]
    assert timed[:3] == ["live", "live, attention term", "live, masks as stock makes them"]
    assert [line["loss"] for line in by_part["sst2"] if "loss" in line] == ["default", "labels alone"]
