from dataclasses import replace

import pytest

from layer_distillation import DistillationTrainingArguments
from tiny_kinds import TINY_KINDS, make_data


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_in_bfloat16_on_a_processor_batches_have_few_lengths(tmp_path, kind):
    """None is longer than rows may be, as a model may have no position beyond."""
    data, tokenizer = make_data(tmp_path, kind)

    def measure(max_length: int, bf16: bool) -> list[int]:
        training = DistillationTrainingArguments(str(tmp_path), use_cpu=True, bf16=bf16, report_to="none")
        collate = replace(data, max_length=max_length).make_collator(tokenizer, training)
        return [collate([row])["input_ids"].shape[-1] for row in data.train]

    exact = measure(256, bf16=False)
    assert any(length % 8 for length in exact)
    for max_length, step in ((20, 1), (64, 2), (100, 2), (101, 1), (256, 8)):
        assert measure(max_length, bf16=True) == [length + -length % step for length in exact]
