"""Students and layers that do not come from the teacher: another checkpoint to cut from, or an existing smaller model.

Entry: `load_other_config`, `check_source` and `check_same_vocabulary` before any data are read, `load_source` and
`load_checked_student` before a teacher is fine-tuned, `graft_encoder` and `load_existing_student` once it is there.
"""

import copy
import logging
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from layer_distillation.embedding.pooled_model import DENSE_NAME, is_pooled
from layer_distillation.tasks.kinds.entry import TaskKind
from layer_distillation.tasks.loading import TaskData
from layer_distillation.tasks.model_checks import (
    check_tensors,
    check_vocabulary,
    explain_errors,
    get_auto_class,
    one_line_errors,
    quiet_loading,
)
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.folder_kinds import check_folder_kind
from layer_distillation.teachers.label_matching import check_label_count, match_head_to_task, set_task_labels
from layer_distillation.teachers.loading import list_own_options, load_tokenizer
from student_init import collect_tensors

logger = logging.getLogger(__name__)

# What has to agree before weights of one checkpoint can stand where another's were.
SHARED_CONFIG_NAMES = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "vocab_size",
    "intermediate_size",
    # No weights tell these, and they decide what the weights do.
    "hidden_act",
    "hidden_activation",
    "layer_norm_eps",
    "rms_norm_eps",
    "rope_parameters",
)


# ---- checks, from configs and tokenizers alone -------------------------------------------------------------------


def check_source(
    location: str, arguments: TeacherArguments, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Raises ValueError where `location` is not the teacher's architecture, sizes and vocabulary."""
    source = load_other_config(location, arguments, "--student_source_model")
    names = ("model_type",) if source.model_type != config.model_type else SHARED_CONFIG_NAMES
    for name in names:
        own, wanted = getattr(source, name, None), getattr(config, name, None)
        if own != wanted:
            raise ValueError(
                f"--student_source_model {location} has {name} {own}, and the teacher {wanted}: give a checkpoint of "
                "the teacher's architecture and sizes, such as the one that it was fine-tuned from"
            )
    check_same_vocabulary(location, arguments, tokenizer, "--student_source_model")


def load_other_config(location: str, arguments: TeacherArguments, flag: str) -> PreTrainedConfig:
    """Raises ValueError where nothing loadable is there; `arguments` says whether its own code may run."""
    check_folder_kind(location)
    remedy = "give a folder with a config.json, or the name of a model on the Hub"
    with explain_errors(location, f"no model could be loaded from {flag} {location!r}", remedy):
        return AutoConfig.from_pretrained(location, trust_remote_code=arguments.trust_remote_code)


def has_other_vocabulary(location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a token has another number in the two, or is in one alone; ValueError where no tokenizer is there."""
    other = load_tokenizer(location, TeacherArguments(trust_remote_code=arguments.trust_remote_code))
    return other.get_vocab() != tokenizer.get_vocab()


def check_same_vocabulary(
    location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase, flag: str
) -> None:
    """Raises ValueError unless every token has the same number in both: one text is read by teacher and student."""
    other = load_tokenizer(location, TeacherArguments(trust_remote_code=arguments.trust_remote_code))
    if other.get_vocab() != tokenizer.get_vocab():
        shared = len(other.get_vocab().items() & tokenizer.get_vocab().items())
        raise ValueError(
            f"{flag} {location} has another vocabulary than the teacher ({len(other)} and {len(tokenizer)} tokens, "
            f"{shared} of them with the same number): give a model with the teacher's tokenizer"
        )


# ---- another checkpoint to cut from ------------------------------------------------------------------------------


def load_source(
    location: str, arguments: TeacherArguments, config: PreTrainedConfig, kind: TaskKind
) -> tuple[PreTrainedModel, set[str]]:
    """Another checkpoint as a model of the teacher's config, and the names of the weights that it lacks.

    Raises:
        ValueError: its weights cannot be loaded, or are not the teacher's in shape.
    """
    config = copy.deepcopy(config)
    with quiet_loading(), one_line_errors(location):
        source, loading = get_auto_class(kind).from_pretrained(
            location,
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=arguments.trust_remote_code,
        )
    prefix = f"{source.base_model_prefix}."
    mismatched = [entry for entry in loading["mismatched_keys"] if entry[0].startswith(prefix)]  # a head may differ
    missing = {name for name in loading["missing_keys"] if not name.startswith(f"{prefix}{DENSE_NAME}.")}
    check_tensors(source, loading | {"mismatched_keys": mismatched, "missing_keys": missing}, location)
    return source, missing


def graft_encoder(teacher: PreTrainedModel, source: PreTrainedModel, absent: set[str]) -> PreTrainedModel:
    """A copy of the teacher with the encoder (embeddings, layers, norms) of what `load_source` gave.

    The head is always the teacher's, a pooler too where it is a part of the encoder and the checkpoint has none: only
    the teacher's is known to answer this task in this order of labels. Of a sentence encoder its dense layers are that.
    """
    prefix = f"{teacher.base_model_prefix}."
    source_tensors = collect_tensors(source)
    model = copy.deepcopy(teacher)
    own_prefix = prefix if is_pooled(teacher) else ""  # such a one has the encoder's names, without what leads to it
    for name, tensor in collect_tensors(model).items():
        is_head = not f"{own_prefix}{name}".startswith(prefix) or name.startswith(f"{DENSE_NAME}.")
        if not is_head and f"{own_prefix}{name}" not in absent and name in source_tensors:
            tensor.data = source_tensors[name].to(tensor.device, tensor.dtype)
    return model


# ---- an existing smaller model -----------------------------------------------------------------------------------


def load_existing_student(
    location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase, data: TaskData, seed: int
) -> PreTrainedModel:
    """The model in float32 and eval mode, answering the task's labels in their order.

    Its head is kept where it has the task's labels; else a new one is drawn from `seed`, and that is said.

    Raises:
        ValueError: its weights cannot be loaded, or it embeds fewer tokens than there are.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model, has_head = load_checked_student(location, arguments, tokenizer, data.kind)
        if not (has_head and has_task_labels(model, data)):
            model = draw_new_head(model, data, arguments)
            logger.info("the student %s gets a new head for the task's labels", Path(location).name)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.float().eval()


def load_checked_student(
    location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase, kind: TaskKind
) -> tuple[PreTrainedModel, bool]:
    """The model as it was saved, and whether all of its head was; what was not is drawn from torch's generator.

    Raises:
        ValueError: its weights cannot be loaded, or it embeds fewer tokens than there are.
    """
    with quiet_loading(), one_line_errors(location):
        model, loading = get_auto_class(kind).from_pretrained(
            location,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=arguments.trust_remote_code,
            **list_own_options(arguments, kind),
        )
    check_tensors(model, loading, location)
    check_vocabulary(model, tokenizer, location)
    return model, not loading["missing_keys"]


def draw_new_head(model: PreTrainedModel, data: TaskData, arguments: TeacherArguments) -> PreTrainedModel:
    """The same encoder below a head of the task's labels, which is drawn from torch's generator."""
    config = copy.deepcopy(model.config)
    set_task_labels(config, data.label_names, data.kind)
    drawn = get_auto_class(data.kind).from_config(
        config, dtype=torch.float32, trust_remote_code=arguments.trust_remote_code
    )
    drawn.base_model.load_state_dict(model.base_model.state_dict())
    return drawn


def has_task_labels(model: PreTrainedModel, data: TaskData) -> bool:
    """Whether its head answers the task; brings the answers into the task's order where that is another."""
    try:
        check_label_count(model.config, data.kind, model.name_or_path)
        match_head_to_task(model, data.label_names, model.name_or_path, data.kind)
    except ValueError:
        return False
    return True
