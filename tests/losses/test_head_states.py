"""PKD and RKD: values by hand, the states that the heads read. What holds for every loss is in `test_losses.py`."""

import pytest
import torch

from layer_distillation.losses.head_states import patient_loss, relational_distance_loss, relational_loss


def test_patient_loss_by_hand_takes_directions_of_first_real_tokens():
    student = torch.tensor([[[3.0, 0.0], [1.0, 1.0]], [[9.0, 9.0], [0.0, 4.0]]])
    teacher = torch.tensor([[[0.0, 2.0], [1.0, 1.0]], [[-9.0, 0.0], [0.0, 0.5]]])
    mask = torch.tensor([[1, 1], [0, 1]])  # the second row is padded on the left
    assert patient_loss([student], [teacher], mask).item() == pytest.approx((2.0 + 0.0) / 2)


def test_patient_loss_takes_the_last_real_token_where_the_head_reads_that():
    student = torch.tensor([[[3.0, 0.0], [1.0, 1.0]], [[9.0, 9.0], [0.0, 4.0]]])
    teacher = torch.tensor([[[0.0, 2.0], [1.0, 1.0]], [[-9.0, 0.0], [0.0, 0.5]]])
    mask = torch.tensor([[1, 0], [0, 1]])  # one row is padded on the right, one on the left
    for place in ("first", "last", "mean"):
        loss = patient_loss([student], [teacher], mask, places=(place, place))
        assert loss.item() == pytest.approx((2.0 + 0.0) / 2)
    both_tokens = patient_loss([student], [teacher], torch.ones(2, 2), places=("last", "last"))
    assert both_tokens.item() == pytest.approx(0.0)


def test_patient_loss_compares_what_each_head_reads():
    student, teacher = torch.tensor([[[1.0, 0.0], [9.0, 9.0]]]), torch.tensor([[[0.0, 5.0], [2.0, 0.0]]])
    mask = torch.ones(1, 2)
    assert patient_loss([student], [teacher], mask, places=("first", "last")).item() == pytest.approx(0.0)
    assert patient_loss([student], [teacher], mask, places=("first", "first")).item() == pytest.approx(2.0)
    mean = torch.tensor([[[0.2, 0.5], [7.0, 7.0]]])  # along the mean of the teacher's two states, (1, 2.5)
    assert patient_loss([mean], [teacher], mask, places=("first", "mean")).item() == pytest.approx(0.0, abs=1e-6)


def test_patient_loss_pulls_across_the_student_s_state_never_along_it():
    student, teacher = torch.randn(3, 2, 8, requires_grad=True), torch.randn(3, 2, 8)
    patient_loss([student], [teacher], torch.ones(3, 2)).backward()
    torch.testing.assert_close((student.grad[:, 0] * student[:, 0]).sum(-1), torch.zeros(3), rtol=0, atol=1e-6)
    assert student.grad[:, 0].abs().min() > 0
    assert torch.equal(student.grad[:, 1], torch.zeros(3, 8))


def test_relational_distance_by_hand_and_whatever_the_scale():
    student = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 3, 2 in units of 2
    teacher = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])  # 1, 2, 1 in units of 4/3
    expected = (0.5 * 0.25**2 + 0 + 0.5 * 0.25**2) / 3
    for scale in (1.0, 7.0):
        assert relational_distance_loss(scale * student, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[1.0, 2.0]] * 3, [[1.0, 2.0], [1.0, 2.0], [0.0, 5.0]]])
def test_relational_distance_of_rows_that_coincide_has_a_finite_gradient(rows):
    student = torch.tensor(rows, requires_grad=True)
    loss = relational_distance_loss(student, torch.randn(len(rows), 2))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_relational_loss_reads_the_heads_states_of_every_pair_whatever_the_widths():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
    students, teachers = ([torch.randn(4, 3, width) for _ in range(2)] for width in (5, 7))
    expected = [
        relational_distance_loss(student[range(4), [1, 2, 0, 2]], teacher[:, 0])
        for student, teacher in zip(students, teachers, strict=True)
    ]
    loss = relational_loss(students, teachers, mask, ("last", "first"))
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert expected[0] != expected[1]
