"""What is measured of layers and subsets, by identities (a layer that does nothing goes first) and by hand."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import BertForQuestionAnswering, BertForTokenClassification, PreTrainedModel

from calibration_tools import make_batches, make_idle
from conftest import make_bert
from layer_distillation.losses.functions import kl_divergence_loss
from layer_distillation.outputs.compared import run_model
from layer_distillation.students import layer_scores
from layer_distillation.students.layer_scores import SubsetScorer, measure_influence, measure_similarity
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES, Calibration, LayerChoice, ScoredLayers
from layer_distillation.students.layer_similarity import iterate_batches, iterate_marks
from layer_distillation.students.representation_similarity import linear_cka
from layer_distillation.tasks.kinds.entry import CLASSES, NUMBER
from student_init import build_student
from test_student_init import every_architecture, make_teacher
from tiny_kinds import make_data, make_model


def split_rows(batches: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Every row by itself, without any padding."""
    return [
        {name: tensor[row : row + 1, : int(batch["attention_mask"][row].sum())] for name, tensor in batch.items()}
        for batch in batches
        for row in range(len(batch["input_ids"]))
    ]


def make_full_batch() -> dict[str, torch.Tensor]:
    """Four rows without padding, for the models of `make_teacher`."""
    ids = torch.randint(3, 40, (4, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def choose(strategy: str, teacher: PreTrainedModel, count: int, batches: list | None = None) -> LayerChoice:
    calibration = Calibration(teacher, batches or make_batches(), outputs=CLASSES, disable_tqdm=True)
    return SEARCHED_STRATEGIES[strategy](calibration, count, 4)


@pytest.mark.parametrize("idle", range(1, 4))
@pytest.mark.parametrize("strategy", ["influence", "greedy", "beam"])
def test_a_layer_that_does_nothing_is_the_first_to_go(strategy, idle):
    choice = choose(strategy, make_idle(make_bert(4, seed=1), idle), 3)
    assert choice.layers == [layer for layer in range(4) if layer != idle]
    if strategy == "influence":
        assert choice.scores[idle].score == pytest.approx(0, abs=1e-6)
        assert min(scored.score for scored in choice.scores if scored.layers != [idle]) > 1e-3
    else:
        assert [scored.layers for scored in choice.scores] == [[0, 1, 2, 3], choice.layers]
        assert choice.scores[-1].score == pytest.approx(0, abs=1e-6)


def test_influence_is_that_of_the_real_tokens_by_hand():
    teacher, batches = make_bert(4, seed=1), make_batches()
    cosines = []
    with torch.no_grad():
        for row in split_rows(batches):
            states = torch.stack(teacher(**row, output_hidden_states=True).hidden_states)[:, 0].double()
            cosines.append(F.cosine_similarity(states[:-1], states[1:], dim=-1))
    expected = 1 - torch.cat(cosines, dim=1).mean(dim=1)
    assert measure_influence(teacher, batches) == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_last_layers_output_is_taken_before_the_final_norm():
    teacher = make_teacher("gpt2")
    for projection in (teacher.transformer.h[-1].attn.c_proj, teacher.transformer.h[-1].mlp.c_proj):
        nn.init.zeros_(projection.weight)
        nn.init.zeros_(projection.bias)
    assert measure_influence(teacher, [make_full_batch()])[-1] == pytest.approx(0, abs=1e-9)


def test_similarity_is_linear_cka_of_the_real_tokens_by_hand():
    teacher, batches = make_bert(4, seed=1), make_batches()
    with torch.no_grad():
        states = [
            torch.stack(teacher(**row, output_hidden_states=True).hidden_states)[1:, 0] for row in split_rows(batches)
        ]
    outputs = torch.cat(states, dim=1)
    similarity = measure_similarity(teacher, batches)
    for first, second in product(range(4), repeat=2):
        expected = linear_cka(outputs[first], outputs[second])
        assert similarity[first, second].item() == pytest.approx(expected, abs=1e-5)


def test_a_subsets_score_is_its_students_divergence_by_hand_whatever_the_padding():
    teacher, batches = make_bert(4, seed=1), make_batches()
    student = build_student(teacher, [0, 2])
    divergences = []
    with torch.no_grad():
        for row in split_rows(batches):
            teacher_log, student_log = (model(**row).logits.double().log_softmax(-1) for model in (teacher, student))
            divergences.append((teacher_log.exp() * (teacher_log - student_log)).sum().item())
    expected = math.fsum(divergences) / len(divergences)
    for padded in (batches, make_batches(length=30)):
        scores = SubsetScorer(teacher, padded, outputs=CLASSES).score_subsets([(0, 2), (0, 1, 2, 3)])
        assert scores == pytest.approx([expected, 0], rel=1e-4, abs=1e-7)


def test_a_regression_is_scored_by_its_squared_error():
    teacher, batches = make_bert(4, num_labels=1, seed=1), make_batches()
    with torch.no_grad():
        errors = [(teacher(**batch).logits - build_student(teacher, [1])(**batch).logits).square() for batch in batches]
    score = SubsetScorer(teacher, batches, outputs=NUMBER).score_subsets([(1,)])[0]
    assert score == pytest.approx(torch.cat(errors).mean().item(), rel=1e-5)


def test_a_subset_is_scored_once(monkeypatch):
    scorer = SubsetScorer(make_bert(3), make_batches(1), outputs=CLASSES)
    first = scorer.score_subsets([(0,), (1,), (0,)])
    monkeypatch.setattr(layer_scores, "build_student", lambda *_: pytest.fail("built again"))
    assert scorer.score_subsets([(1,), (0,)]) == [first[1], first[0]]


def test_outputs_that_are_no_numbers_are_refused():
    teacher = make_bert(2)
    nn.init.constant_(teacher.classifier.bias, float("nan"))
    with pytest.raises(ValueError, match="not all finite numbers: check its weights"):
        choose("greedy", teacher, 1)


@pytest.mark.parametrize("strategy", SEARCHED_STRATEGIES)
def test_a_choice_repeats_and_leaves_teacher_and_random_state_as_they_were(strategy):
    teacher = make_bert(4, seed=1, hidden_dropout_prob=0.5)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    torch.manual_seed(3)
    random_state = torch.get_rng_state()
    assert choose(strategy, teacher.train(), 2) == choose(strategy, teacher, 2)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@every_architecture
def test_every_architecture_can_be_searched(name, caplog):
    teacher, batch = make_teacher(name), make_full_batch()
    calibration = Calibration(teacher, [batch], outputs=CLASSES, disable_tqdm=True)
    choices = {strategy: choose_layers(calibration, 2, 2) for strategy, choose_layers in SEARCHED_STRATEGIES.items()}
    assert not [record for record in caplog.records if record.name == "student_init"]  # no warning per candidate
    for choice in choices.values():
        assert len(choice.layers) == 2
        assert choice.layers == sorted(set(choice.layers))
        assert all(math.isfinite(scored.score) for scored in choice.scores)
    student = build_student(teacher, choices["beam"].layers)
    with torch.no_grad():
        expected = kl_divergence_loss(student(**batch).logits, teacher(**batch).logits).item()
    assert choices["beam"].scores[-1] == ScoredLayers(choices["beam"].layers, pytest.approx(expected, rel=1e-5))


def test_what_no_student_can_have_is_never_chosen():
    teacher = make_teacher("modernbert", norm_bias=True)
    batch = make_full_batch()
    assert choose("greedy", teacher, 1, batches=[batch]).layers == [0]
    scorer = SubsetScorer(teacher, [batch], outputs=CLASSES)
    assert scorer.score_subsets([(1, 2)]) == [math.inf]
    assert "keep layer 0 first" in str(scorer.refusal)


@pytest.mark.parametrize("side", ["right", "left"])
def test_spans_are_compared_over_their_allowed_positions(tmp_path, side):
    """KL of start and of end by hand, one window at a time; the windows have several lengths."""
    data, tokenizer = make_data(tmp_path, "question-answering")
    teacher = make_model(BertForQuestionAnswering, 4, num_labels=2)
    teacher.bert.embeddings.position_embeddings.weight.data.zero_()  # padding in front would move them
    tokenizer.padding_side = side
    device = torch.device("cpu")
    batches = list(iterate_batches(data.train, tokenizer, device))
    marks = list(iterate_marks(data.train, "item_mask", tokenizer, device))
    score = SubsetScorer(teacher, batches, CLASSES, marks=marks).score_subsets([(1, 2)])[0]
    student, expected = build_student(teacher, [1, 2]).eval(), []
    for row in data.train:
        inputs = {name: torch.tensor([row[name]]) for name in ("input_ids", "attention_mask")}
        allowed = torch.tensor(row["item_mask"]) == 1
        with torch.no_grad():
            own, other = (run_model(model, inputs).logits[0, allowed].log_softmax(0) for model in (student, teacher))
        expected += (other.exp() * (other - own)).sum(0).tolist()
    assert len({len(ids) for ids in data.train["input_ids"]}) > 1
    assert score == pytest.approx(sum(expected) / len(expected), rel=1e-4)


def test_tags_are_compared_at_the_first_pieces(tmp_path):
    data, tokenizer = make_data(tmp_path, "token-classification")
    teacher = make_model(BertForTokenClassification, 4, num_labels=4)
    batches = list(iterate_batches(data.train, tokenizer, torch.device("cpu")))
    marks = list(iterate_marks(data.train, "item_mask", tokenizer, torch.device("cpu")))
    scorer = SubsetScorer(teacher, batches, CLASSES, marks=marks)
    assert sum(map(len, scorer._compute_logits(teacher))) == sum(map(sum, data.train["item_mask"]))
    assert scorer.score_subsets([(0, 1, 2, 3)])[0] == pytest.approx(0, abs=1e-6)
