#!/usr/bin/env bash
# In Trainer.hyperparameter_search, model_init(trial) is called before hp_space(trial): trial.params is still empty.
#
# `model_init` takes the trial so that a model can depend on what is tried. What hp_space suggests is not there yet when
# it is called for a trial; whoever reads trial.params in it gets nothing, or by .get() the default in every trial.
# What the model depends on has to be suggested inside `model_init`, as our example of a search over layers does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.23.0 accelerate==1.15.0 optuna==5.0.0
cat >finding.py <<'END'
import sys

import optuna
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

optuna.logging.disable_default_handler()
order, params = [], []


def model_init(trial):
    if trial is not None:
        order.append("model_init")
        params.append(dict(trial.params))
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(num_hidden_layers=2, **sizes))


def hp_space(trial):
    order.append("hp_space")
    trial.suggest_int("num_layers", 1, 4)
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2)}


rows = [{"input_ids": torch.tensor([1, i, 2]), "labels": i % 2} for i in range(3, 9)]
args = TrainingArguments("out", max_steps=1, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no")
trainer = Trainer(args=args, model_init=model_init, train_dataset=rows, eval_dataset=rows)
best = trainer.hyperparameter_search(hp_space=hp_space, n_trials=2, backend="optuna", direction="minimize")
print(f"transformers {transformers.__version__}, optuna {optuna.__version__}, torch {torch.__version__}")
print("expected: model_init gets a trial that holds num_layers, which hp_space suggests")
print(f"seen:     called in turn: {', '.join(order)}")
print(f"          trial.params in model_init: {params}; at the end: {sorted(best.hyperparameters)}")
sys.exit(0 if params and not any(params) and order[0] == "model_init" else 1)
END
venv/bin/python finding.py 2>errors | grep -v "^{" || { cat errors; exit 1; }
