#!/usr/bin/env bash
# PreTrainedTokenizerFast(tokenizer_object=...) of transformers 5 returns no token_type_ids, though the tokenizer makes them.
#
# A BERT-like model then takes both texts of a pair for the first one: no error, only other logits. transformers 4.57
# returned them, so the same lines train another model after an upgrade. Remedy: pass model_input_names that name them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
python3 -m venv before
before/bin/pip install -q transformers==4.57.6
venv/bin/pip install -q transformers==5.23.0
cat >encode.py <<'END'
import json

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b"]
tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
print(f"          the tokenizer itself: {tokenizer.encode('a', 'b').type_ids}")
print(f"          wrapped:              {wrapped('a', 'b').get('token_type_ids')}")
END
export TRANSFORMERS_VERBOSITY=error
before=$(before/bin/python encode.py 2>/dev/null)
after=$(venv/bin/python encode.py 2>/dev/null)
echo "expected: token_type_ids [0, 0, 0, 1, 1] from both versions, as the tokenizer makes them and the pair template asks"
printf 'seen:     %s\n          %s\n' "$before" "$after"
[[ $before == *"wrapped:              [0, 0, 0, 1, 1]" && $after == *"wrapped:              None" ]]
