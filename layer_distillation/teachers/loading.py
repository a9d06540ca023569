"""The teacher: loaded, its labels matched to the task's, and fine-tuned once where its head is untrained.

Entry: `prepare_teacher`. A fine-tuned teacher is kept under `<cache_dir>/teachers/<fingerprint>`, where every later run
with the same encoder, data and training settings finds it.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from distill_trainer import DistillationTrainingArguments
from layer_distillation.architectures.traits import LEFT_PADDED_MODEL_TYPES
from layer_distillation.records.locks import make_lock
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
from layer_distillation.tasks.natural_logic import build_untrained_model, write_untrained_encoder
from layer_distillation.teachers.answers import Answers
from layer_distillation.teachers.arguments import NO_LAYER_DECAY, TASK_LOSS, TEACHER_SEED, TeacherArguments
from layer_distillation.teachers.cross_encoders import check_modules
from layer_distillation.teachers.folder_kinds import check_folder_kind
from layer_distillation.teachers.label_matching import LabelMatch, adopt_labels, set_task_labels
from layer_distillation.teachers.training import fine_tune_once

logger = logging.getLogger(__name__)

BUILT_IN_TEACHER = "natural_logic"
NAMING_CONFIG_KEYS = frozenset(
    {"_name_or_path", "architectures", "distillation", "dtype", "id2label", "label2id", "transformers_version"}
)
TEACHER_TRAINING_VERSION = 2  # of how one is fine-tuned: batches, dropout; a teacher of another is not found again
TEACHER_TRAINING_SETTINGS = (
    "teacher_learning_rate",
    "teacher_num_train_epochs",
    "teacher_train_batch_size",
    "teacher_warmup_steps",
    "teacher_weight_decay",
    "teacher_adam_beta2",
)
# What of the student's training settings the teacher's share: where and in which precision, never how.
SHARED_TRAINING_ARGUMENTS = (
    "use_cpu",
    "bf16",
    "fp16",
    "tf32",
    "per_device_eval_batch_size",
    "disable_tqdm",
    "log_level",
    "dataloader_num_workers",
)


@dataclass
class Teacher:
    """A teacher ready to be imitated, its outputs in the task's label order."""

    model: PreTrainedModel | None  # None once its outputs are all on disk
    tokenizer: PreTrainedTokenizerBase
    name: str
    location: str
    fingerprint: str
    is_trained: bool
    seed: int | None = None  # of its fine-tuning, where that was done here
    labels: LabelMatch | None = None  # what it answers, where its head was trained before
    answers: Answers | None = None  # where they do not come from `model`, which is then what the student is cut from

    def forget_weights(self) -> None:
        """All that it answers is on disk."""
        self.model = None
        if self.answers is not None:
            self.answers.reader = None

    @property
    def body_fingerprint(self) -> str:
        """Of the model that the student's layers come from."""
        return self.fingerprint if self.answers is None else self.answers.body_fingerprint

    @property
    def public_name(self) -> str:
        """The Hub's name, or of a local folder the last part: what leaves this machine names none of its paths."""
        return Path(self.name).name if Path(self.name).is_dir() else self.name


def locate_teacher(arguments: TeacherArguments) -> str:
    """The folder or Hub name to load from; the built-in encoder is written into the cache first."""
    if arguments.teacher_model_name_or_path is not None:
        return arguments.teacher_model_name_or_path
    version = fingerprint_model(build_untrained_model(TEACHER_SEED))[:16]
    folder = Path(arguments.cache_dir).expanduser() / "encoders" / f"{BUILT_IN_TEACHER}-{version}"
    state = PartialState()
    with state.main_process_first():
        if state.is_main_process:
            make_folder(folder.parent)
            with make_lock(folder.with_suffix(".lock")):
                if not folder.exists():
                    write_untrained_encoder(folder, seed=TEACHER_SEED)
    return str(folder)


def make_folder(folder: Path) -> None:
    """Creates the folder.

    Raises:
        ValueError: it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be created ({error.strerror}): give another --cache_dir") from error


def load_teacher_config(location: str, arguments: TeacherArguments) -> PreTrainedConfig:
    """The config alone, for every check that needs no weights.

    Raises:
        ValueError: nothing loadable is there.
    """
    check_folder_kind(location, arguments.teacher_revision)
    remedy = "give --teacher_model_name_or_path a folder with a config.json, or the name of a model on the Hub"
    with explain_errors(location, f"no model could be loaded from {location!r}", remedy):
        return AutoConfig.from_pretrained(
            location, revision=arguments.teacher_revision, trust_remote_code=arguments.trust_remote_code
        )


def load_tokenizer(location: str, arguments: TeacherArguments) -> PreTrainedTokenizerBase:
    """The teacher's tokenizer, which student and store share. It pads on the right: padding on the left shifts the
    positions of the tokens, and what a row means would go by what it is batched with. XLNet's positions are relative
    and its head reads the last of them: on the right it would read padding.

    Raises:
        ValueError: none is there, or it cannot pad.
    """
    problem, remedy = f"no tokenizer could be loaded from {location!r}", "save the teacher's tokenizer there"
    with explain_errors(location, problem, remedy):
        tokenizer = AutoTokenizer.from_pretrained(
            location, revision=arguments.teacher_revision, trust_remote_code=arguments.trust_remote_code
        )
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # transformers 5 makes an empty one where there is none
        raise ValueError(f"{problem}: {remedy}")
    is_padded_left = load_teacher_config(location, arguments).model_type in LEFT_PADDED_MODEL_TYPES
    tokenizer.padding_side = "left" if is_padded_left else "right"
    tokenizer.chat_template = None  # a classifier has no use for one, and names of templates become names of files
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer of {location!r} has no pad token: give it one and save it again")
        tokenizer.pad_token = tokenizer.eos_token  # decoders such as gpt2 and llama come without
    return tokenizer


def prepare_teacher(
    arguments: TeacherArguments,
    training_arguments: DistillationTrainingArguments,
    location: str,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    data_fingerprint: str,
    compute_metrics: Callable,
) -> Teacher:
    """Loads the teacher; fine-tunes it first where its head is untrained (or finds it in the cache).

    Raises:
        ValueError: an untrained head that may not be trained, or labels that do not match the task's.
    """
    model, is_head_new, labels = load_checked(location, arguments, tokenizer, data)
    name = arguments.teacher_model_name_or_path or BUILT_IN_TEACHER
    if not is_head_new:
        return Teacher(model, tokenizer, name, location, fingerprint_model(model), is_trained=True, labels=labels)
    if arguments.allow_untrained_teacher:
        logger.warning("the head of %s is untrained and stays so: what the student imitates is noise", name)
        return Teacher(model, tokenizer, name, location, fingerprint_model(model), is_trained=False)
    folder, seed = locate_fine_tuned(arguments, model, data_fingerprint), arguments.seeds[0]
    training = make_training_arguments(arguments, training_arguments)
    fine_tune_once(folder, model, tokenizer, data, training, compute_metrics, arguments.teacher_layer_decay)
    model = get_auto_class(data.kind).from_pretrained(
        folder, use_safetensors=True, trust_remote_code=arguments.trust_remote_code
    )
    return Teacher(model, tokenizer, name, location, fingerprint_model(model), is_trained=True, seed=seed)


def locate_fine_tuned(arguments: TeacherArguments, model: PreTrainedModel, data_fingerprint: str) -> Path:
    """Where the fine-tuned form of a model, whose head is new, is kept, whether or not it is there yet."""
    settings = {key: value for key, value in asdict(arguments).items() if key in TEACHER_TRAINING_SETTINGS}
    settings["training_version"] = TEACHER_TRAINING_VERSION
    settings["seed"] = arguments.seeds[0]
    if arguments.teacher_layer_decay != NO_LAYER_DECAY:  # teachers from before it existed are found
        settings["teacher_layer_decay"] = arguments.teacher_layer_decay
    if arguments.teacher_metric_for_best_model != TASK_LOSS:
        settings["teacher_metric_for_best_model"] = arguments.teacher_metric_for_best_model
    fingerprint = hash_text(json.dumps([fingerprint_model(model), data_fingerprint, settings], sort_keys=True))[:16]
    return Path(arguments.cache_dir).expanduser() / "teachers" / fingerprint


def load_checked(
    location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase, data: TaskData
) -> tuple[PreTrainedModel, bool, LabelMatch | None]:
    """The model, whether its head was newly initialised and, of a trained one, the labels that it brings to the task.

    Raises:
        ValueError: as `prepare_teacher`.
    """
    labels = None
    if data.kind.is_cross_encoder:
        check_modules(location, arguments.teacher_revision)
    model, is_head_new = load_with_task_head(location, arguments, tokenizer, data)
    name = arguments.teacher_model_name_or_path or BUILT_IN_TEACHER
    if not is_head_new:
        labels = adopt_labels(model, data, name)
        if len(arguments.seeds) > 1:
            raise ValueError(
                f"--teacher_seeds {arguments.teacher_seeds} makes no several teachers of {name}, which is fine-tuned "
                "already: give one seed, and other fine-tuned models by --additional_teachers"
            )
    elif data.is_taught_alone and not arguments.allow_untrained_teacher:
        raise ValueError(
            f"the classification head of {name} is newly initialised, and no training row has a gold label to train it "
            "by: give a fine-tuned model, or labelled rows (their labels' column by --label_column)"
        )
    elif arguments.teacher_training == "never" and not arguments.allow_untrained_teacher:
        raise ValueError(
            f"the classification head of {name} is newly initialised, not trained: give a fine-tuned model, or "
            "--teacher_training auto to fine-tune it here first (or --allow_untrained_teacher to distil noise)"
        )
    return model, is_head_new, labels


def make_training_arguments(
    arguments: TeacherArguments, shared: DistillationTrainingArguments
) -> DistillationTrainingArguments:
    """The fine-tuning's settings; `teacher_train_batch_size` counts the rows of all processes together."""
    processes = PartialState().num_processes
    return DistillationTrainingArguments(
        output_dir="set by fine_tune",
        learning_rate=arguments.teacher_learning_rate,
        num_train_epochs=arguments.teacher_num_train_epochs,
        per_device_train_batch_size=max(arguments.teacher_train_batch_size // processes, 1),
        warmup_steps=arguments.teacher_warmup_steps,
        weight_decay=arguments.teacher_weight_decay,
        adam_beta2=arguments.teacher_adam_beta2,
        metric_for_best_model=arguments.teacher_metric_for_best_model,
        seed=arguments.seeds[0],
        **{name: getattr(shared, name) for name in SHARED_TRAINING_ARGUMENTS},
    )


def load_with_task_head(
    location: str, arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase, data: TaskData
) -> tuple[PreTrainedModel, bool]:
    """The model, and whether its head was newly initialised; a new head gets the task's labels."""
    common = {"revision": arguments.teacher_revision, "trust_remote_code": arguments.trust_remote_code}
    # Other sizes are refused by name below; transformers' own error points to a report that is not shown here.
    options = (
        common | {"use_safetensors": True, "ignore_mismatched_sizes": True} | list_own_options(arguments, data.kind)
    )
    load = get_auto_class(data.kind).from_pretrained
    with quiet_loading(), one_line_errors(location):
        model, loading = load(location, output_loading_info=True, **options)
    check_tensors(model, loading, location)
    is_head_new = bool(loading["missing_keys"])
    if is_head_new:
        set_seed(arguments.seeds[0])
        config = AutoConfig.from_pretrained(location, **common)
        set_task_labels(config, data.label_names, data.kind)
        with quiet_loading():
            model = load(location, config=config, **options)
    check_vocabulary(model, tokenizer, location)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.float(), is_head_new


def list_own_options(arguments: TeacherArguments, kind: TaskKind) -> dict[str, Any]:
    """What the loader of a kind with models of its own is told beside what every one is."""
    return (
        {} if kind.find_loader is None else {"pooling": arguments.pooling, "normalize": arguments.normalize_embeddings}
    )


def fingerprint_model(model: PreTrainedModel) -> str:
    """sha256 over what decides the outputs: class, config (without names and labels), and all tensors."""
    config = {name: value for name, value in model.config.to_dict().items() if name not in NAMING_CONFIG_KEYS}
    digest = hashlib.sha256(json.dumps([type(model).__name__, config], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
