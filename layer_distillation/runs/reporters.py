"""The reporters of --report_to, made once before any work."""

from collections.abc import Sequence

from transformers.integrations import get_reporting_integration_callbacks

from layer_distillation.tasks.files import first_line


def check_reporters(names: Sequence[str]) -> None:
    """Raises ValueError where a reporter is unknown or cannot be made: a trainer would, after the teacher's pass."""
    for name in names:
        for reporter in get_reporting_integration_callbacks([name]):
            try:
                reporter()
            except (RuntimeError, ImportError) as error:
                raise ValueError(
                    f"--report_to {name} cannot be used ({first_line(error)}): install it, or leave --report_to out"
                ) from error
