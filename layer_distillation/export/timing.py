"""What an artifact costs: milliseconds of a pass, by turns with all others; time and memory to a first answer.

Entry: `time_answers`, `start_fresh`.
"""

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from layer_distillation.export.clients import Answer, Batch

THREADS = (1, 2)
BATCH_ROWS = (1, 32)
FEWEST_ROUNDS = 3
KNOWING_ROUNDS = 7  # below, quartiles say little
PRECISION, NOTCH = 0.02, 1.57
ROOT = Path(__file__).parents[2]
LONGEST_START_SECONDS = 120.0

Milliseconds = dict[str, dict[str, float]]  # threads -> rows of the batch -> median


def time_answers(
    open_answers: Mapping[str, Callable[[int], Answer]], draw: Callable[[str, int], Batch], budget_seconds: float
) -> dict[str, Milliseconds]:
    """Medians of many passes, A B C A B C, so that all meet the same machine; the first round warms up.

    Args:
        open_answers: by name, from a number of threads.
        draw: from a name and a number of rows to what that artifact is asked.
        budget_seconds: of each number of threads and rows at most; a round is begun only before it is spent, and not
            where all medians are known well enough.
    """
    found: dict[str, Milliseconds] = {name: {} for name in open_answers}
    for threads in THREADS:
        answers = {name: open_answer(threads) for name, open_answer in open_answers.items()}
        for name in answers:
            found[name][str(threads)] = {}
        for rows in BATCH_ROWS:
            batches = {name: draw(name, rows) for name in answers}
            for name, median in take_turns(answers, batches, budget_seconds).items():
                found[name][str(threads)][str(rows)] = median
    return found


def take_turns(answers: Mapping[str, Answer], batches: Mapping[str, Batch], budget_seconds: float) -> dict[str, float]:
    """Milliseconds of each, the median over the rounds."""
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    while len(rounds) <= FEWEST_ROUNDS or time.perf_counter() - start < budget_seconds:
        rounds.append({name: time_pass(answer, batches[name]) for name, answer in answers.items()})
        if len(rounds) > KNOWING_ROUNDS and is_known([[seconds[name] for seconds in rounds[1:]] for name in answers]):
            break
    return {name: 1000 * statistics.median(seconds[name] for seconds in rounds[1:]) for name in answers}


def is_known(series: Sequence[Sequence[float]]) -> bool:
    """Whether every median is known to `PRECISION`: half a notch of a box plot (McGill, Tukey and Larsen 1978, section
    7), a 95 % interval of a median whatever the noise."""
    for values in series:
        low, _, high = statistics.quantiles(values, n=4)
        if NOTCH * (high - low) / math.sqrt(len(values)) > PRECISION * statistics.median(values):
            return False
    return True


def time_pass(answer: Answer, batch: Batch) -> float:
    start = time.perf_counter()
    answer(batch)
    return time.perf_counter() - start


def start_fresh(
    form: str, artifact: Path, tokenizer: Path, texts: Sequence[str], has_choices: bool = False
) -> tuple[float, int]:
    """Seconds from the start of a new process to its first answer, and its largest resident set in bytes.

    Args:
        has_choices: the texts are a question and one choice of it, and the model takes (batch, choices, tokens).

    Raises:
        RuntimeError: it gave none.
    """
    command = [sys.executable, "-m", "layer_distillation.export.first_answer", form, str(artifact.resolve())]
    shape = "choices" if has_choices else "rows"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(tokenizer.resolve()), shape, *texts],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    seconds = time.perf_counter() - start
    _, errors = process.communicate(timeout=LONGEST_START_SECONDS)
    if process.returncode != 0 or not line.strip().isdigit():
        raise RuntimeError(f"a fresh process could not answer by {form}: {errors[-500:]}")
    return seconds, int(line)
