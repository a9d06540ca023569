"""What the benchmark of embeddings does in processes of their own: texts drawn, the peer trained, everything scored.

    python -m benchmarks.embedding_peer FOLDER prepare
    python -m benchmarks.embedding_peer FOLDER train WAY SEED
    python -m benchmarks.embedding_peer FOLDER score RUN ...

The peer follows sentence-transformers' example of layer reduction (model_distillation_layer_reduction.py, 6.2).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MSELoss

from benchmarks.bench_embedding import OURS, PEER_BF16, SCORES, SENTENCES, SETTINGS, EmbeddingSettings
from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.runs.facts import describe_hardware, list_versions
from layer_distillation.tasks.columns import find_text_columns, parse_number
from layer_distillation.tasks.evaluation_sets import RETRIEVAL_METRICS
from layer_distillation.tasks.files import read_data_file
from layer_distillation.tasks.kinds.ranking_scores import average_queries
from layer_distillation.tasks.retrieval import normalize, read_retrieval, score_retrieval
from layer_distillation.tasks.weighted_scores import make_scorer

TEACHER_ROWS, LEARNING_RATE, WARMUP_SHARE = 128, 1e-4, 0.1  # of the example
SCORE_COLUMNS = ("score", "label")
RESAMPLES = 2000
SPEARMAN = "spearmanr"


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the second word says; returns the exit status, 2 where the user can mend it."""
    folder, action, *words = sys.argv[1:] if argv is None else argv
    settings = EmbeddingSettings(**json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8")))
    try:
        {"prepare": prepare, "train": train, "score": score}[action](settings, Path(folder), *words)
    except ValueError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def prepare(settings: EmbeddingSettings, folder: Path) -> None:
    """Draws the texts that both ways read, and checks what is scored on.

    Raises:
        ValueError: a file cannot be meant so.
    """
    texts = read_sentences(settings.train_file)
    if len(texts) < settings.sentences:
        raise ValueError(f"{settings.train_file} has {len(texts)} texts, and --sentences is {settings.sentences}")
    chosen = np.random.default_rng(0).choice(len(texts), settings.sentences, replace=False)
    lines = [" ".join(texts[place].split()) for place in sorted(chosen)]
    (folder / SENTENCES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    read_pairs(settings.sts_file)
    if settings.retrieval_folder is not None:
        read_retrieval(settings.retrieval_folder)


def read_sentences(path: str) -> list[str]:
    if path.endswith(".txt"):
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        return [line for line in lines if line.strip()]
    split = read_data_file(path)
    (column, *_) = find_text_columns(split, None, None if "text" not in split.columns else "text")
    return [text for text in split.columns[column] if text.strip()]


def read_pairs(path: str) -> tuple[list[str], list[str], np.ndarray]:
    """Raises ValueError where there are no two texts and a number in every row."""
    split = read_data_file(path)
    column = next((name for name in SCORE_COLUMNS if name in split.columns), None)
    texts = find_text_columns(split, column, None)
    scores = [parse_number(value) for value in split.columns[column]] if column is not None else [None]
    if len(texts) != 2 or None in scores:
        raise ValueError(f"{path} needs two texts and a number in {' or '.join(SCORE_COLUMNS)} in every row")
    return split.columns[texts[0]], split.columns[texts[1]], np.array(scores, np.float64)


# ---- the peer ----------------------------------------------------------------------------------------------------


def train(settings: EmbeddingSettings, folder: Path, way: str, seed: str) -> None:
    """The teacher's vectors first, then `MSELoss` on them."""
    teacher, student = SentenceTransformer(settings.teacher), cut(settings)
    sentences = read_sentences(str(folder / SENTENCES))
    vectors = teacher.encode(sentences, batch_size=TEACHER_ROWS, show_progress_bar=False)
    rows = Dataset.from_dict({"sentence": sentences, "label": vectors.tolist()})
    output = folder / "students" / f"{way}-seed{seed}"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(output / "training"),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        warmup_steps=WARMUP_SHARE,
        learning_rate=LEARNING_RATE,
        bf16=way == PEER_BF16,
        use_cpu=not torch.cuda.is_available(),
        seed=int(seed),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(student, arguments, train_dataset=rows, loss=MSELoss(student))
    trainer.train()
    student.save_pretrained(str(output), create_model_card=False)


def cut(settings: EmbeddingSettings) -> SentenceTransformer:
    """The teacher with some of its layers, untrained."""
    student = SentenceTransformer(settings.teacher)
    encoder, kept = student[0].model, [int(layer) for layer in settings.student_layers.split(",")]
    encoder.encoder.layer = torch.nn.ModuleList(encoder.encoder.layer[layer] for layer in kept)
    encoder.config.num_hidden_layers = len(kept)
    return student


# ---- scores ------------------------------------------------------------------------------------------------------


def score(settings: EmbeddingSettings, folder: Path, *names: str) -> None:
    """Teacher, untrained cut and students, each from its folder, by one function; the answers of all pairs and queries
    give the intervals of what ours is ahead by."""
    answers = {name: answer(SentenceTransformer(str(folder / "students" / name)), settings) for name in names}
    models = {"teacher": SentenceTransformer(settings.teacher), "untrained": cut(settings)}
    fixed = {name: average(answer(model, settings), settings) for name, model in models.items()}
    found = {
        "hardware": describe_hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        "versions": list_versions(),
        **fixed,
        "runs": {name: average(answers[name], settings) for name in names},
        "differences": [*compare_ways(answers, settings)],
    }
    (folder / SCORES).write_text(json.dumps(found), encoding="utf-8")


def answer(model: SentenceTransformer, settings: EmbeddingSettings) -> dict[str, np.ndarray]:
    """The cosines of all pairs, and the metrics of all queries, (queries, 2)."""
    model.max_seq_length = settings.evaluation_length
    first, second, _ = read_pairs(settings.sts_file)
    left, right = (normalize(encode(model, texts)) for texts in (first, second))
    found = {SPEARMAN: np.einsum("rw,rw->r", left, right)}
    if settings.retrieval_folder is not None:
        data = read_retrieval(settings.retrieval_folder)
        found["queries"] = score_retrieval(data, encode(model, data.queries), encode(model, data.documents))
    return found


def encode(model: SentenceTransformer, texts: list[str]) -> np.ndarray:
    return model.encode(texts, batch_size=64, show_progress_bar=False, convert_to_numpy=True)


def average(found: dict[str, np.ndarray], settings: EmbeddingSettings) -> dict[str, float]:
    return {name: float(score_all_rows(*scorer)[0]) for name, scorer in list_scorers([found], settings).items()}


def list_scorers(found: Sequence[dict[str, np.ndarray]], settings: EmbeddingSettings) -> dict[str, tuple[Any, int]]:
    """Metric -> its scorer of all these answers, and how many pairs or queries there are."""
    gold = read_pairs(settings.sts_file)[2]
    cosines = np.stack([own[SPEARMAN] for own in found])
    scorers: dict[str, tuple[Any, int]] = {SPEARMAN: (make_scorer(SPEARMAN, cosines, gold), len(gold))}
    if "queries" in found[0]:
        for column, name in enumerate(RETRIEVAL_METRICS):
            values = np.stack([own["queries"][:, column] for own in found])
            scorers[name] = average_queries(values), values.shape[1]
    return scorers


def compare_ways(answers: dict[str, dict[str, np.ndarray]], settings: EmbeddingSettings) -> list[dict[str, Any]]:
    """Ours less each peer of the same seed: 95 % intervals over the same resampled pairs or queries."""
    entries = []
    for name in answers:
        way, seed = name.rsplit("-seed", 1)
        ours = answers.get(f"{OURS}-seed{seed}")
        if way == OURS or ours is None:
            continue
        for metric, (scorer, count) in list_scorers([ours, answers[name]], settings).items():
            values, drawn = score_all_rows(scorer, count), resample_scores(scorer, count, RESAMPLES)
            low, high = np.percentile(drawn[:, 0] - drawn[:, 1], [2.5, 97.5])
            entry = {"metric": metric, "seed": int(seed), "peer": way, "difference": float(values[0] - values[1])}
            entries.append(entry | {"low": float(low), "high": float(high)})
    return entries


if __name__ == "__main__":
    sys.exit(main())
