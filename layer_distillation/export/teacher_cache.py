"""The teacher's exported forms and their answers, kept for all students of one teacher.

Entry: `open_cache`, then `fetch` and `keep`. `<cache_dir>/teacher_exports/<key>` is one form; the key is everything
that its file and its answers depend on, so what is found is what would be made. teacher_stores.py lists and prunes.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from layer_distillation.export.arguments import ExportArguments
from layer_distillation.export.conversion import list_inputs
from layer_distillation.export.formats import FORMATS, PYTORCH
from layer_distillation.export.scoring import SCORED_ROWS, Logits, list_scored
from layer_distillation.export.subjects import Subject
from layer_distillation.records.locks import hold_lock
from layer_distillation.records.run_record import RunRecord
from layer_distillation.tasks.retrieval import fingerprint_set

logger = logging.getLogger(__name__)

# Counted up where the same packages would write another file, or answer other batches.
VERSION = 2
FOLDER, MANIFEST_NAME, LOGITS_NAME = "teacher_exports", "manifest.json", "logits.npz"
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class TeacherCache:
    """`identity`: what all forms of this teacher have in common."""

    root: Path
    identity: dict[str, Any]

    def describe(self, form: str) -> dict[str, Any]:
        packages = {name: version(name) for name in FORMATS[form].packages}
        return self.identity | {"format": form, "versions": self.identity["versions"] | packages}

    def find(self, form: str) -> Path:
        digest = hashlib.sha256(json.dumps(self.describe(form), sort_keys=True).encode()).hexdigest()
        return self.root / digest[:24]

    def fetch(self, form: str, target: Path) -> Logits:
        """Its answers, its file copied to `target`; none where it was not kept."""
        folder = self.find(form)
        if not (folder / MANIFEST_NAME).exists():
            return {}
        with hold_lock(folder.with_suffix(".lock")):
            if not (folder / MANIFEST_NAME).exists():
                return {}
            (folder / MANIFEST_NAME).touch()  # its last use
            if form != PYTORCH:
                copy(find_artifact(folder, form), target)
            with np.load(folder / LOGITS_NAME) as saved:
                return {split: saved[split] for split in saved.files}

    def keep(self, form: str, artifact: Path, logits: Logits) -> None:
        """Copies it in. Where that cannot be, the next student's export makes it again."""
        folder = self.find(form)
        unfinished = folder.with_suffix(".unfinished")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with hold_lock(folder.with_suffix(".lock")):
                for left in (unfinished, folder):
                    shutil.rmtree(left, ignore_errors=True)
                unfinished.mkdir()
                if form != PYTORCH:
                    copy(artifact, find_artifact(unfinished, form))
                np.savez(unfinished / LOGITS_NAME, **logits)
                manifest = json.dumps({"spec": self.describe(form)}, indent=1) + "\n"
                (unfinished / MANIFEST_NAME).write_text(manifest, encoding="utf-8")
                unfinished.rename(folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            logger.warning("the teacher's %s is not kept for other students (%s)", form, error.strerror or error)


def open_cache(arguments: ExportArguments, record: RunRecord, teacher: Subject) -> TeacherCache:
    root = Path(arguments.cache_dir or record.arguments["cache_dir"]).expanduser() / FOLDER
    identity = {
        "version": VERSION,
        "teacher_fingerprint": record.teacher.get("members", [record.teacher])[0]["fingerprint"],
        "inputs": fingerprint_inputs(teacher),
        "num_rows": sum(len(rows) for _, rows in list_scored(teacher)),
        "batch_rows": SCORED_ROWS,
        "opset": arguments.opset,
        "device": arguments.hardware.get("device"),  # 8 bits answer by the processor's instructions
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    if sets := teacher.data.retrieval:
        identity["sets"] = {name: fingerprint_set(data) for name, data in sets.items()}
    return TeacherCache(root, identity)


def fingerprint_inputs(subject: Subject) -> str:
    """sha256 of all that the model is asked, in its order."""
    digest = hashlib.sha256()
    item_column = subject.kind.item_column  # which of all outputs are kept
    names = [*list_inputs(subject.model, subject.tokenizer), *([] if item_column is None else [item_column])]
    for split, rows in list_scored(subject):
        digest.update(json.dumps([split, names, len(rows)]).encode())
        for batch in rows.select_columns(names).iter(ROWS_AT_ONCE):
            digest.update(json.dumps([batch[name] for name in names]).encode())
    return digest.hexdigest()


def find_artifact(folder: Path, form: str) -> Path:
    return folder / Path(FORMATS[form].path).name


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
