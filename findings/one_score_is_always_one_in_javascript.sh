#!/usr/bin/env bash
# transformers.js answers 1 for every text where a model has one output: a reranker or a regression ranks nothing.
#
# The text-classification pipeline of Python takes a sigmoid of a single output, or for problem_type "regression" the
# number itself. That of transformers.js knows "multi_label_classification" and takes a softmax of everything else, which
# of one number is 1. No error, no warning. Remedy: read `logits` of AutoModelForSequenceClassification.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q onnx==1.22.0 tokenizers==0.22.2 onnxruntime==1.27.0 numpy==2.4.6
npm install --silent --ignore-scripts --no-audit --no-fund @huggingface/transformers@4.3.2 >npm.log 2>&1
cat >make.py <<'END'
"""A model of one output: the sum of the tokens' numbers, divided by 10; the folder as exports for the web have it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

folder = Path("model/onnx")
folder.mkdir(parents=True)
words = ["[PAD]", "[UNK]", "good", "better", "best"]
tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.save("model/tokenizer.json")
Path("model/tokenizer_config.json").write_text(
    json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"})
)
config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "id2label": {"0": "score"}}
Path("model/config.json").write_text(json.dumps(config | {"label2id": {"score": 0}, "problem_type": "regression"}))
inputs = [
    helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
    for name in ("input_ids", "attention_mask")
]
nodes = [
    helper.make_node("Mul", ["input_ids", "attention_mask"], ["real"]),
    helper.make_node("Cast", ["real"], ["numbers"], to=TensorProto.FLOAT),
    helper.make_node("ReduceSum", ["numbers", "axis"], ["sum"], keepdims=1),
    helper.make_node("Div", ["sum", "ten"], ["logits"]),
]
constants = [
    numpy_helper.from_array(np.array([1], np.int64), "axis"),
    numpy_helper.from_array(np.array(10, np.float32), "ten"),
]
output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])
graph = helper.make_graph(nodes, "sum", inputs, [output], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, folder / "model.onnx")
END
cat >ask.mjs <<'END'
import { AutoModelForSequenceClassification, AutoTokenizer, env, pipeline } from "@huggingface/transformers";
env.allowRemoteModels = false;
env.localModelPath = ".";
const texts = ["good", "better best", "best best best"];
const options = { dtype: "fp32", device: "cpu" };
const classify = await pipeline("text-classification", "model", options);
const scores = [];
for (const text of texts) scores.push((await classify(text))[0].score);
const tokenizer = await AutoTokenizer.from_pretrained("model");
const model = await AutoModelForSequenceClassification.from_pretrained("model", options);
const logits = [];
for (const text of texts) logits.push(Number((await model(await tokenizer(text))).logits.data[0].toFixed(2)));
console.log(`pipeline ${scores.join(" ")} logits ${logits.join(" ")}`);
END
venv/bin/python make.py
seen=$(node ask.mjs 2>node.log)
echo "transformers.js 4.3.2, node $(node --version), a model of one output, three texts of growing score"
echo "expected: pipeline 0.2 0.7 1.2, as its logits and as Python's pipeline for problem_type regression, or their sigmoids"
echo "seen:     $seen"
[[ $seen == "pipeline 1 1 1 logits 0.2 0.7 1.2" ]]
