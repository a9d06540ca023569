#!/usr/bin/env bash
# One short batch makes a BigBird answer a long text otherwise, from then on.
#
# A batch that is too short for its sparse attention switches the model to full attention, in its layers and not in its
# config, and nothing switches it back: what it answers to a long text depends on what it has seen before.
# We keep the teacher's kind of attention in the student, and docs/ARCHITECTURES.md says so.
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
from transformers import BigBirdConfig, BigBirdForSequenceClassification

torch.manual_seed(0)
sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
sparse = {"max_position_embeddings": 128, "block_size": 4, "num_random_blocks": 1, "sep_token_id": 3}
model = BigBirdForSequenceClassification(BigBirdConfig(vocab_size=50, initializer_range=0.3, **sizes, **sparse)).eval()
long_text, short_text = torch.randint(4, 50, (1, 64)), torch.randint(4, 50, (1, 8))
with torch.no_grad():
    before = model(long_text).logits
    again = model(long_text).logits
    model(short_text)
    after = model(long_text).logits
print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print("expected: in eval mode one text has one answer")
print(f"seen:     asked twice it differs by {(again - before).abs().max():.1e}, after a short text by")
print(f"          {(after - before).abs().max():.3f} of {before.abs().max():.3f}; the config says {model.config.attention_type}")
is_switched = (after - before).abs().max() > 1e-3 and torch.equal(again, before)
sys.exit(0 if is_switched and model.config.attention_type == "block_sparse" else 1)
END
venv/bin/python finding.py
