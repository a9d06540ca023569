"""Makes the untrained student of a run: cut from the teacher or another checkpoint, narrower, or an existing model.

Entry: `plan_student` and `check_origin` before data are read, `check_origin_weights` before a teacher is fine-tuned,
then `make_student`, `choose_matching` and `start_projections`. What looks at rows looks at the same
`--calibration_rows` training rows, labelled ones, drawn by `--sample_seed` alone. A plain student looks at none.
"""

import logging
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.layers.strategies import Layers
from layer_distillation.losses.layer_matching import (
    BEST,
    FINAL_NORM_MODEL_TYPES,
    match_in_order,
    resolve_layer_matching,
)
from layer_distillation.losses.projections import fit_projections
from layer_distillation.losses.terms import list_projected_pairs, select_term_weights
from layer_distillation.records.process_locks import agree_on_failure
from layer_distillation.students.layer_scores import Batch
from layer_distillation.students.layer_similarity import compare_with_teacher, iterate_batches, run_teacher, sample_rows
from layer_distillation.students.settings import StudentSettings
from layer_distillation.students.source import (
    check_same_vocabulary,
    check_source,
    graft_encoder,
    load_checked_student,
    load_existing_student,
    load_other_config,
    load_source,
)
from layer_distillation.students.vector_width import fit_vectors, keep_steps, read_as_teacher
from layer_distillation.students.width import (
    Widths,
    get_widths,
    narrow_config,
    narrow_student,
    resolve_widths,
    select_units,
)
from layer_distillation.students.width_measures import (
    check_components,
    choose_width_init,
    measure_components,
    measure_importance,
)
from layer_distillation.tasks.kinds.entry import VECTOR, TaskKind
from layer_distillation.tasks.loading import TaskData
from layer_distillation.teachers.loading import Teacher, fingerprint_model
from student_init import build_student, get_num_layers

logger = logging.getLogger(__name__)


# ---- what the configs alone say ----------------------------------------------------------------------------------


def plan_student(settings: StudentSettings, teacher: PreTrainedConfig) -> PreTrainedConfig:
    """A config with the student's widths, but not yet its layers and labels: of the existing model, where one is named.

    Raises:
        ValueError: there is no such student.
    """
    if settings.student.student_model_name_or_path is not None:
        flag = "--student_model_name_or_path"
        config = load_other_config(settings.student.student_model_name_or_path, settings.teacher, flag)
        get_num_layers(config)
        return config
    if not settings.student.wants_width:
        return teacher
    widths = resolve_student_widths(settings, teacher)
    if settings.student.student_width_init == "principal_components":
        check_components(teacher)
    return narrow_config(teacher, widths)


def resolve_student_widths(settings: StudentSettings, teacher: PreTrainedConfig) -> Widths:
    student = settings.student
    sizes = (student.student_hidden_size, student.student_intermediate_size, student.student_attention_heads)
    return resolve_widths(teacher, *sizes)


def check_origin(settings: StudentSettings, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ValueError where the named checkpoint does not go with the teacher."""
    student = settings.student
    if student.student_source_model is not None:
        check_source(student.student_source_model, settings.teacher, config, tokenizer)
    if student.student_model_name_or_path is not None:
        flag = "--student_model_name_or_path"
        check_same_vocabulary(student.student_model_name_or_path, settings.teacher, tokenizer, flag)


def check_origin_weights(
    settings: StudentSettings, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, kind: TaskKind
) -> None:
    """Loads the named checkpoint once and lets it go, so that its faults show before any teacher is fine-tuned.

    Raises:
        ValueError: as `make_student`, which would load it hours later.
    """
    student = settings.student
    if student.student_source_model is not None:
        load_source(student.student_source_model, settings.teacher, config, kind)
    if student.student_model_name_or_path is not None:
        load_checked_student(student.student_model_name_or_path, settings.teacher, tokenizer, kind)


# ---- the student -------------------------------------------------------------------------------------------------


def make_student(
    settings: StudentSettings, teacher: Teacher, data: TaskData, layers: Layers, strategy: str
) -> PreTrainedModel:
    """The untrained student; `config.distillation` says what it was made of, another checkpoint by its fingerprint.

    Raises:
        ValueError: it cannot be cut so, or a checkpoint cannot be loaded.
    """
    student_arguments, seed = settings.student, settings.training.seed
    if (existing := student_arguments.student_model_name_or_path) is not None:
        student = load_existing_student(existing, settings.teacher, teacher.tokenizer, data, seed)
        if data.outputs == VECTOR:
            read_as_teacher(student, teacher.model)
            student = fit_vectors(student, teacher.model, make_calibration_batches(settings, teacher, data))
        origin = describe_origin(existing, student)
        student.config.distillation = {"teacher": teacher.public_name, "strategy": strategy}
        student.config.distillation |= {"student_layers": list(layers), "source": origin}
        return student
    source, origin = teacher.model, None
    if teacher.answers is not None:
        origin = teacher.answers.origin
    elif student_arguments.student_source_model is not None:
        loaded = load_source(student_arguments.student_source_model, settings.teacher, teacher.model.config, data.kind)
        source = graft_encoder(teacher.model, *loaded)
        origin = describe_origin(student_arguments.student_source_model, source)
    student = build_student(source, layers, strategy, teacher.public_name, seed=seed)
    if student_arguments.wants_width:
        student = narrow(student, source, layers, settings, teacher, data)
        if data.outputs == VECTOR:
            student = fit_vectors(student, teacher.model, make_calibration_batches(settings, teacher, data))
    if origin is not None:
        student.config.distillation["source"] = origin
    return student


def describe_origin(location: str, model: PreTrainedModel) -> dict[str, str]:
    """Its name, and what tells two checkpoints of that name apart."""
    return {"name": name_origin(location), "fingerprint": fingerprint_model(model)}


def name_origin(location: str) -> str:
    """The Hub's name, or of a local folder the last part."""
    return Path(location).name if Path(location).is_dir() else location


def narrow(
    student: PreTrainedModel,
    source: PreTrainedModel,
    layers: Layers,
    settings: StudentSettings,
    teacher: Teacher,
    data: TaskData,
) -> PreTrainedModel:
    """The student at its own sizes; what it keeps is measured on the model that its layers come from."""
    own, widths = get_widths(source.config), resolve_student_widths(settings, source.config)
    init = settings.student.student_width_init or choose_width_init(source.config, widths.hidden)
    if widths == own:
        return student
    if data.outputs == VECTOR:  # a dense layer of its own takes the place of what reads the wide vectors
        student = keep_steps(student, [])
    importance = basis = None
    if init != "truncation":
        batches, is_quiet = make_calibration_batches(settings, teacher, data), settings.training.disable_tqdm
        source = source.to(settings.training.device)
        importance = measure_importance(source, batches, is_quiet)
        if init == "principal_components" and widths.hidden < own.hidden:
            basis = measure_components(source, batches, widths.hidden, is_quiet)
    selection = select_units(source.config, widths, importance, basis)
    student = narrow_student(student, layers, widths, selection, settings.training.seed)
    student.config.distillation["width_init"] = init
    logger.info("student: %d hidden, %d heads, %d units (%s)", widths.hidden, widths.heads, widths.units, init)
    return student


def make_calibration_batches(settings: StudentSettings, teacher: Teacher, data: TaskData) -> list[Batch]:
    """The model inputs of the calibration rows, padded."""
    rows = sample_rows(data.train, settings.student.calibration_rows, settings.data.sample_seed)
    return list(iterate_batches(rows, teacher.tokenizer, settings.training.device))


# ---- what it imitates --------------------------------------------------------------------------------------------


def choose_matching(settings: StudentSettings, teacher: Teacher, data: TaskData, student: PreTrainedModel) -> list[int]:
    """The imitated teacher layer of every student layer; `best` looks at the untrained student, at work on some rows.

    What it found is left in `config.distillation`: the linear CKA of each pair, over tokens.

    Raises:
        ValueError: a layer's output is the same for every token.
    """
    matching, num_layers = settings.training.layer_matching, get_num_layers(teacher.model.config)
    if matching != BEST:
        return resolve_layer_matching(matching, num_layers, get_num_layers(student.config), settings.training.seed)
    found: list[list[list[float]]] = [[]]
    with agree_on_failure():
        if PartialState().is_main_process:
            device, is_quiet = settings.training.device, settings.training.disable_tqdm
            rows = sample_rows(data.train, settings.student.calibration_rows, settings.data.sample_seed)
            batches = run_teacher(teacher.model, rows, teacher.tokenizer, device, is_quiet)
            found = [compare_with_teacher(student.to(device), batches, is_quiet)[0]]
    similarity = broadcast_object_list(found)[0]  # one opinion, whatever rounding other devices add
    layers = match_in_order(similarity, ends_meet=teacher.model.config.model_type in FINAL_NORM_MODEL_TYPES)
    pairs = [row[layer] for row, layer in zip(similarity, layers, strict=True)]
    student.config.distillation["matching_similarity"] = pairs
    shown = ", ".join(f"{layer} ({value:.3f})" for layer, value in zip(layers, pairs, strict=True))
    logger.info("best matching, from the input, teacher layer (linear CKA before training): %s", shown)
    return layers


def start_projections(
    settings: StudentSettings, teacher: Teacher, data: TaskData, student: PreTrainedModel, layer_matching: list[int]
) -> dict[int, Tensor] | None:
    """Where the projections of a student of another width start; None where it needs none."""
    terms = select_term_weights(settings.training, has_teacher=True)
    pairs = list_projected_pairs(student.config, teacher.model.config, terms, layer_matching)
    if not pairs:
        return None
    device = settings.training.device
    batches = make_calibration_batches(settings, teacher, data)
    return fit_projections(student.to(device), teacher.model.to(device), batches, pairs)
