"""How good a student is before any training: what its start alone is worth."""

import copy
import dataclasses

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.runs.predictions import select_scores
from layer_distillation.runs.preparation import make_scorer
from layer_distillation.step.progress import silence
from layer_distillation.tasks.loading import TaskData


def score_untrained(
    student: PreTrainedModel,
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    training: DistillationTrainingArguments,
) -> dict[str, float]:
    """Task loss, metrics and closeness to the teacher on the first validation split, every row once, in the precision
    of the weights, as `predict_splits` scores the trained student.

    Call it before the trainer of the run is made: a trainer seeds all random states when it is made, so that what is
    drawn here is drawn again. A copy is scored, so that the trainer of the run meets a model that none has prepared.

    Args:
        data: its first validation split may carry a column `teacher_logits`, else nothing is said of the teacher.
    """
    split, rows = next(iter(data.validation.items()))
    scorer = DistillationTrainer(
        model=copy.deepcopy(student),
        args=dataclasses.replace(training, push_to_hub=False, hub_token=None, report_to="none"),
        eval_dataset=rows,
        processing_class=tokenizer,
        compute_metrics=make_scorer(data),
        task_kind=data.kind,
        data_collator=data.make_collator(tokenizer, training),
    )
    silence(scorer)
    scores = select_scores(scorer.predict(rows, metric_key_prefix=split).metrics, split)
    scorer.model.to("cpu")  # a trainer is a reference cycle: its model would stay on the GPU until it is collected
    return scores
