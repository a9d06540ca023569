"""Reads from a folder of sentence-transformers what stands behind its encoder, checks it, and writes it.

Entry: `read_modules`, `write_modules`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils import cached_file

from layer_distillation.architectures.traits import LAST_TOKEN_MODEL_TYPES
from layer_distillation.embedding.modules import DENSE, NORMALIZE, SentenceModules
from layer_distillation.records.module_folders import MODULES_NAME

SETTINGS_NAME, LIMIT_NAME = "config_sentence_transformers.json", "sentence_bert_config.json"
# Old folders have it by the name of their architecture.
LIMIT_NAMES = (
    LIMIT_NAME,
    *(
        f"sentence_{name}_config.json"
        for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
    ),
)
# The words of Pooling's config up to sentence-transformers 5, which its later versions read too.
POOLING_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
CHOSEN_POOLINGS = ("mean", "cls", "lasttoken", "weightedmean")  # of `--pooling`
ACTIVATIONS = {
    "Identity": "torch.nn.modules.linear.Identity",
    **{name: f"torch.nn.modules.activation.{name}" for name in ("Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")},
}
BUILDABLE = ("Transformer", "Pooling", "Dense", "Normalize")
WRITTEN_PREFIX = "sentence_transformers.models"  # understood by all versions


# ---- reading -----------------------------------------------------------------------------------------------------


def read_modules(
    location: str,
    config: PreTrainedConfig,
    pooling: str | None = None,
    normalize: bool | None = None,
    revision: str = "main",
) -> SentenceModules:
    """Of a folder or a name on the Hub; of a plain encoder what `pooling` and `normalize` say, by default what
    sentence-transformers takes: the mean, and of a decoder its last token.

    Raises:
        ValueError: a module is not one of `BUILDABLE`, or the arguments contradict modules.json.
    """
    listed = read_json(location, MODULES_NAME, revision)
    if listed is None:
        is_decoder = config.model_type in LAST_TOKEN_MODEL_TYPES
        steps = ({"name": NORMALIZE},) if normalize else ()
        return SentenceModules((pooling or ("lasttoken" if is_decoder else "mean"),), steps, is_assumed=True)
    modules = assemble(location, check_listed(location, listed), config, revision)
    if pooling is not None and modules.pooling != (pooling,):
        raise ValueError(
            f"--pooling {pooling} contradicts the modules.json of {location!r}, which pools by "
            f"{' and '.join(modules.pooling)}: leave --pooling out"
        )
    if normalize is not None and normalize != modules.normalizes:
        raise ValueError(
            f"--normalize_embeddings {str(normalize).lower()} contradicts the modules.json of {location!r}, which has "
            f"{'a' if modules.normalizes else 'no'} Normalize: leave it out"
        )
    return modules


def read_json(location: str, name: str, revision: str = "main") -> Any:
    """What the file of a folder or repository says, None where there is none; ValueError where it is no JSON."""
    if Path(location).is_dir():
        path = Path(location) / name
        path = path if path.is_file() else None
    else:
        missing = ("gated_repo", "missing_entries", "connection_errors")
        quiet = {f"_raise_exceptions_for_{kind}": False for kind in missing}
        try:
            path = cached_file(location, name, revision=revision, **quiet)
        except OSError:  # nothing is there at all: loading says what is wrong
            path = None
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} of {location!r} cannot be read ({error}): write it again") from error


def check_listed(location: str, listed: Any) -> list[tuple[str, str]]:
    """(kind, path) of every module. ValueError unless they are an encoder, a pooling, and what may follow."""
    is_list = isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed)
    if not is_list or not all(isinstance(entry.get("type"), str) for entry in listed):
        raise ValueError(f"modules.json of {location!r} is no list of modules with a type each: save the model again")
    found = [(entry["type"], str(entry.get("path", ""))) for entry in listed]
    kinds = [full.rsplit(".", 1)[-1] for full, _ in found]
    strange = [
        full
        for (full, _), kind in zip(found, kinds, strict=True)
        if kind not in BUILDABLE or not full.startswith("sentence_transformers.")
    ]
    if strange:
        raise ValueError(
            f"{location!r} has the module {strange[0]}, which is not built here: an embedding teacher has a "
            f"Transformer, a Pooling and any of Dense and Normalize (its modules: {', '.join(kinds)})"
        )
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) & {"Transformer", "Pooling"}:
        raise ValueError(
            f"modules.json of {location!r} has {', '.join(kinds) or 'no module'}: give a Transformer, then a Pooling, "
            "then any of Dense and Normalize"
        )
    if found[0][1]:
        raise ValueError(
            f"the encoder of {location!r} is in {found[0][1]!r}, as sentence-transformers 1 had it: load the model "
            "with a later version and save it again"
        )
    return [(kind, path) for kind, (_, path) in zip(kinds, found, strict=True)]


def assemble(
    location: str, listed: Sequence[tuple[str, str]], config: PreTrainedConfig, revision: str
) -> SentenceModules:
    """The description of the modules that are listed, each by its own config."""
    pooling = read_pooling(location, read_own_json(location, listed[1][1], revision), config)
    steps, width = [], len(pooling) * config.hidden_size
    for kind, path in listed[2:]:
        own = read_own_json(location, path, revision, is_needed=kind == "Dense")
        check_named_inputs(location, kind, own)
        step = read_dense(location, path, own, width) if kind == "Dense" else {"name": NORMALIZE}
        width = step.get("out_features", width)
        steps.append(step)
    settings = read_json(location, SETTINGS_NAME, revision) or {}
    limits = next((found for name in LIMIT_NAMES if (found := read_json(location, name, revision))), {})
    if settings.get("truncate_dim"):
        raise ValueError(f"{location!r} cuts its vectors at truncate_dim {settings['truncate_dim']}: leave that out")
    return SentenceModules(
        pooling,
        tuple(steps),
        prompts={name: text for name, text in (settings.get("prompts") or {}).items() if isinstance(text, str)},
        default_prompt_name=settings.get("default_prompt_name"),
        similarity=settings.get("similarity_fn_name"),
        max_length=limits.get("max_seq_length"),
        lowers_case=bool(limits.get("do_lower_case")),
    )


def read_own_json(location: str, path: str, revision: str, is_needed: bool = True) -> dict[str, Any]:
    values = read_json(location, f"{path}/config.json", revision)
    if not isinstance(values, dict) and is_needed:
        raise ValueError(f"{location!r} lacks {path}/config.json, which modules.json names: save the model again")
    return values or {}


def check_named_inputs(location: str, kind: str, values: Mapping[str, Any]) -> None:
    for name in ("module_input_name", "module_output_name"):
        if values.get(name) not in (None, "sentence_embedding"):
            raise ValueError(f"the {kind} of {location!r} has {name} {values[name]!r}: only sentence vectors are built")


def read_pooling(location: str, values: Mapping[str, Any], config: PreTrainedConfig) -> tuple[str, ...]:
    """The ways of pooling, by their names, in the order in which their vectors are joined."""
    if values.get("include_prompt") is False:
        raise ValueError(f"the Pooling of {location!r} leaves prompts out (include_prompt false): that is not built")
    modes = values.get("pooling_mode")
    modes = [modes] if isinstance(modes, str) else modes
    modes = modes or [name for name, flag in POOLING_FLAGS.items() if values.get(flag)] or ["mean"]
    if unknown := [mode for mode in modes if mode not in POOLING_FLAGS]:
        raise ValueError(f"the Pooling of {location!r} pools by {unknown[0]!r}: one of {', '.join(POOLING_FLAGS)}")
    width = values.get("embedding_dimension", values.get("word_embedding_dimension", config.hidden_size))
    if width != config.hidden_size:
        raise ValueError(
            f"the Pooling of {location!r} is of states {width} wide, and its config says {config.hidden_size}: "
            "correct 1_Pooling/config.json"
        )
    return tuple(modes)


def read_dense(location: str, path: str, values: Mapping[str, Any], width: int) -> dict[str, Any]:
    activation = str(values.get("activation_function", ACTIVATIONS["Tanh"]))
    name = activation.rsplit(".", 1)[-1]
    if not activation.startswith("torch.nn.") or name not in ACTIVATIONS:
        raise ValueError(f"{path} of {location!r} has the activation {activation}: one of {', '.join(ACTIVATIONS)}")
    if values.get("use_residual"):
        raise ValueError(f"{path} of {location!r} adds its input to its output (use_residual): that is not built")
    sizes = {size: values.get(size) for size in ("in_features", "out_features")}
    if sizes["in_features"] != width or not isinstance(sizes["out_features"], int):
        raise ValueError(f"{path} of {location!r} takes and gives {list(sizes.values())} numbers, and gets {width}")
    return {"name": DENSE, **sizes, "bias": bool(values.get("bias", True)), "activation": name, "path": path}


# ---- writing -----------------------------------------------------------------------------------------------------


def write_modules(
    modules: SentenceModules, config: PreTrainedConfig, folder: Path, write_dense: Callable[[int, Path], None]
) -> None:
    """What makes an encoder's folder one of sentence-transformers.

    Args:
        write_dense: writes the weights of the dense layer of that number into a folder.
    """
    listed = [("Transformer", ""), ("Pooling", "1_Pooling")]
    write_json(folder / "1_Pooling" / "config.json", describe_pooling(modules.pooling, config.hidden_size))
    num_dense = 0
    for number, step in enumerate(modules.steps, start=2):
        kind = step["name"].capitalize()
        listed.append((kind, f"{number}_{kind}"))
        own = folder / listed[-1][1]
        own.mkdir(exist_ok=True)
        if step["name"] == DENSE:
            values = {name: step[name] for name in ("in_features", "out_features", "bias")}
            write_json(own / "config.json", values | {"activation_function": ACTIVATIONS[step["activation"]]})
            write_dense(num_dense, own)
            num_dense += 1
    names = [
        {"idx": index, "name": str(index), "path": path, "type": f"{WRITTEN_PREFIX}.{kind}"}
        for index, (kind, path) in enumerate(listed)
    ]
    write_json(folder / MODULES_NAME, names)
    limit = {"max_seq_length": modules.max_length, "do_lower_case": modules.lowers_case}
    write_json(folder / LIMIT_NAME, limit)
    prompts = {"prompts": modules.prompts, "default_prompt_name": modules.default_prompt_name}
    write_json(folder / SETTINGS_NAME, prompts | {"similarity_fn_name": modules.similarity or "cosine"})


def describe_pooling(pooling: Sequence[str], width: int) -> dict[str, Any]:
    """In the words that all versions read, but where vectors are joined in an order that those cannot say."""
    if list(pooling) != [name for name in POOLING_FLAGS if name in pooling]:
        return {"embedding_dimension": width, "pooling_mode": list(pooling), "include_prompt": True}
    flags = {flag: name in pooling for name, flag in POOLING_FLAGS.items()}
    return {"word_embedding_dimension": width, **flags, "include_prompt": True}


def write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def drop_paths(modules: SentenceModules) -> SentenceModules:
    """Without where the dense weights lay: of no meaning in another folder."""
    steps = [{name: value for name, value in step.items() if name != "path"} for step in modules.steps]
    return replace(modules, steps=tuple(steps))
