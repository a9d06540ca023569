"""A narrower student is a slice of its source: whole where nothing is left out, exact where what is left out is 0."""

import math

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from layer_distillation.students.width import (
    Importance,
    Widths,
    get_widths,
    keep_largest,
    narrow_student,
    resolve_widths,
    select_units,
)
from layer_distillation.students.width_measures import (
    fit_norms,
    make_mean_free_basis,
    measure_components,
    measure_importance,
)
from layer_distillation.students.width_names import WIDTH_NAMES
from student_init import build_student, find_layer_stack
from test_student_init import compute_logits, make_teacher, share_teacher

NAMES = sorted(WIDTH_NAMES)
every_name = pytest.mark.parametrize("name", NAMES)
LAYERS = [0, 1, 2, 3]


def make_batches(num_rows: int = 12) -> list[dict[str, torch.Tensor]]:
    """Two batches, padded on the right."""
    draw = torch.Generator().manual_seed(3)
    batches = []
    for _ in range(2):
        mask = (torch.arange(10) < torch.randint(3, 11, (num_rows // 2, 1), generator=draw)).long()
        ids = torch.randint(4, 40, (num_rows // 2, 10), generator=draw).where(mask.bool(), 1)
        batches.append({"input_ids": ids, "attention_mask": mask})
    return batches


def cut(teacher: PreTrainedModel, widths: Widths, importance: Importance | None = None, layers=LAYERS, basis=None):
    selection = select_units(teacher.config, widths, importance, basis)
    return narrow_student(build_student(teacher, layers, dtype=None), layers, widths, selection)


@every_name
@pytest.mark.parametrize("by_importance", [False, True])
def test_the_teacher_s_own_sizes_give_the_same_student_bit_for_bit(name: str, by_importance: bool) -> None:
    teacher = share_teacher(name)
    importance = measure_importance(teacher, make_batches()) if by_importance else None
    student, plain = cut(teacher, get_widths(teacher.config), importance), build_student(teacher, LAYERS)
    assert student.config.to_dict() == plain.config.to_dict()
    weights = plain.state_dict()
    assert student.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in student.state_dict().items())


@every_name
def test_units_without_outgoing_weights_are_left_out_first_and_nothing_changes(name: str) -> None:
    teacher = make_teacher(name).double()
    dead = {layer: [1 + layer, 7, 20] for layer in LAYERS}  # others in every layer
    with torch.no_grad():
        for layer, module in enumerate(find_layer_stack(teacher)[1]):
            module.get_submodule(WIDTH_NAMES[name].units_output).weight[:, dead[layer]] = 0.0
    importance = measure_importance(teacher, make_batches())
    own = get_widths(teacher.config)
    for layer in LAYERS:
        assert (importance.units[layer] == 0).nonzero().flatten().tolist() == dead[layer]
    student = cut(teacher, Widths(own.hidden, own.units - 3, own.heads), importance)
    torch.testing.assert_close(compute_logits(student), compute_logits(teacher), atol=1e-12, rtol=0)
    truncated = cut(teacher, Widths(own.hidden, own.units - 3, own.heads))
    assert (compute_logits(truncated) - compute_logits(teacher)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_a_head_without_outgoing_weights_is_left_out_first_and_nothing_changes(name: str) -> None:
    teacher = make_teacher(name, num_attention_heads=4, num_key_value_heads=2, head_dim=4).double()
    dead = [0, 1, 1, 0]  # the pair of heads that shares these keys and values, by layer
    with torch.no_grad():
        for pair, module in zip(dead, find_layer_stack(teacher)[1], strict=True):
            module.self_attn.o_proj.weight[:, pair * 8 : pair * 8 + 8] = 0.0
    importance = measure_importance(teacher, make_batches())
    widths = resolve_widths(teacher.config, None, None, heads=2)
    assert widths == Widths(16, 24, 2)
    student = cut(teacher, widths, importance)
    assert (student.config.head_dim, student.config.num_key_value_heads) == (4, 1)
    torch.testing.assert_close(compute_logits(student), compute_logits(teacher), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "mpnet", "ernie"])
def test_whole_heads_are_kept_by_importance_where_width_and_heads_shrink_together(name: str) -> None:
    """The attention of a kept head is the teacher's own: its queries, keys and values, in the teacher's order."""
    teacher = make_teacher(name, num_attention_heads=4, n_heads=4)
    names, (_, stack) = WIDTH_NAMES[name], find_layer_stack(teacher)
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0]]).repeat(4, 1)  # heads 0 and 2
    own = get_widths(teacher.config)
    importance = Importance(torch.arange(16.0).flip(0), scores, torch.zeros(4, own.units), torch.zeros(16))
    widths = resolve_widths(teacher.config, 8, None, None) if name != "electra" else Widths(8, own.units, 2)
    assert widths == Widths(8, own.units, 2)
    if name == "electra":
        teacher = make_teacher(name, num_attention_heads=4, embedding_size=12)
        stack = find_layer_stack(teacher)[1]
    student = cut(teacher, widths, importance, layers=[3, 0])
    rows = [0, 1, 2, 3, 8, 9, 10, 11]
    for layer, source in zip(find_layer_stack(student)[1], (3, 0), strict=True):
        for module in (names.queries, *names.keys_values):
            assert torch.equal(layer.get_submodule(module).weight, stack[source].get_submodule(module).weight[rows, :8])
        output = names.attention_output
        assert torch.equal(layer.get_submodule(output).weight, stack[source].get_submodule(output).weight[:8, rows])
    if name == "mpnet":
        biases = "mpnet.encoder.relative_attention_bias"
        assert torch.equal(student.get_submodule(biases).weight, teacher.get_submodule(biases).weight[:, [0, 2]])


@every_name
def test_a_narrower_student_reloads_as_it_is(name: str, tmp_path) -> None:
    teacher = share_teacher(name)
    importance = measure_importance(teacher, make_batches())
    student = cut(teacher, resolve_widths(teacher.config, 12, 10, None), importance, layers=[3, None, 1])
    student.save_pretrained(tmp_path)
    reloaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert (reloaded.config.hidden_size, get_widths(reloaded.config).units) == (12, 10)
    assert torch.equal(compute_logits(reloaded), compute_logits(student))


def test_fresh_layers_are_drawn_at_the_new_width_by_the_seed_and_the_teacher_stays() -> None:
    teacher = make_teacher("bert")
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    widths = resolve_widths(teacher.config, 8, 12, None)
    selection = select_units(teacher.config, widths)
    one, same, other = (
        narrow_student(build_student(teacher, [None, 2], seed=seed), [None, 2], widths, selection, seed)
        for seed in (1, 1, 2)
    )
    key = "bert.encoder.layer.{}.attention.self.query.weight"
    assert torch.equal(one.state_dict()[key.format(0)], same.state_dict()[key.format(0)])
    assert not torch.equal(one.state_dict()[key.format(0)], other.state_dict()[key.format(0)])
    assert torch.equal(one.state_dict()[key.format(1)], before[key.format(2)][:8, :8])
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("bert", (None, None, 1), r"hidden_size 16 with --student_attention_heads 1 has heads of 16.* are 8 wide"),
        ("bert", (10, None, 4), "student_attention_heads is 4, and the teacher has 2"),
        ("bert", (9, None, 2), "has heads of 4.5"),
        ("bert", (32, None, None), "student_hidden_size is 32, and the teacher has 16"),
        ("bert", (None, 25, None), "student_intermediate_size is 25, and the teacher has 24"),
        ("electra", (8, None, None), "is an electra's embedding_size"),
        ("llama", (None, None, 1), "2 heads share their keys and values: give a multiple of 2"),
        ("gpt2", (8, None, None), "model type 'gpt2' is not possible"),
        ("modernbert", (None, 8, None), "leave the student's sizes out, or take one of bert, camembert"),
    ],
)
def test_what_no_slice_can_be_is_refused(name: str, sizes: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_widths(share_teacher(name).config, *sizes)


def test_of_equal_scores_the_first_are_kept_in_their_order() -> None:
    assert keep_largest(torch.tensor([1.0, 5.0, 1.0, 5.0, 1.0]), 3).tolist() == [0, 1, 3]


def test_importance_is_what_a_finite_difference_says() -> None:
    """One row, one unit: a * dL/da summed over tokens is the derivative of L by a factor on the unit, at 1."""
    teacher = make_teacher("bert").double()
    batch = {name: tensor[:1] for name, tensor in make_batches()[0].items()}
    unit, step = 5, 1e-6
    output = find_layer_stack(teacher)[1][2].output.dense

    def score(factor: float) -> float:
        hook = output.register_forward_pre_hook(
            lambda _, args: (
                torch.cat([args[0][..., :unit], factor * args[0][..., unit : unit + 1], args[0][..., unit + 1 :]], -1),
            )
        )
        with torch.no_grad():
            value = teacher(**batch).logits.log_softmax(-1).max().item()
        hook.remove()
        return value

    slope = abs(score(1 + step) - score(1 - step)) / (2 * step)
    assert measure_importance(teacher, [batch]).units[2, unit].item() == pytest.approx(slope, rel=1e-5)


@every_name
def test_padding_changes_no_importance_and_frozen_teachers_are_measured_alike(name: str) -> None:
    teacher = make_teacher(name).double()
    teacher.requires_grad_(False)
    batches = make_batches()
    further = [
        {key: nn.functional.pad(tensor, (0, 4), value=int(key == "input_ids")) for key, tensor in batch.items()}
        for batch in batches
    ]
    one, other = measure_importance(teacher, batches), measure_importance(teacher, further)
    for part in ("hidden", "heads", "units", "pooled"):
        torch.testing.assert_close(getattr(one, part), getattr(other, part))
        assert getattr(one, part).sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


# ---- principal components ----------------------------------------------------------------------------------------


def test_the_mean_free_basis_is_orthonormal_and_orthogonal_to_the_mean() -> None:
    basis = make_mean_free_basis(6)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(basis.sum(dim=0), torch.zeros(5, dtype=torch.float64))


@torch.no_grad()
def confine_states(teacher: PreTrainedModel, subspace: torch.Tensor) -> None:
    """Lets every state lie in the columns of `subspace`, one gain per norm, and the second head write nothing."""
    project = subspace @ subspace.T
    for name, module in teacher.named_modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.constant_(module.weight, 1.3)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            module.weight.copy_(module.weight @ project)
        elif name.endswith("output.dense"):
            module.weight.copy_(project @ module.weight)
            module.bias.copy_(project @ module.bias)
    for layer in find_layer_stack(teacher)[1]:
        layer.attention.output.dense.weight[:, 8:] = 0.0


def test_principal_components_are_exact_where_the_states_have_no_others() -> None:
    """Mean-free states in 7 dimensions, equal gains: then a norm does commute with the rotation, and 8 are enough."""
    teacher = make_teacher("bert", layer_norm_eps=1e-30).double()
    draw = torch.Generator().manual_seed(0)
    subspace = make_mean_free_basis(16) @ torch.linalg.qr(torch.randn(15, 7, generator=draw).double()).Q
    confine_states(teacher, subspace)
    own = get_widths(teacher.config)
    basis = measure_components(teacher, make_batches(), 8)
    torch.testing.assert_close(basis.directions.T @ basis.directions, torch.eye(8).double() - 1 / 8)
    student = cut(teacher, Widths(8, own.units, 1), basis=basis)
    gains = {
        tensor.item() for name, tensor in basis.norms.items() if "weight" in name for tensor in tensor.round(decimals=9)
    }
    assert gains == {round(1.3 * math.sqrt(16 / 8), 9)}
    wanted, found = (collect_last_states(model) for model in (teacher, student))
    torch.testing.assert_close(found, wanted @ basis.directions, atol=1e-9, rtol=0)


@torch.no_grad()
def collect_last_states(model: PreTrainedModel) -> torch.Tensor:
    batch = make_batches()[0]
    states = model(**batch, output_hidden_states=True).hidden_states[-1]
    return states[batch["attention_mask"].bool()]


def test_a_norm_s_fit_is_the_least_squares_one() -> None:
    teacher, batches = make_teacher("bert").double(), make_batches()
    directions = measure_components(teacher, batches, 8).directions
    fitted = fit_norms(teacher, batches, directions)
    norm, seen = teacher.bert.embeddings.LayerNorm, []
    hook = norm.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    for batch in batches:
        teacher(**batch)
    hook.remove()
    masks = [batch["attention_mask"].bool() for batch in batches]
    given, wanted = (
        torch.cat([pair[part][mask] for pair, mask in zip(seen, masks, strict=True)]).detach() @ directions
        for part in (0, 1)
    )
    normed = nn.functional.layer_norm(given, (8,), eps=norm.eps)
    for column in range(8):
        design = torch.stack([normed[:, column], torch.ones(len(normed), dtype=torch.float64)], dim=1)
        solution = torch.linalg.lstsq(design, wanted[:, column]).solution
        assert fitted["bert.embeddings.LayerNorm.weight"][column].item() == pytest.approx(solution[0].item())
        assert fitted["bert.embeddings.LayerNorm.bias"][column].item() == pytest.approx(solution[1].item())
