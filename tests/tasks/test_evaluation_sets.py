"""The flag of evaluation sets: what it names, and what it cannot."""

import pytest

from layer_distillation.tasks.evaluation_sets import list_files, list_folders, parse_evaluation_files


def test_files_and_folders_by_name(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("a,b,score\n")
    sets = parse_evaluation_files(f"sts={path}, xquad={tmp_path}")
    assert (list_files(sets), list_folders(sets)) == ({"sts": str(path)}, {"xquad": str(tmp_path)})
    assert parse_evaluation_files(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pairs.csv", "has 'pairs.csv': give NAME=PATH"),
        ("sts=", "has 'sts=': give NAME=PATH"),
        ("", "has '': give NAME=PATH"),
        ("a=.,", "has '': give NAME=PATH"),
        ("test=.", "names a set 'test': take letters"),
        ("my-set=.", "names a set 'my-set'"),
        ("a=.,a=.", "names two sets 'a'"),
        ("a=nowhere.csv", "--evaluation_files a nowhere.csv is not a file"),
        ("a=nowhere", "--evaluation_files a nowhere is not a file"),
    ],
)
def test_what_names_no_set_is_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_evaluation_files(text)
