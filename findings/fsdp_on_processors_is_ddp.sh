#!/usr/bin/env bash
# The Trainer with --fsdp on processors trains a whole copy of the model in every process, and says nothing.
#
# torch's fully_shard works over gloo, and the argument is accepted; but accelerate counts several processors among the
# kinds of runs that take no FSDP, so that the model is wrapped for data parallelism alone and every process holds all
# of its weights, gradients and optimizer. Our trainer refuses --fsdp there (docs/COMPARE.md).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
cat >train.py <<'END'
import accelerate
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
model = BertForSequenceClassification(config)
num_weights = sum(weight.numel() for weight in model.parameters())
rows = [{"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": row % 2} for row in range(8)]
arguments = TrainingArguments(
    "out", use_cpu=True, fsdp="full_shard", max_steps=1, report_to=[], disable_tqdm=True, save_strategy="no"
)
trainer = Trainer(model, arguments, train_dataset=rows)
trainer.train()
held = sum(weight.numel() for weight in trainer.model_wrapped.parameters())
if trainer.is_world_process_zero():
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, accelerate {accelerate.__version__}")
    print("expected: each of 2 processes holds about half of the weights, or an error")
    print(f"seen:     {type(trainer.model_wrapped).__name__}, {held} of {num_weights} weights in this process")
END
venv/bin/torchrun --nproc_per_node 2 train.py >output 2>errors
cat output
grep -q "seen:     DistributedDataParallel" output
