#!/usr/bin/env bash
# Trainer's load_best_model_at_end restores only a part of a model whose saved tensor names differ from those in memory.
#
# transformers writes some architectures with the names of their original checkpoints (nomic_bert, esm) and renames them
# in from_pretrained. The Trainer reads its best checkpoint past that renaming, and not strictly: tensors it finds no name
# for keep their last values, so that what evaluate() and save_model() see afterwards is a mixture of two epochs. All that
# tells is a warning on missing keys. We load the best checkpoint by from_pretrained.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.23.0 accelerate==1.15.0
cat >finding.py <<'END'
import sys
from itertools import count

import torch
import transformers
from transformers import NomicBertConfig, NomicBertForSequenceClassification, Trainer, TrainingArguments, set_seed

set_seed(0)
sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
model = NomicBertForSequenceClassification(NomicBertConfig(**sizes, pad_token_id=0))
rows = [{"input_ids": [2, 3 + row % 5, 4], "labels": row % 2} for row in range(8)]
rank = count()  # the metric gets worse, so that the first of two epochs is the best one
arguments = TrainingArguments(
    "out",
    num_train_epochs=2,
    learning_rate=0.1,
    eval_strategy="epoch",
    save_strategy="epoch",
    load_best_model_at_end=True,
    metric_for_best_model="rank",
    greater_is_better=False,
    use_cpu=True,
    report_to=[],
    disable_tqdm=True,
)
trainer = Trainer(
    model, arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=lambda _: {"rank": next(rank)}
)
trainer.train()
checkpoint = trainer.state.best_model_checkpoint
best = NomicBertForSequenceClassification.from_pretrained(checkpoint).state_dict()
kept = trainer.model.state_dict()
wrong = [name for name in best if not torch.equal(best[name], kept[name])]
print(f"transformers {transformers.__version__}, torch {torch.__version__}; best: {checkpoint}")
print(f"expected: after training all {len(best)} tensors of the model are those of the best checkpoint")
print(f"seen:     {len(wrong)} of {len(best)} are not, such as {wrong[0] if wrong else 'none'}")
sys.exit(0 if wrong else 1)
END
venv/bin/python finding.py
