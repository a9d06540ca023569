#!/usr/bin/env bash
# The pipeline of token classification, given words one by one, answers for parts of words where a WordPiece cuts at
# punctuation.
#
# aggregation_strategy="first" is described as the tag of a word's first piece, and is_split_into_words=True tells the
# pipeline what the words are; it even asks the tokenizer which word each piece is of. But it groups pieces by "##" alone:
# of the one word "u.s." the pieces "u", ".", "s", "." become words of their own, each with a tag, though in training (run_ner) all
# but the first have none (-100). So entities differ from those that an evaluation by words scores, in every BERT tagger.
# Exact is to take the tag at the first piece of each word_ids() yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
cat >finding.py <<'END'
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast, pipeline

PIECES = ["[PAD]", "[UNK]", "the", "u", ".", "s", "##n", "visit", "##ed"]
backend = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(PIECES)}, unk_token="[UNK]"))
backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")
labels = {"id2label": {0: "O", 1: "B-place"}, "label2id": {"O": 0, "B-place": 1}}
sizes = {"vocab_size": len(PIECES), "hidden_size": 2, "num_hidden_layers": 0, "num_attention_heads": 1}
model = BertForTokenClassification(BertConfig(**sizes, **labels, intermediate_size=2)).eval()
with torch.no_grad():  # "u" is a place, every other piece is none
    for name, values in model.named_parameters():
        if name.startswith("bert.embeddings") and "LayerNorm" not in name:
            values.zero_()
    table = model.bert.embeddings.word_embeddings.weight
    table[:] = torch.tensor([1.0, -1.0])
    table[PIECES.index("u")] = torch.tensor([-1.0, 1.0])
    model.classifier.weight.copy_(torch.eye(2))
    model.classifier.bias.zero_()
words = ["the", "u.s.", "visited"]
find = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="first", ignore_labels=[])
answers = [(text[answer["start"] : answer["end"]], answer["entity_group"]) for text in [" ".join(words)]
           for answer in find(words, is_split_into_words=True)[0]]
encoding = tokenizer(words, is_split_into_words=True, return_tensors="pt")
tags = model(**encoding).logits[0].argmax(-1).tolist()
firsts = [encoding.word_ids().index(word) for word in range(len(words))]
by_words = [(word, model.config.id2label[tags[place]]) for word, place in zip(words, firsts)]
print("by words:", by_words)
print("pipeline:", answers)
assert by_words == [("the", "O"), ("u.s.", "B-place"), ("visited", "O")], by_words
assert answers == [("the", "O"), ("u", "place"), (".s. visited", "O")], answers
END
venv/bin/python finding.py
echo "as described: one word got several answers"
