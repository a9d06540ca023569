#!/usr/bin/env bash
# The stock Trainer with a BERT classifier reports an eval_loss that is multiplied by the number of processes.
#
# The same model on the same rows: ln 2 on one process, twice that on two. The metrics do not change, so only the loss
# gives it away, and load_best_model_at_end compares losses of one run alone. We sum losses and counts over the processes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.23.0 accelerate==1.15.0
cat >evaluate_once.py <<'END'
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

transformers.set_seed(0)
sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
rows = [{"input_ids": [2, 3 + row % 5, 4], "labels": row % 2} for row in range(8)]
arguments = TrainingArguments(
    "out", use_cpu=True, per_device_eval_batch_size=4, report_to=[], disable_tqdm=True, log_level="error"
)
trainer = Trainer(BertForSequenceClassification(BertConfig(**sizes)), arguments, eval_dataset=rows)
loss = trainer.evaluate()["eval_loss"]
if trainer.is_world_process_zero():
    with open(f"loss{arguments.world_size}", "w") as file:
        file.write(repr(loss))
END
export OMP_NUM_THREADS=1
venv/bin/python evaluate_once.py >/dev/null
venv/bin/torchrun --standalone --nproc_per_node 2 evaluate_once.py >/dev/null
cat >finding.py <<'END'
import sys
from importlib.metadata import version
from pathlib import Path

one, two = (float(Path(f"loss{processes}").read_text()) for processes in (1, 2))
print(*(f"{name} {version(name)}" for name in ("transformers", "accelerate", "torch")), sep=", ")
print("expected: the same eval_loss from one process and from two, as the rows and the weights are the same")
print(f"seen:     {one:.4f} from one, {two:.4f} from two: {two / one:.3f} times as much")
sys.exit(0 if abs(two / one - 2) < 0.01 else 1)
END
venv/bin/python finding.py
