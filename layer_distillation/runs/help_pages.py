"""What --help and --help_all print: the flags in groups, each with its default, as wide as the terminal.

Entry: `format_help_page`.
"""

from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter

from layer_distillation.records.command_names import name_commands

# The flags that most runs are told something by; every other one is on the page of --help_all.
MAIN_FLAGS = {
    "teacher": ("teacher_model_name_or_path", "teacher_training", "teacher_outputs", "cache_dir"),
    "data": ("task_name", "dataset_name", "train_file", "validation_file", "test_file", "text_columns", "label_column")
    + ("max_train_samples",),
    "student": ("layer_strategy", "student_num_layers", "student_layers"),
    "loss": ("ce_weight", "kl_weight", "hidden_weight", "pkd_weight", "temperature", "layer_matching"),
    "training": ("num_train_epochs", "per_device_train_batch_size", "learning_rate", "seed"),
    "output": ("output_dir", "export", "report_to"),
    "Hub": ("push_to_hub", "hub_model_id"),
}
# Of --help_all: the first group of which a name begins with one of these words has the flag.
WORDS = {
    "teacher": ("teacher_", "additional_teachers", "allow_untrained_teacher", "cache_dir", "trust_remote_code")
    + ("soft_label_", "zero_shot_", "hypothesis_", "pooling", "normalize_embeddings"),
    "data": ("task_name", "dataset_", "validation_", "train_file", "test_file", "text_", "label_column", "label_kind")
    + (
        "metrics",
        "unlabeled_",
        "max_length",
        "max_train_samples",
        "max_eval_",
        "max_unlabeled_",
        "recombined_",
        "sample_seed",
    )
    + ("prompt_name", "evaluation_files", "task_type", "decision_threshold", "doc_stride", "version_2_", "null_score_")
    + ("n_best_size", "max_answer_length"),
    "student": ("student_", "layer_strategy", "calibration_rows", "beam_width"),
    "loss": ("ce_", "kl_", "hidden_", "attention_", "logit_cosine", "pkd_", "embedding_", "relation_", "rkd_")
    + ("margin_", "similarity_", "matryoshka_dims")
    + ("class_weights", "temperature", "schedules", "intermediate_", "second_stage", "layer_matching"),
    "output": ("output_dir", "keep_checkpoints", "save_", "resume_from", "logging_", "log_", "report_to", "run_name")
    + ("disable_tqdm", "project", "trackio_", "export", "trim_vocabulary"),
    "Hub": ("push_to_hub", "hub_"),
    "several processes": ("ddp_", "fsdp", "deepspeed", "local_rank", "accelerator_config", "parallelism_config")
    + ("average_tokens",),
    "training": ("",),
}
ORDER = ("teacher", "data", "student", "loss", "training", "several processes", "output", "Hub")
FLAG_COLUMN, WIDEST = 28, 120
MOST_CHOICES = 4  # that a line shows beside the flag; more are named below it
PLACEHOLDERS = {int: "N", float: "X", str: "TEXT"}
MAIN_HINT = (
    "--help_all shows every flag, those of transformers.TrainingArguments too. A recipe is a YAML file of flags "
    "without --; what is given after it wins."
)
WHOLE_HINT = "What is on by default has a --no_ form as well. A recipe is a YAML file of flags without --."


class PageFormatter(HelpFormatter):
    """One spelling of each flag, a short placeholder, and the default behind the text that does not tell it."""

    def _format_action_invocation(self, action: Action) -> str:
        return " ".join(filter(None, [action.option_strings[0], name_value(action)]))

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        if (
            action.choices is not None
            and len(action.choices) > MOST_CHOICES
            and not all(str(choice) in text for choice in action.choices)
        ):
            text += f" One of: {', '.join(map(str, action.choices))}."
        default = format_default(action.default)
        has_own = default is None or "default" in text.lower()
        return text if has_own else f"{text} (default: {default})"


def format_help_page(parser: ArgumentParser, is_whole: bool) -> str:
    """The page of the main flags, or of all."""
    formatter = PageFormatter(prog=parser.prog, max_help_position=FLAG_COLUMN, width=None)
    formatter._width = min(formatter._width, WIDEST)
    formatter.add_usage(parser.usage, [], [])
    formatter.add_text(parser.description)
    for title, actions in group_flags(parser, is_whole).items():
        formatter.start_section(title)
        formatter.add_arguments(actions)
        formatter.end_section()
    formatter.add_text(WHOLE_HINT if is_whole else MAIN_HINT)
    return name_commands(formatter.format_help())


def group_flags(parser: ArgumentParser, is_whole: bool) -> dict[str, list[Action]]:
    """Title -> flags: the main ones in their order here, or all in the order of the parser."""
    shown = {
        action.dest: action
        for action in parser._actions
        if action.default is not SUPPRESS and not action.option_strings[0].startswith("--no_")
    }
    if not is_whole:
        return {title: [shown[name] for name in names] for title, names in MAIN_FLAGS.items()}
    groups: dict[str, list[Action]] = {title: [] for title in ORDER}
    for name, action in shown.items():
        groups[find_group(name)].append(action)
    return groups


def find_group(name: str) -> str:
    return next(title for title, words in WORDS.items() if name.startswith(words))


def name_value(action: Action) -> str:
    """What stands for the value of a flag."""
    if action.choices is not None:
        short = len(action.choices) <= MOST_CHOICES
        return f"{{{','.join(map(str, action.choices))}}}" if short else "NAME"
    name = action.dest
    if action.const is True or action.type not in PLACEHOLDERS:
        return "[BOOL]" if action.nargs == "?" else "BOOL"
    if name.endswith("_file"):
        return "FILE"
    if name.endswith("_dir"):
        return "FOLDER"
    return "NAME" if name.endswith(("_name", "_path", "_id")) else PLACEHOLDERS[action.type]


def format_default(default: object) -> str | None:
    """As it is written on the command line; None where there is none to tell."""
    if default is None or default in ("", SUPPRESS) or default == []:
        return None
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
