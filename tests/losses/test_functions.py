"""Each loss: a value by hand, zero at equality, padding ignored, parts that add up to the whole."""

import math

import pytest
import torch

from layer_distillation.losses.functions import (
    attention_loss,
    cross_entropy_loss,
    embedding_loss,
    hidden_cosine,
    hidden_state_loss,
    kl_divergence_loss,
    logit_cosine_loss,
    relation_loss,
    squared_error_loss,
)
from layer_distillation.losses.head_states import STATE_PLACES, patient_loss, relational_distance_loss, relational_loss

LOG3 = math.log(3.0)


def test_cross_entropy_by_hand_skips_rows_without_a_label():
    logits = torch.tensor([[0.0, LOG3], [0.0, LOG3], [9.0, -9.0]])  # probabilities 1/4 and 3/4
    labels = torch.tensor([0, 1, -100])
    expected = (math.log(4) + math.log(4 / 3)) / 2
    assert cross_entropy_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_weighted_cross_entropy_by_hand_and_as_torch_has_it():
    logits = torch.tensor([[0.0, LOG3], [0.0, LOG3], [9.0, -9.0]])
    labels, weights = torch.tensor([0, 1, -100]), torch.tensor([3.0, 0.5])
    loss = cross_entropy_loss(logits, labels, class_weights=weights).item()
    assert loss == pytest.approx((3 * math.log(4) + 0.5 * math.log(4 / 3)) / 3.5, rel=1e-6)
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels, weights).item())
    parts = [cross_entropy_loss(logits[row : row + 1], labels[row : row + 1], 3.5, weights).item() for row in range(3)]
    assert sum(parts) == pytest.approx(loss)
    assert cross_entropy_loss(logits, torch.full((3,), -100), class_weights=weights).item() == 0


def test_cross_entropy_without_any_label_is_zero_with_a_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = cross_entropy_loss(logits, torch.tensor([-100, -100]))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_squared_error_never_broadcasts_a_column_against_a_row():
    scores, targets = torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0.0, 4.0, float("nan")])
    assert squared_error_loss(scores, targets).item() == pytest.approx((1 + 4) / 2)


def test_kl_by_hand_carries_the_squared_temperature():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 2 * LOG3]])  # at T = 2: 1/2, 1/2 and 1/4, 3/4
    kl = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert kl_divergence_loss(student, teacher, temperature=2.0).item() == pytest.approx(4 * kl, rel=1e-6)


def test_kl_gradient_keeps_its_size_when_the_temperature_rises():
    """At high T the gradient tends to (student - teacher) / classes for centred logits, whatever T (Hinton 2.1)."""
    student, teacher = torch.tensor([[1.0, -1.0]]), torch.tensor([[-0.5, 0.5]])
    gradients = []
    for temperature in (50.0, 100.0):
        logits = student.clone().requires_grad_()
        kl_divergence_loss(logits, teacher, temperature).backward()
        gradients.append(logits.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=2e-3, atol=0)
    torch.testing.assert_close(gradients[1], (student - teacher) / 2, rtol=2e-3, atol=0)


def test_kl_is_a_mean_over_rows_and_a_sum_over_classes():
    student, teacher = torch.randn(1, 5), torch.randn(1, 5)
    once = kl_divergence_loss(student, teacher)
    assert kl_divergence_loss(student.repeat(7, 1), teacher.repeat(7, 1)).item() == pytest.approx(once.item(), rel=1e-5)


def test_kl_of_a_batch_without_any_item_is_zero_with_a_gradient():
    for num_items in (None, 0, torch.tensor(0.0)):
        logits = torch.zeros(0, 3, requires_grad=True)
        loss = kl_divergence_loss(logits, torch.zeros(0, 3), 2.0, num_items)
        loss.backward()
        assert loss == 0


def test_logit_cosine_by_hand():
    student, teacher = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [3.0, 3.0]])
    assert logit_cosine_loss(student, teacher).item() == pytest.approx(0.5)  # 1 and 0


@pytest.mark.parametrize(("kind", "expected"), [("mse", (1.0 + 4.0) / 2), ("cosine", (1.0 + 0.0) / 2)])
def test_hidden_state_loss_by_hand_counts_real_tokens_only(kind, expected):
    student = torch.tensor([[[1.0, 0.0], [2.0, 2.0], [7.0, 7.0]]])
    teacher = torch.tensor([[[0.0, 1.0], [4.0, 4.0], [0.0, 1.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert hidden_state_loss([student], [teacher], mask, kind).item() == pytest.approx(expected, abs=1e-6)


def test_attention_loss_by_hand_counts_real_queries_and_keys_only():
    student, teacher = torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)
    student[0, 0, 0, 1] = 2.0  # head 0, query 0, key 1: 4 / 2 heads / 2 real keys = 1, over 2 real queries
    student[0, :, 2, :] = 9.0  # a padded query
    student[0, :, :, 2] = 9.0  # a padded key
    assert attention_loss([student], [teacher], torch.tensor([[1, 1, 0]])).item() == pytest.approx(0.5)


def test_attention_kl_by_hand_is_over_real_keys_only():
    student, teacher = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    teacher[0, 0, 0, 1] = LOG3  # query 0: 1/4, 3/4 against 1/2, 1/2; query 1 is the same in both
    teacher[0, 0, 2, :2] = torch.tensor([5.0, -5.0])  # a padded query
    teacher[0, 0, :, 2] = 9.0  # a padded key
    loss = attention_loss([student], [teacher], torch.tensor([[1, 1, 0]]), kind="kl")
    assert loss.item() == pytest.approx(divide_kl([0.25, 0.75]) / 2, rel=1e-6)


def divide_kl(probabilities: list[float]) -> float:
    """KL of a distribution to the uniform one."""
    return sum(p * math.log(p * len(probabilities)) for p in probabilities)


def test_embedding_loss_by_hand():
    student, teacher = torch.tensor([[[1.0, 0.0], [7.0, 7.0]]]), torch.tensor([[[0.0, 3.0], [0.0, 0.0]]])
    assert embedding_loss(student, teacher, torch.tensor([[1, 0]])).item() == pytest.approx((1 + 9) / 2)


def test_relation_loss_by_hand():
    """Two relation heads of width 2; in the teacher's queries head 0 has the scaled products a_i * a_j."""
    values = [1.0, 1.0 + LOG3]
    teacher = torch.zeros(1, 3, 3, 4)
    teacher[0, 0, :2, 0] = torch.tensor(values) * 2**0.25  # the product over sqrt(2) is a_i * a_j
    teacher[0, :, 2] = 9.0  # padding
    expected = 0.0
    for value in values:
        weights = [math.exp(value * other) for other in values]
        expected += divide_kl([weight / sum(weights) for weight in weights])
    loss = relation_loss(torch.zeros(1, 3, 3, 8), teacher, torch.tensor([[1, 1, 0]]), num_heads=2)
    assert loss.item() == pytest.approx(expected / 2 / 6, rel=1e-5)  # 2 queries, 3 kinds * 2 heads


def test_the_cosine_of_hidden_states_is_torch_s_in_value_and_gradient():
    """Against float64, each gradient in units of what its vector's length makes of it."""
    torch.manual_seed(0)
    lengths = torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    states, teacher = torch.randn(3, 4, 16) * lengths, torch.randn(3, 4, 16)
    student, exact = states.clone().requires_grad_(), states.double().requires_grad_()
    distance, expected = hidden_cosine(student, teacher), 1 - torch.cosine_similarity(exact, teacher.double(), dim=-1)
    torch.testing.assert_close(distance.double(), expected, atol=1e-6, rtol=0)
    distance.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close((student.grad * lengths).double(), exact.grad * lengths, atol=1e-6, rtol=1e-5)
    assert hidden_cosine(torch.zeros(1, 1, 16), teacher[:1, :1]).item() == 1.0


def draw_pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(*shape), torch.randn(*shape)


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_every_term_is_zero_at_equality(kind):
    logits, states, attentions = torch.randn(4, 3), torch.randn(4, 6, 8), torch.randn(4, 2, 6, 6)
    relations = torch.randn(4, 3, 6, 8)
    mask = torch.ones(4, 6, dtype=torch.long)
    losses = [
        kl_divergence_loss(logits, logits, 3.0),
        logit_cosine_loss(logits, logits),
        squared_error_loss(logits[:, :1], logits[:, 0]),
        hidden_state_loss([states], [states], mask, kind),
        attention_loss([attentions], [attentions], mask),
        attention_loss([attentions], [attentions], mask, kind="kl"),
        embedding_loss(states, states, mask),
        patient_loss([states], [states], mask),
        relation_loss(relations, relations, mask, num_heads=4),
        relational_distance_loss(logits, logits),
        relational_loss([states], [states], mask),
    ]
    assert torch.stack(losses).abs().max().item() < 1e-6


def test_more_padding_changes_no_term():
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    padded_mask = torch.nn.functional.pad(mask, (0, 5))
    for kind in ("mse", "cosine"):
        student, teacher = draw_pair(2, 4, 8)
        wide = [torch.nn.functional.pad(states, (0, 0, 0, 5), value=3.0) for states in (student, teacher)]
        wide[0][:, 4:] = 11.0
        short = hidden_state_loss([student], [teacher], mask, kind)
        assert hidden_state_loss([wide[0]], [wide[1]], padded_mask, kind).item() == pytest.approx(
            short.item(), rel=1e-6
        )
    student, teacher = draw_pair(2, 2, 4, 4)
    wide = [
        torch.nn.functional.pad(matrix, (0, 5, 0, 5), value=value) for matrix, value in ((student, 8), (teacher, 1))
    ]
    for kind in ("mse", "kl"):
        short = attention_loss([student], [teacher], mask, kind=kind)
        long = attention_loss([wide[0]], [wide[1]], padded_mask, kind=kind)
        assert long.item() == pytest.approx(short.item(), rel=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_more_padding_changes_no_term_of_whole_layers(side):
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]])
    added = (0, 5) if side == "right" else (5, 0)
    states, relations = draw_pair(3, 4, 8), draw_pair(3, 3, 4, 8)  # two rows have one distance: no relation of any
    wide_mask = torch.nn.functional.pad(mask, added)
    wide_states, wide_relations = (
        [
            torch.nn.functional.pad(tensor, (0, 0, *added), value=value)
            for tensor, value in zip(pair, (8.0, -3.0), strict=True)
        ]
        for pair in (states, relations)
    )
    pairs = [
        (embedding_loss(*states, mask), embedding_loss(*wide_states, wide_mask)),
        (patient_loss(states[:1], states[1:], mask), patient_loss(wide_states[:1], wide_states[1:], wide_mask)),
        (relation_loss(*relations, mask, 2), relation_loss(*wide_relations, wide_mask, 2)),
    ]
    for place in STATE_PLACES:
        short, wide = (states[:1], states[1:], mask), (wide_states[:1], wide_states[1:], wide_mask)
        pairs.append((relational_loss(*short, (place, place)), relational_loss(*wide, (place, place))))
    for short, long in pairs:
        torch.testing.assert_close(long, short, rtol=1e-5, atol=1e-7)


def test_parts_with_the_whole_count_add_up_to_the_whole():
    student, teacher = draw_pair(7, 3)
    labels = torch.tensor([0, 1, -100, 2, 0, -100, 1])
    states, attentions, relations = draw_pair(7, 5, 4), draw_pair(7, 2, 5, 5), draw_pair(7, 3, 5, 4)
    mask = (torch.arange(5) < torch.tensor([5, 1, 3, 2, 4, 5, 2])[:, None]).long()
    tokens = mask.sum()

    def compute_all(
        rows: slice, labelled: float | None, count: float | None, words: torch.Tensor | None
    ) -> torch.Tensor:
        return torch.stack(
            [
                cross_entropy_loss(student[rows], labels[rows], labelled),
                kl_divergence_loss(student[rows], teacher[rows], 2.0, count),
                logit_cosine_loss(student[rows], teacher[rows], count),
                hidden_state_loss([states[0][rows]], [states[1][rows]], mask[rows], "mse", words),
                attention_loss([attentions[0][rows]], [attentions[1][rows]], mask[rows], words),
                attention_loss([attentions[0][rows]], [attentions[1][rows]], mask[rows], words, "kl"),
                embedding_loss(states[0][rows], states[1][rows], mask[rows], words),
                patient_loss([states[0][rows]], [states[1][rows]], mask[rows], count),
                relation_loss(relations[0][rows], relations[1][rows], mask[rows], 2, words),
            ]
        )

    whole = compute_all(slice(None), None, None, None)
    parts = [compute_all(slice(start, start + 3), 5, 7, tokens) for start in (0, 3, 6)]
    torch.testing.assert_close(sum(parts), whole)
