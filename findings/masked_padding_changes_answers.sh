#!/usr/bin/env bash
# Nystromformer and YOSO: which ids stand under masked padding changes the logits.
#
# A convolution over the values (Nystromformer) and hashed attention (YOSO) read positions that the attention mask leaves
# out, so that an answer depends on what stands there.
# We train such a student with a warning, and docs/ARCHITECTURES.md says it of each.
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
from transformers import NystromformerConfig, NystromformerForSequenceClassification
from transformers import YosoConfig, YosoForSequenceClassification

sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
sizes |= {"vocab_size": 50, "max_position_embeddings": 66, "initializer_range": 0.3}
models = {
    "nystromformer": (NystromformerForSequenceClassification, NystromformerConfig(segment_means_seq_len=16, num_landmarks=16, **sizes)),
    "yoso": (YosoForSequenceClassification, YosoConfig(**sizes)),
}
print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print("expected: what the attention mask leaves out has no part in the answer")
is_seen = True
for name, (kind, config) in models.items():
    torch.manual_seed(0)
    model = kind(config).eval()
    ids = torch.randint(4, 50, (1, 16))
    others = ids.clone()
    others[:, 10:] = torch.randint(4, 50, (1, 6))
    mask = (torch.arange(16) < 10).long()[None]
    with torch.no_grad():
        torch.manual_seed(1)
        first = model(ids, attention_mask=mask).logits
        torch.manual_seed(1)
        same = model(ids, attention_mask=mask).logits
        torch.manual_seed(1)
        second = model(others, attention_mask=mask).logits
    moved, own = (second - first).abs().max().item(), (same - first).abs().max().item()
    print(f"seen:     {name}: other ids under the mask move the logits by {moved:.3f} of {first.abs().max():.3f} (asked twice: {own:.1e})")
    is_seen &= moved > 1e-2 > 1e-4 > own
sys.exit(0 if is_seen else 1)
END
venv/bin/python finding.py
