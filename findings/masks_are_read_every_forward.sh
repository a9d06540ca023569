#!/usr/bin/env bash
# A forward pass of BERT with an attention mask reads a number back from the device, with SDPA and with eager attention.
#
# To leave the mask out where no row is padded, transformers asks whether all of it is true, and Python has to know: on a
# GPU every forward pass waits until all that was queued before it is done, although nothing in the model looks at a
# value. Without a mask nothing is read. Counted here on a processor as _local_scalar_dense, the operation behind
# .item(), bool() and if. Our trainer has masks made unread on a GPU (layer_distillation/step/unread_masks.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0
cat >finding.py <<'END'
import sys

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode


class CountReads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def count(attention, mask):
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    config._attn_implementation = attention
    model = transformers.BertModel(config).eval()
    ids = torch.arange(1, 13).reshape(2, 6)
    with torch.no_grad(), CountReads() as counted:
        model(input_ids=ids, attention_mask=mask)
    return counted.reads


padded = torch.ones(2, 6, dtype=torch.long)
padded[0, 4:] = 0
masks = {"no mask": None, "a mask of ones": torch.ones(2, 6, dtype=torch.long), "a mask with padding": padded}
print(f"torch {torch.__version__}, transformers {transformers.__version__}")
print("expected: no number is read back in a forward pass")
seen = {(kind, name): count(kind, mask) for kind in ("sdpa", "eager") for name, mask in masks.items()}
for (kind, name), reads in seen.items():
    print(f"seen:     {kind}, {name}: {reads} read back")
is_so = all((reads > 0) == (name != "no mask") for (_, name), reads in seen.items())
sys.exit(0 if is_so else 1)
END
venv/bin/python finding.py 2>errors
