#!/usr/bin/env bash
# With DeepSpeed's ZeRO stage 2, Trainer.evaluate() before train() is an error; after train() the same call works.
#
# Stage 2 leaves every process the whole weights, so that nothing has to be gathered to evaluate. transformers refuses all
# the same wherever no engine is there yet ("ZeRO inference only makes sense with ZeRO Stage 3"), which meets whoever
# scores a model before its training, as for a baseline. We evaluate the plain model there (layer_distillation/trainer).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 deepspeed==0.19.8
cat >finding.py <<'END'
import os
import sys

import deepspeed
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

rows = [{"input_ids": [2, 3 + n % 5, 4], "attention_mask": [1, 1, 1], "labels": n % 2} for n in range(8)]
config = BertConfig(
    vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
)
settings = {
    "zero_optimization": {"stage": 2},
    "train_micro_batch_size_per_gpu": "auto",
    "train_batch_size": "auto",
    "zero_allow_untested_optimizer": True,
}
arguments = TrainingArguments(
    "out", max_steps=1, per_device_train_batch_size=4, deepspeed=settings, report_to="none", save_strategy="no"
)
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows, eval_dataset=rows)


def evaluate():
    try:
        return "evaluated" if trainer.evaluate()["eval_loss"] > 0 else "no loss"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


before = evaluate()
trainer.train()
after = evaluate()
if os.environ["RANK"] == "0":
    print(f"transformers {transformers.__version__}, deepspeed {deepspeed.__version__}, torch {torch.__version__}")
    print("expected: a model whose weights are whole in every process is evaluated before and after")
    print(f"seen:     before train(): {before}")
    print(f"seen:     after train(): {after}")
sys.exit(0 if "ZeRO Stage 3" in before and after == "evaluated" else 1)
END
PATH=$folder/venv/bin:$PATH CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 \
    venv/bin/python -m torch.distributed.run --standalone --nproc_per_node 1 finding.py 2>errors | grep -E '^(transformers|expected|seen)'
