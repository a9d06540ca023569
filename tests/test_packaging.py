"""The wheel: what is in it, what it needs, and that it works where the checkout is not."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import layer_distillation
from layer_distillation.records.command_names import INSTALLED_COMMANDS
from layer_distillation.records.run_record import read_run_record
from tiny_project import make_project

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = [
    "compare_strategies",
    "distill_trainer",
    "export_student",
    "preview_strategies",
    "push_student",
    "run_distillation",
    "student_init",
    "teacher_stores",
]
HOMES = {
    "pytrec_eval": "pytrec-eval-terrier",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
}  # what is imported by another name than it is installed by
ONLY_WITH_EXTRAS = ("quantization.py", "ray_cluster.py", "slurm.py")  # whole files
NOT_IMPORTED = {
    "sentencepiece",
    "protobuf",
    "onnxscript",
}  # transformers converts tokenizers by them, torch writes ONNX


# ---- what it says of itself --------------------------------------------------------------------------------------


def read_requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("-r", "#"))]


def list_dependencies(extra: str | None = None) -> dict[str, Requirement]:
    """The base ones, or those of an extra."""
    project = PROJECT["project"]
    texts = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    requirements = [Requirement(text) for text in texts]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


EXTRAS = {extra: f"requirements-{extra}.txt" for extra in PROJECT["project"]["optional-dependencies"]}


@pytest.mark.parametrize(("extra", "file"), [(None, "requirements.txt"), *EXTRAS.items()])
def test_every_pin_lies_inside_the_bounds_and_every_bound_has_its_pin(extra, file):
    dependencies = list_dependencies(extra)
    pins = {canonicalize_name(pin.name): pin for pin in read_requirements(file)}
    assert pins.keys() == dependencies.keys()
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert exact.version in dependencies[name].specifier, f"{pin} is outside {dependencies[name]}"


def test_every_dependency_has_a_lower_and_an_upper_bound():
    for requirement in [each for extra in (None, *EXTRAS) for each in list_dependencies(extra).values()]:
        assert sorted(bound.operator for bound in requirement.specifier) == ["<", ">="], requirement


def test_the_development_tools_are_pinned():
    for requirement in read_requirements("requirements-dev.txt"):
        assert [bound.operator for bound in requirement.specifier] == ["=="], requirement


def test_what_the_wheel_imports_is_what_it_requires():
    files = [*(ROOT / f"{name}.py" for name in MODULES), *(ROOT / "layer_distillation").rglob("*.py")]
    imported = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    foreign = imported - sys.stdlib_module_names - {*MODULES, "layer_distillation"}
    required = {name for extra in (None, *EXTRAS) for name in list_dependencies(extra)}
    assert {canonicalize_name(HOMES.get(name, name)) for name in foreign} | NOT_IMPORTED == required


def test_what_extras_bring_is_imported_where_it_is_used_alone():
    """So that the package and its commands start without them."""
    optional = {name for extra in EXTRAS for name in list_dependencies(extra)}
    for path in [*(ROOT / f"{name}.py" for name in MODULES), *(ROOT / "layer_distillation").rglob("*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert path.name in ONLY_WITH_EXTRAS or not optional & {name.split(".")[0] for name in names}, path


def test_the_version_has_one_place_and_a_changelog():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "layer_distillation/__init__.py"
    assert f"## [{layer_distillation.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == layer_distillation.__version__
    assert citation["license"] == PROJECT["project"]["license"]


def test_every_installed_command_is_one_that_messages_name():
    assert PROJECT["project"]["scripts"].keys() == set(INSTALLED_COMMANDS.values())


def test_every_file_at_the_root_that_people_import_is_in_the_wheel():
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    at_root = {path.name for path in ROOT.glob("*.py")}
    for target in targets.values():
        assert at_root <= {*target["only-include"]}
    assert sorted(at_root) == [f"{name}.py" for name in MODULES]


def test_what_is_checked_before_a_commit_is_what_the_gate_lints():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    hooks = [hook["entry"] for hook in local["hooks"]]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert local["repo"] == "local"
    assert hooks == [line for line in gate if "ruff" in line]


# ---- where the checkout is not -----------------------------------------------------------------------------------


def call(command: list[str | Path], folder: Path, status: int = 0) -> subprocess.CompletedProcess:
    """From another folder, with no path to the checkout; the venv's commands are found as after its activation."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # and those of the libraries, which a real installation puts beside ours
    environment["PATH"] = os.pathsep.join(
        [f"{Path(command[0]).parent}", f"{Path(sys.executable).parent}", kept["PATH"]]
    )
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """The folder of the commands in a fresh venv with the wheel alone; what it requires lies in our own one."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    commands = folder / "bin"
    (site_packages,) = folder.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site_packages / "requirements.pth").write_text("\n".join(ours) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", commands / "python", "install", "-q", "--no-deps", "--no-index"]
    call([*pip, "--ignore-installed", wheel], folder)
    return commands


def list_files(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_recipes_and_nothing_else(wheel):
    files = list_files(wheel)
    information = f"layer_distillation-{layer_distillation.__version__}.dist-info"
    top = {name.split("/")[0] for name in files}
    assert top == {"layer_distillation", information, *(f"{name}.py" for name in MODULES)}
    recipes = [f"layer_distillation/recipes/{path.name}" for path in sorted((ROOT / "recipes").glob("*.yaml"))]
    inside = [name for name in files if name.startswith("layer_distillation/")]
    page = [f"layer_distillation/comparison/page.{kind}" for kind in ("css", "js")]
    tables = ["layer_distillation/step/stock_flags.json"]
    assert [name for name in inside if not name.endswith(".py")] == page + recipes + tables
    rooms = {path.relative_to(ROOT).as_posix() for path in (ROOT / "layer_distillation").rglob("*.py")}
    assert {name for name in inside if name.endswith(".py")} == rooms
    assert f"{information}/licenses/LICENSE" in files


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    (source,) = wheel.parent.glob("*.tar.gz")
    options = ["-q", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", tmp_path]
    call([sys.executable, "-m", "pip", "wheel", *options, source], tmp_path)
    assert list_files(next(tmp_path.glob("*.whl"))) == list_files(wheel)
    assert source.stat().st_size < 1_000_000


@pytest.mark.slow
def test_all_that_is_imported_is_the_wheels(commands, tmp_path):
    code = (
        "import importlib, pkgutil, sys, layer_distillation\n"
        "from layer_distillation import DistillationTrainer, DistillationTrainingArguments\n"
        "from layer_distillation import build_student, choose_student_layers\n"
        "for module in pkgutil.walk_packages(layer_distillation.__path__, 'layer_distillation.'):\n"
        "    if module.name.rpartition('.')[2] not in ('ray_cluster', 'slurm'):  # of extras that tests do without\n"
        "        importlib.import_module(module.name)\n"
        f"ours = [importlib.import_module(name) for name in {MODULES}]\n"
        "ours += [module for name, module in sys.modules.items() if name.startswith('layer_distillation')]\n"
        "print(layer_distillation.__version__, *sorted({module.__file__ for module in ours}), sep='\\n')\n"
    )
    version, *files = call([commands / "python", "-c", code], tmp_path).stdout.splitlines()
    assert version == layer_distillation.__version__
    assert len(files) > 50
    assert [path for path in files if not path.startswith(str(commands.parent))] == []
    places = call([commands / "python", "-c", "import sys; print(*sys.path, sep='\\n')"], tmp_path).stdout.splitlines()
    assert str(ROOT) not in places


@pytest.mark.slow
def test_a_distillation_and_a_comparison_run_by_the_commands(commands, tmp_path):
    """Each by another spelling of a recipe that only the wheel has."""
    flags = make_project(tmp_path / "project")
    spellings = {"odd": "recipes/terms_default.yaml", "even": "terms_default"}
    for strategy, recipe in spellings.items():
        folder = tmp_path / "runs" / strategy
        own = [f"--layer_strategy={strategy}", f"--output_dir={folder}"]
        done = call([commands / "distil", recipe, *flags, *own], tmp_path)
        assert "student layer 0 <- teacher layer" in done.stdout + done.stderr
        record = read_run_record(folder)
        assert record.strategy == strategy
        assert record.command.startswith(f"run_distillation.py {recipe} ")
        assert record.arguments["pkd_weight"] == 10
    compared = call([commands / "distil-compare", "runs"], tmp_path).stdout
    assert re.search(r"^\W*odd\b", compared, re.MULTILINE), compared
    assert re.search(r"^\W*even\b", compared, re.MULTILINE), compared
    assert list((tmp_path / "comparison").rglob("*.png"))
    assert "stores, " in call([commands / "distil-stores", "list", f"--cache_dir={tmp_path}"], tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
        ["accelerate.commands.launch", "--cpu", "--num_processes", "2"],
    ],
    ids=["torchrun", "accelerate"],
)
def test_several_processes_are_launched_by_the_name_of_the_module(commands, tmp_path, launcher):
    flags = [*make_project(tmp_path / "project"), "--per_device_train_batch_size=4", "--num_train_epochs=1"]
    call([commands / "python", "-m", *launcher, "-m", "run_distillation", "terms_default", *flags], tmp_path)
    record = read_run_record(tmp_path / "project" / "run")
    assert record.status == "finished"


@pytest.mark.slow
def test_a_sweep_plans_runs_of_the_wheel(commands, tmp_path):
    flags = ["--strategies", "odd even", "--seeds", "42", "--plan", "--", "natural_logic"]
    plan = [json.loads(line) for line in call([commands / "distil-sweep", *flags], tmp_path).stdout.splitlines()]
    assert len(plan) == 2
    (script,) = {word for run in plan for word in run["command"] if word.endswith("run_distillation.py")}
    assert Path(script).is_relative_to(commands.parent)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED_COMMANDS.values())
def test_a_command_speaks_of_itself_by_the_name_typed(commands, tmp_path, name):
    text = call([commands / name, "--help"], tmp_path).stdout
    assert f"usage: {name}" in text
    assert re.findall("|".join(map(re.escape, INSTALLED_COMMANDS)), text) == []
    assert (
        call([commands / name, "--nonsense"], tmp_path, status=2).stderr.splitlines()[-1].startswith(f"{name}: error")
    )
