"""How our commands are called here: `distil-compare` where an installed command was started, else by their scripts.

Entry: `name_speaker` for usage lines and errors; `name_commands` for a text that says what else to run; `find_command`
for a line that a shell takes.
"""

import re
import shutil
import sys
from pathlib import Path

INSTALLED_COMMANDS = {
    "run_distillation.py": "distil",
    "run_all_strategies.sh": "distil-sweep",
    "compare_strategies.py": "distil-compare",
    "export_student.py": "distil-export",
    "preview_strategies.py": "distil-preview",
    "push_student.py": "distil-push",
    "teacher_stores.py": "distil-stores",
}
# With what starts a script in front, but never the end of somebody's path.
SCRIPT_CALL = re.compile(
    rf"(?<![\w./-])(?:python |accelerate launch )?({'|'.join(map(re.escape, INSTALLED_COMMANDS))})\b"
)


def get_started_command() -> str | None:
    """The installed command that the user typed; None for a script, a module or somebody else's program."""
    name = Path(sys.argv[0]).name.removesuffix(".exe")
    return name if name in INSTALLED_COMMANDS.values() else None


def name_speaker(script: str) -> str:
    """Who says a usage line or an error of this script's: what the user typed."""
    return get_started_command() or script


def name_commands(text: str) -> str:
    """The text with every script of ours called as the user can call it."""
    if get_started_command() is None:
        return text
    return SCRIPT_CALL.sub(lambda call: INSTALLED_COMMANDS[call[1]], text)


def find_command(script: str) -> str | None:
    """The installed command beside the one that was started, by name alone where a shell finds it so."""
    if get_started_command() is None:
        return None
    name = INSTALLED_COMMANDS[script]
    command = Path(sys.argv[0]).with_name(name)
    found = shutil.which(name)
    return name if found and Path(found).resolve() == command.resolve() else str(command)
