#!/usr/bin/env bash
# seqeval takes plain class names for entity types: a tagger with LABEL_0, LABEL_1 scores high without finding anything.
#
# transformers calls the labels of a fresh head LABEL_0, LABEL_1, ... A name without a B- or I- prefix is read as one long
# entity of type "LABEL_0" or "0", and the many outside tokens count as found. Only strict mode refuses such names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q seqeval==1.2.2 numpy==2.4.6 scikit-learn==1.9.1
cat >finding.py <<'END'
import sys
import warnings
from importlib.metadata import version

from seqeval.metrics import f1_score

warnings.simplefilter("ignore")
# 20 sentences of 8 words, every fifth has one entity; the tagger answers "outside" everywhere.
gold = [["O"] * 3 + (["B-PER"] if row % 5 == 0 else ["O"]) + ["O"] * 4 for row in range(20)]
found = [["O"] * 8 for _ in gold]
plain = {"O": "LABEL_0", "B-PER": "LABEL_1"}
right = f1_score(gold, found, zero_division=0)
seen = f1_score(
    [[plain[tag] for tag in row] for row in gold], [[plain[tag] for tag in row] for row in found], zero_division=0
)
print(f"seqeval {version('seqeval')}")
print("expected: F1 0 for a tagger that finds no entity, or an error at names that are no tags")
print(f"seen:     F1 {right:.2f} with O and B-PER, F1 {seen:.2f} when the same tags are called LABEL_0 and LABEL_1")
sys.exit(0 if right == 0 and seen > 0.5 else 1)
END
venv/bin/python finding.py
