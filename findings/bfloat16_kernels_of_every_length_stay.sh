#!/usr/bin/env bash
# Training in bfloat16 on a processor keeps memory for every batch length that it has met; in float32 it does not.
#
# Dynamic padding is the usual advice, and memory is expected to follow the longest batch. But oneDNN, which computes
# bfloat16 products on processors, keeps a kernel with its memory for each shape (up to 1,024 in its own cache, and torch
# keeps as many again): after 200 lengths a small stack of linear layers holds half a gigabyte that is neither weights nor
# activations, and that malloc_trim does not get back. With lengths padded to multiples of 8 it is a fifth, in float32 a
# few megabytes. Of MiniLM with windows of 256 tokens it is gigabytes, together with the heap that pieces of so many sizes
# leave. Pad to few lengths (pad_to_multiple_of); ours does so by itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
cat >finding.py <<'END'
import ctypes
import sys

import torch

torch.set_num_threads(1)
libc = ctypes.CDLL("libc.so.6")
dtype, step = getattr(torch, sys.argv[1]), int(sys.argv[2])
pairs = [(torch.nn.Linear(384, 1536), torch.nn.GELU(), torch.nn.Linear(1536, 384)) for _ in range(6)]
net = torch.nn.Sequential(*[module for pair in pairs for module in pair])


def measure():
    libc.malloc_trim(0)
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6


def train(length):
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        net(torch.ones(1, length, 384)).sum().backward()
    net.zero_grad()


train(256)
before = measure()
for length in range(57, 257):
    train(-(-length // step) * step)
print(round(measure() - before))
END
if ! grep -qE "avx512_bf16|amx_bf16" /proc/cpuinfo; then
    echo "no bfloat16 instructions here: oneDNN computes nothing in bfloat16, nothing to see"
    exit 0
fi
float32=$(venv/bin/python finding.py float32 1)
every=$(venv/bin/python finding.py bfloat16 1)
few=$(venv/bin/python finding.py bfloat16 8)
venv/bin/python -c "import torch; print('torch', torch.__version__)"
echo "MB kept after 200 lengths: float32 $float32, bfloat16 $every, bfloat16 with multiples of 8 (25 lengths) $few"
[ "$every" -gt $((float32 + 200)) ] && [ "$few" -lt $((every / 2)) ]
