#!/usr/bin/env bash
# The Trainer's bf16 covers the model that it trains, and no second model: a teacher called inside compute_loss, as the
# distillation recipes do, computes in float32.
#
# bf16=True reads as "the step runs in bfloat16". But accelerate wraps the forward pass of the prepared model in autocast,
# and compute_loss itself is called outside of any: whatever else it calls keeps the precision of its weights. The recipe
# is correct and needlessly slow: on an H100, BERT-base as the teacher, batches of 256, a step took 181 ms where one that
# reads stored teacher logits took 59. Autocast has to be entered by hand around the teacher (or its weights loaded in
# bfloat16). Ours computes what is imitated in bfloat16 with --teacher_bf16.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0
cat >finding.py <<'END'
import sys

import accelerate
import torch
import transformers
from datasets import Dataset

CONFIG = transformers.BertConfig(
    vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=2
)
seen = {}


def note(who):
    def hook(module, inputs, output):
        seen.setdefault(who, set()).add(str(output.dtype).removeprefix("torch."))

    return hook


def make(who):
    model = transformers.BertForSequenceClassification(CONFIG)
    model.bert.encoder.layer[0].intermediate.dense.register_forward_hook(note(who))
    return model


class Distiller(transformers.Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        outputs = model(**inputs)
        with torch.no_grad():
            wanted = teacher(**inputs).logits
        loss = (outputs.logits.float() - wanted.float()).square().mean()
        return (loss, outputs) if return_outputs else loss


student, teacher = make("student"), make("teacher in compute_loss")
rows = Dataset.from_list([{"input_ids": [1, 5 + i, 2], "attention_mask": [1] * 3, "labels": i % 2} for i in range(8)])
arguments = transformers.TrainingArguments(
    "out", use_cpu=True, bf16=True, max_steps=2, per_device_train_batch_size=4, save_strategy="no", report_to="none",
    disable_tqdm=True,
)
Distiller(student, arguments, train_dataset=rows).train()
versions = f"torch {torch.__version__}, transformers {transformers.__version__}, accelerate {accelerate.__version__}"
print(versions)
print("expected: with bf16=True both models' matrix products are bfloat16")
for who, types in seen.items():
    print(f"seen:     {who}: {', '.join(sorted(types))}")
sys.exit(0 if seen == {"student": {"bfloat16"}, "teacher in compute_loss": {"float32"}} else 1)
END
venv/bin/python finding.py 2>errors | grep -v train_runtime
