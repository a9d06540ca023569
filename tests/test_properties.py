"""What holds for every input, drawn by hypothesis: layer strategies, recipes and flags, the reader of data files."""

import csv
import gzip
import io
import json
import string
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.command_line import list_flags, make_parser, read_recipe
from layer_distillation.tasks.arguments import clean_name
from layer_distillation.tasks.columns import parse_number
from layer_distillation.tasks.files import READERS, read_data_file, read_tagged_words, read_text_lines
from student_init import LAYER_STRATEGIES, choose_student_layers, parse_layer_list

# The same examples everywhere and every time, so that a red test is one that a change made red.
settings.register_profile("project", derandomize=True, deadline=5000, max_examples=60, database=None)
settings.load_profile("project")

ORDERED = [name for name in LAYER_STRATEGIES if name != "scratch"]
depths = st.integers(1, 48)
# Text as files can hold it: no half surrogate pairs. Line ends as such are kept by quotes.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(string.ascii_letters + string.digits + " _-äß漢😀", min_size=1, max_size=8).map(str.strip).filter(bool)


# ---- layer strategies --------------------------------------------------------------------------------------------


@given(strategy=st.sampled_from(ORDERED), teacher=depths, student=depths, seed=st.integers(0, 2**32))
def test_a_strategy_gives_as_many_rising_layers_of_the_teacher_or_says_why_not(strategy, teacher, student, seed):
    try:
        layers = choose_student_layers(strategy, teacher, student, seed=seed)
    except ValueError as refusal:
        assert student > teacher or strategy in ("odd", "even")
        assert "\n" not in str(refusal)  # noqa: PT017
        return
    assert len(layers) == student
    assert layers == sorted(set(layers))
    assert set(layers) <= set(range(teacher))
    assert layers == choose_student_layers(strategy, teacher, student, seed=seed)


@given(teacher=depths, student=depths)
def test_odd_and_even_are_refused_only_where_there_are_too_few(teacher, student):
    for strategy, available in (("odd", teacher // 2), ("even", (teacher + 1) // 2)):
        if student <= min(available, teacher):
            assert {layer % 2 for layer in choose_student_layers(strategy, teacher, student)} == {strategy == "odd"}
        else:
            with pytest.raises(ValueError, match=r"at most|need 1 to"):
                choose_student_layers(strategy, teacher, student)


@given(teacher=depths)
def test_all_layers_are_the_teacher_itself(teacher):
    for strategy in ("top", "bottom", "spread", "ends", "random"):
        assert choose_student_layers(strategy, teacher, teacher) == list(range(teacher))


@given(layers=st.lists(st.integers(0, 47), min_size=1, max_size=48), blanks=st.sampled_from(["", " "]))
def test_a_list_of_layers_reads_back(layers, blanks):
    assert parse_layer_list(f",{blanks}".join(map(str, layers))) == layers
    assert choose_student_layers(None, 48, student_layers=layers) == layers


@given(text=st.one_of(st.text(max_size=12), st.text("0123456789,-_+. ", max_size=12)))
def test_any_other_text_is_no_list_of_layers(text):
    try:
        layers = parse_layer_list(text)
    except ValueError as refusal:
        assert "need whole numbers with commas" in str(refusal)  # noqa: PT017
        return
    assert ",".join(str(layer) for layer in layers) == ",".join(str(int(part)) for part in text.split(","))
    assert set(text) <= set("0123456789,- \t\n\r\x0b\x0c")


# ---- recipes and flags -------------------------------------------------------------------------------------------

PARSER = make_parser()
FLAGS = list_flags(PARSER)
NUMBERS = {
    "temperature": st.floats(0.01, 100),
    "kl_weight": st.floats(0.01, 100),
    "learning_rate": st.floats(1e-9, 1),
    "seed": st.integers(0, 2**31),
    "num_train_epochs": st.floats(0.5, 50),
    "per_device_train_batch_size": st.integers(1, 512),
    "trim_embedding": st.booleans(),
    "layer_strategy": st.sampled_from(list(LAYER_STRATEGIES)),
    "run_name": names.filter(lambda name: name not in ("null", "~")),
}


@given(values=st.fixed_dictionaries({}, optional=NUMBERS), dashes=st.booleans())
def test_values_mean_the_same_in_a_recipe_and_as_flags(values, dashes):
    written = {name.replace("_", "-") if dashes else name: value for name, value in values.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump(written | {"task_name": "natural_logic"}, allow_unicode=True), encoding="utf-8")
        from_recipe = parse_command_line([str(path), "--output_dir=x"]).to_dict()
    flags = [f"--{name}={value}" for name, value in values.items()]
    from_flags = parse_command_line(["--task_name=natural_logic", "--output_dir=x", *flags]).to_dict()
    assert from_recipe == from_flags
    assert {name: from_recipe[name] for name in values} == values


@settings(max_examples=40)
@given(key=st.one_of(names, st.text(max_size=10)).filter(lambda key: key not in FLAGS))
def test_an_unknown_key_is_always_refused(key):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump({key: "1"}), encoding="utf-8")
        with pytest.raises(SystemExit) as stopped:
            read_recipe(path, PARSER)
    assert stopped.value.code == 2


@given(content=st.one_of(st.binary(max_size=60), st.text("abc:-[]{}&*!|>'\"#%@\n ,0?~", max_size=60).map(str.encode)))
def test_any_file_is_a_recipe_or_refused_with_status_2(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_bytes(content)
        try:
            recipe = read_recipe(path, PARSER)
        except SystemExit as stopped:
            assert stopped.code == 2  # noqa: PT017
            return
    assert set(recipe) <= {name.replace("-", "_") for name in FLAGS}


# ---- data files --------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[str]]:
    """Two to four columns of text, some rows."""
    columns = draw(st.lists(names, min_size=2, max_size=4, unique=True))
    num_rows = draw(st.integers(1, 5))
    return {name: draw(st.lists(texts, min_size=num_rows, max_size=num_rows)) for name in columns}


def write_csv_text(table: dict[str, list[str]], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([list(table), *zip(*table.values(), strict=True)])
    return text.getvalue()


def write_table(path: Path, table: dict[str, list[str]]) -> None:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(table), path)
        return
    contents = {
        ".csv": lambda: write_csv_text(table, ","),
        ".tsv": lambda: write_csv_text(table, "\t"),
        ".json": lambda: json.dumps(rows, ensure_ascii=False),
        ".jsonl": lambda: "".join(json.dumps(row) + "\n" for row in rows),
    }
    path.write_bytes(contents[path.suffix]().encode())


OF_TABLES = [ending for ending, read in READERS.items() if read not in (read_tagged_words, read_text_lines)]


@pytest.mark.parametrize("extension", OF_TABLES)
@given(table=tables())
def test_any_table_of_text_reads_back_equal(extension, table):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{extension}"
        write_table(path, table)
        assert read_data_file(str(path)).columns == table


@pytest.mark.parametrize("open_file", [open, gzip.open])
@given(lines=st.lists(texts.filter(lambda text: text.strip() and not set(text) & set("\r\n\ufeff")), min_size=1))
def test_any_lines_of_text_read_back_equal(open_file, lines):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("texts.txt" if open_file is open else "texts.txt.gz")
        with open_file(path, "wt", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(lines) + "\n")
        assert read_data_file(str(path)).columns == {"text": lines}


@pytest.mark.parametrize("extension", READERS)
@given(
    content=st.one_of(st.binary(min_size=1, max_size=80), st.text('ab,"{}[]:\n\t\r0\\ue\0', min_size=1).map(str.encode))
)
def test_any_bytes_are_data_or_one_line(extension, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{extension}"
        path.write_bytes(content)
        try:
            columns = read_data_file(str(path)).columns
        except ValueError as refusal:
            assert str(path) in str(refusal)  # noqa: PT017
            assert len(str(refusal).splitlines()) == 1  # noqa: PT017
            return
    assert len({len(values) for values in columns.values()}) == 1


@given(table=tables(), place=st.floats(0, 1), byte=st.integers(0, 255))
def test_a_parquet_file_with_a_wrong_byte_is_data_or_one_line(table, place, byte):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write_table(path, table)
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] = byte
        path.write_bytes(content)
        try:
            read_data_file(str(path))
        except ValueError as refusal:
            assert len(str(refusal).splitlines()) == 1  # noqa: PT017


@given(
    value=st.one_of(st.text(max_size=20), st.integers(), st.floats(), st.from_regex(r"[+-]?\d{1,500}", fullmatch=True))
)
def test_a_number_is_finite_or_none(value):
    number = parse_number(value)
    assert number is None or abs(float(number)) < float("inf")


@given(name=st.text())
def test_a_cleaned_name_is_one_part_of_a_path(name):
    cleaned = clean_name(name)
    assert Path("runs", cleaned).parts == ("runs", cleaned)
    assert cleaned not in (".", "..")
    assert len(cleaned.encode()) <= 255
