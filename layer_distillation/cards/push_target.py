"""Where a student is pushed to, and whether that can be: known before the hours of training."""

from dataclasses import dataclass, field

from huggingface_hub import get_token, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from layer_distillation.records.command_names import name_commands

PUSH_SCRIPT = "push_student.py"


@dataclass(frozen=True)
class PushTarget:
    """Where a student goes, and which of its exported forms go with it. `is_private` None: as the Hub does by itself;
    `token` None: that of `hf auth login`."""

    name: str
    is_private: bool | None = None
    revision: str | None = None
    token: str | None = field(default=None, repr=False)
    forms: tuple[str, ...] = ()


def check_push(target: PushTarget) -> None:
    """Raises ValueError where a push is bound to fail, hours before it is tried: no token, offline, no valid name."""
    if target.token is None and get_token() is None:
        raise ValueError(
            "a push needs a token of the Hugging Face Hub and found none: run `hf auth login`, set HF_TOKEN, or leave "
            f"--push_to_hub out ({name_commands(PUSH_SCRIPT)} pushes the finished student later)"
        )
    if is_offline_mode():
        raise ValueError(
            "a push needs the Hub, and HF_HUB_OFFLINE=1 forbids it: unset it, or leave --push_to_hub out "
            f"({name_commands(PUSH_SCRIPT)} pushes the finished student later)"
        )
    try:
        validate_repo_id(target.name)
    except HFValidationError as error:
        raise ValueError(f"a push has no valid name to go to ({error}): give --hub_model_id") from error
