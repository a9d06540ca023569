"""RunArguments: all that one run was told, ready to work with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.runs.command_line import RunFlags, exit_with_error, parse_flags
from layer_distillation.students.settings import StudentSettings


@dataclass
class RunArguments(StudentSettings):
    """All that one run was told."""

    recipe: str | None
    command: str
    given: frozenset[str] = frozenset()  # names of the flags that recipe or command line give

    def to_dict(self) -> dict[str, Any]:
        """Every effective argument, without secrets."""
        parts = [vars(self.student), vars(self.data), vars(self.teacher), self.training.to_dict()]
        merged = {name: value for part in parts for name, value in part.items()}
        return {name: value for name, value in merged.items() if not name.endswith("_token")}


def parse_command_line(argv: Sequence[str]) -> RunArguments:
    """The effective arguments; ends the process with status 2 where they are wrong."""
    return complete_arguments(parse_flags(argv))


def complete_arguments(flags: RunFlags) -> RunArguments:
    """The flags with what the machine adds to them; ends the process with status 2 where that shows a mistake."""
    values = vars(flags.training) | {"debug": " ".join(flags.training.debug or [])}
    try:
        training = DistillationTrainingArguments(**values)
    except ValueError as error:
        exit_with_error(str(error))
    parts = flags.student, flags.data, flags.teacher, training
    return RunArguments(*parts, recipe=flags.recipe, command=flags.command, given=flags.given)
