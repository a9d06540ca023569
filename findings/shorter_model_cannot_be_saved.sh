#!/usr/bin/env bash
# from_pretrained(folder, num_hidden_layers=3) of a model with layer_types loads, runs and trains, and cannot be saved.
#
# The shorter count is taken over, the list of layer types is not: it keeps one entry for each layer of the longer model.
# The loading report tells of unused weights alone; the list is found to be wrong by save_pretrained, after the training.
# We slice every per-layer list of the config with the layers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.23.0
cat >finding.py <<'END'
import sys

import torch
import transformers
from transformers import ModernBertConfig, ModernBertForSequenceClassification

sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 16}
tokens = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
ModernBertForSequenceClassification(ModernBertConfig(**sizes, **tokens)).save_pretrained("six")
model = ModernBertForSequenceClassification.from_pretrained("six", num_hidden_layers=3)
loss = model(input_ids=torch.tensor([[1, 5, 6, 2]]), labels=torch.tensor([1])).loss
loss.backward()
print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print("expected: a model of 3 layers that saves, or a refusal when it is loaded")
try:
    model.save_pretrained("three")
except Exception as error:
    last = str(error).strip().splitlines()[-1].strip()
    print(f"seen:     loss {loss.item():.3f} and gradients from {model.config.num_hidden_layers} layers, then")
    print(f"          save_pretrained: {type(error).__name__}: {last}")
    sys.exit(0 if model.config.num_hidden_layers == 3 else 1)
print("seen:     it saves")
sys.exit(1)
END
venv/bin/python finding.py
