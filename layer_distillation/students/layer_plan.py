"""The layers of a run's student, and every check on layers, by what the configs say: before data and training.

Entry: `plan_layers`.
"""

from collections.abc import Mapping

import torch
from transformers import PreTrainedConfig

from layer_distillation.architectures.traits import warn_about
from layer_distillation.layers.strategies import choose_student_layers, parse_layer_list
from layer_distillation.losses.flags import STATE_TERMS
from layer_distillation.losses.layer_matching import (
    BEST,
    FINAL_NORM_MODEL_TYPES,
    check_final_norm,
    resolve_layer_matching,
)
from layer_distillation.losses.terms import (
    check_architecture_fits,
    check_attentions_fit,
    check_patient_layers,
    select_term_weights,
)
from layer_distillation.outputs.relation_targets import resolve_relation_layer
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES
from layer_distillation.students.preparation import plan_student
from layer_distillation.students.settings import StudentSettings
from layer_distillation.tasks.kinds.table import guess_kind
from layer_distillation.tasks.model_checks import explain_errors, get_auto_class
from student_init import check_layers_fit, check_skeleton, find_layer_stack, get_num_layers

STAND_IN = "top"  # possible wherever any layers are: what is checked with it holds for as many others


def plan_layers(settings: StudentSettings, config: PreTrainedConfig) -> list[int | None] | None:
    """The teacher layer of each student layer, and every check on layers that the config allows; None where the layers
    are for `search_layers` to choose, once teacher and data are there. No layer of an existing student is one."""
    teacher_num_layers, student_config = get_num_layers(config), plan_student(settings, config)
    is_searched = settings.student.layer_strategy in SEARCHED_STRATEGIES
    layers = name_layers(settings, config, student_config)
    check_layers_fit(config, layers)
    kind = guess_kind(settings.data, config)
    problem = f"the teacher's config builds no model for {kind.name}"
    remedy = "correct its config.json, or give another --teacher_model_name_or_path"
    # The shape alone shows whether there is one stack of layers to cut.
    with explain_errors(config.name_or_path, problem, remedy), torch.device("meta"):
        skeleton = get_auto_class(kind).from_config(config, trust_remote_code=settings.teacher.trust_remote_code)
    find_layer_stack(skeleton)
    if not is_searched and settings.student.student_model_name_or_path is None:
        check_skeleton(skeleton, layers)
    warn_about(config.model_type)
    terms = select_term_weights(settings.training, has_teacher=True)
    check_patient_layers(len(layers), settings.training, terms)
    if (matching := settings.training.layer_matching) in SEARCHED_STRATEGIES:
        check_searched_matching(config, matching, len(layers), terms)
    elif matching != BEST:
        matching = resolve_layer_matching(matching, teacher_num_layers, len(layers), settings.training.seed)
        if terms.keys() & STATE_TERMS:
            check_final_norm(config.model_type, matching, teacher_num_layers)
    check_attentions_fit(student_config, config, terms)
    check_architecture_fits([config, student_config], settings.training, terms)
    resolve_relation_layer(settings.training.relation_layer, teacher_num_layers)
    return None if is_searched else layers


def check_searched_matching(config: PreTrainedConfig, name: str, num_layers: int, terms: Mapping[str, float]) -> None:
    """Raises ValueError where the strategy `name` finds no layers that a student of `num_layers` could imitate."""
    if num_layers > (highest := get_num_layers(config)):
        raise ValueError(
            f"--layer_matching {name} finds at most the teacher's {highest} layers, and the student has {num_layers}: "
            "take block, or list them"
        )
    if config.model_type in FINAL_NORM_MODEL_TYPES and terms.keys() & STATE_TERMS:
        raise ValueError(
            f"--layer_matching {name} need not name the last layer, and in {config.model_type} that one alone has "
            f"passed the final norm: take {BEST} or block"
        )


def name_layers(
    settings: StudentSettings, config: PreTrainedConfig, student_config: PreTrainedConfig
) -> list[int | None]:
    """The teacher layer of each student layer; for a strategy that looks at data as many that are possible."""
    student = settings.student
    if student.student_model_name_or_path is not None:
        return [None] * get_num_layers(student_config)
    return choose_student_layers(
        STAND_IN if student.layer_strategy in SEARCHED_STRATEGIES else student.layer_strategy,
        get_num_layers(config),
        student.student_num_layers,
        student_layers=None if student.student_layers is None else parse_layer_list(student.student_layers),
        seed=settings.training.seed,
    )


def count_student_layers(settings: StudentSettings, config: PreTrainedConfig) -> int:
    """The layers of a student whose layers are yet to be chosen."""
    return len(choose_student_layers(STAND_IN, get_num_layers(config), settings.student.student_num_layers))
