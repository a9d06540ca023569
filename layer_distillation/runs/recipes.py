"""Where recipes lie: the user's own file, or one of those that come with the package, by path or by name alone."""

import os.path
from pathlib import Path

import layer_distillation

PACKAGE = Path(layer_distillation.__file__).parent
SUFFIXES = (".yaml", ".yml")


def find_shipped_folder() -> Path:
    """Inside an installed package; at the root of a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


SHIPPED_RECIPES = find_shipped_folder()
BUILT_IN_RECIPE = SHIPPED_RECIPES / "natural_logic.yaml"


def list_shipped_names() -> list[str]:
    return sorted(path.stem for path in SHIPPED_RECIPES.glob("*.yaml"))


def find_recipe(word: str) -> Path | None:
    """The file meant by a path or a name, the user's own before ours; None where there is neither.

    `natural_logic`, `natural_logic.yaml` and `recipes/natural_logic.yaml` mean the shipped one from any folder.
    """
    own = Path(word if word.endswith(SUFFIXES) else f"{word}.yaml")
    if os.path.isfile(own):  # and not is_file(), which raises for a name that is too long
        return own
    for name in list_shipped_names():
        if Path(word) in (Path(name), Path(f"{name}.yaml"), Path("recipes", f"{name}.yaml")):
            return SHIPPED_RECIPES / f"{name}.yaml"
    return None


def describe_missing(word: str, suggestion: str) -> str:
    """Why a word in front of the flags is no recipe, and what would be one."""
    names = ", ".join(list_shipped_names())
    if word.endswith(SUFFIXES):
        return f"there is no recipe {word}{suggestion}: give a file, or one of those that come along: {names}"
    return (
        f"{word!r} is neither a flag nor a recipe{suggestion}: a recipe comes first, and is a file that ends in .yaml "
        f"or one of those that come along: {names}"
    )
