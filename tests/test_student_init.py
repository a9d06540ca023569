"""The student is the teacher with other layers left out: for every architecture, against models assembled by hand."""

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartConfig,
    PreTrainedModel,
    XLMConfig,
)

from student_init import build_student, choose_student_layers, find_layer_stack, get_num_layers

NUM_LAYERS = 4
BERT_SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
    "id2label": {0: "no", 1: "maybe", 2: "yes"},
    "label2id": {"no": 0, "maybe": 1, "yes": 2},
}
ROTARY = {"num_key_value_heads": 1, "bos_token_id": 0, "eos_token_id": 2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16}
MIXED_TYPES = ["full_attention", "sliding_attention"] * 2
# name -> (model type, where its layers are, what its config needs beside or instead of BERT_SIZES)
ARCHITECTURES: dict[str, tuple[str, str, dict]] = {
    "bert": ("bert", "bert.encoder.layer", {}),
    "roberta": ("roberta", "roberta.encoder.layer", {}),
    "xlm-roberta": ("xlm-roberta", "roberta.encoder.layer", {}),
    "camembert": ("camembert", "roberta.encoder.layer", {}),
    "distilbert": (
        "distilbert",
        "distilbert.transformer.layer",
        {"n_layers": NUM_LAYERS, "n_heads": 2, "dim": 16, "hidden_dim": 24},
    ),
    "electra": ("electra", "electra.encoder.layer", {"embedding_size": 8}),
    "mpnet": ("mpnet", "mpnet.encoder.layer", {}),
    "deberta": ("deberta", "deberta.encoder.layer", RELATIVE),
    "deberta-v2": ("deberta-v2", "deberta.encoder.layer", RELATIVE | {"norm_rel_ebd": "layer_norm"}),
    "deberta-v2-conv": ("deberta-v2", "deberta.encoder.layer", RELATIVE | {"conv_kernel_size": 3}),
    "modernbert": ("modernbert", "model.layers", {"local_attention": 4, "cls_token_id": 0, "sep_token_id": 2}),
    "ernie": ("ernie", "ernie.encoder.layer", {"use_task_id": True, "task_type_vocab_size": 3}),
    "convbert": ("convbert", "convbert.encoder.layer", {"embedding_size": 16, "conv_kernel_size": 3}),
    "squeezebert": ("squeezebert", "transformer.encoder.layers", {"embedding_size": 16}),
    "roformer": ("roformer", "roformer.encoder.layer", {"embedding_size": 16}),
    "longformer": ("longformer", "longformer.encoder.layer", {"attention_window": [4, 8, 4, 8]}),
    "nomic_bert": ("nomic_bert", "nomic_bert.layers", {}),
    "eurobert": ("eurobert", "model.layers", ROTARY),
    "gpt2": ("gpt2", "transformer.h", {"n_layer": NUM_LAYERS, "n_head": 2, "n_embd": 16, "n_positions": 32}),
    "llama": ("llama", "model.layers", ROTARY),
    "qwen3": (
        "qwen3",
        "model.layers",
        ROTARY | {"head_dim": 8, "layer_types": MIXED_TYPES, "use_sliding_window": True, "sliding_window": 3},
    ),
    "xlnet": ("xlnet", "transformer.layer", {"n_layer": NUM_LAYERS, "n_head": 2, "d_model": 16, "d_inner": 24}),
}
SUBSETS = {"odd": [1, 3], "even": [0, 2], "bottom": [2, 3], "unordered": [3, 1, 1, 2, 1], "0_later": [2, 0]}
FLOAT32_ONLY = {"deberta", "deberta-v2-conv", "xlnet"}  # in transformers 5.23 float32 gets into their products
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def make_teacher(name: str, auto_class: type = AutoModelForSequenceClassification, **overrides) -> PreTrainedModel:
    model_type, _, sizes = ARCHITECTURES[name]
    values = BERT_SIZES | sizes | overrides
    for key, own_key in AutoConfig.for_model(model_type).attribute_map.items():
        if own_key in values:
            values.pop(key, None)
    if name == "xlnet":
        del values["max_position_embeddings"]  # has no limit, and says so by an error
    torch.manual_seed(0)
    teacher = auto_class.from_config(AutoConfig.for_model(model_type, **values)).eval()
    add_noise(teacher)
    if name == "modernbert":  # one gain throughout: what `fold_attention_norm` reproduces exactly
        nn.init.constant_(teacher.model.embeddings.norm.weight, 1.3)
        nn.init.normal_(teacher.model.embeddings.tok_embeddings.weight, std=10.0)  # far above the norm's epsilon
    return teacher


@cache
def share_teacher(name: str) -> PreTrainedModel:
    """For tests that leave the teacher alone, as `build_student` must (a test of its own sees to that)."""
    return make_teacher(name)


@torch.no_grad()
def add_noise(model: nn.Module) -> None:
    """Fresh norms are all ones and fresh biases all zeros: a copy that forgot them would not show."""
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.2)


@torch.no_grad()
def compute_logits(model: PreTrainedModel) -> torch.Tensor:
    """Logits (3, ...) of a batch padded on the right to 12 tokens."""
    input_ids = torch.randint(4, 40, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(12) < torch.tensor([[12], [7], [4]])).long()
    return model(input_ids=input_ids.where(mask.bool(), 1), attention_mask=mask).logits


def run_kept_layers(teacher: PreTrainedModel, name: str, layers: list[int]) -> torch.Tensor:
    """The reference, without any of student_init: the teacher's own stack reduced to its layers of these numbers."""
    reference = copy.deepcopy(teacher)
    reference.config.use_cache = False  # the cache files keys by the layer's old place
    parent_name, _, list_name = ARCHITECTURES[name][1].rpartition(".")
    parent = reference.get_submodule(parent_name)
    teacher_layers = parent.get_submodule(list_name)
    parent.add_module(list_name, nn.ModuleList(teacher_layers[layer] for layer in layers))
    if name == "qwen3":  # picks the mask in the model, by the layer's place
        reference.config.layer_types = [MIXED_TYPES[layer] for layer in layers]
    reference.config.num_hidden_layers = len(layers)  # some run this many of the list
    return compute_logits(reference)


@every_architecture
def test_keeping_every_layer_reproduces_the_teacher_bit_for_bit(name: str) -> None:
    teacher = share_teacher(name)
    assert find_layer_stack(teacher) == (ARCHITECTURES[name][1], teacher.get_submodule(ARCHITECTURES[name][1]))
    student = build_student(teacher, list(range(get_num_layers(teacher.config))))
    assert type(student) is type(teacher)
    assert torch.equal(compute_logits(student), compute_logits(teacher))


@pytest.mark.parametrize(
    ("name", "subset"),
    [(name, subset) for name in ARCHITECTURES for subset in SUBSETS if (name, subset) != ("modernbert", "0_later")],
)
def test_subset_equals_the_teacher_with_the_other_layers_skipped(name: str, subset: str) -> None:
    teacher, layers = share_teacher(name), SUBSETS[subset]
    student = build_student(teacher, layers)
    assert get_num_layers(student.config) == len(layers)
    torch.testing.assert_close(compute_logits(student), run_kept_layers(teacher, name, layers), atol=2e-5, rtol=1e-5)


@every_architecture
def test_plain_reload_gives_the_same_student(name: str, tmp_path: Path) -> None:
    layers = [3, None, 1]
    student = build_student(share_teacher(name), layers, strategy="some", teacher_name="org/teacher")
    student.save_pretrained(tmp_path)
    reloaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(compute_logits(reloaded), compute_logits(student))
    expected = {"teacher": "org/teacher", "strategy": "some", "student_layers": layers}
    assert reloaded.config.distillation == student.config.distillation == expected
    assert reloaded.config.id2label == {0: "no", 1: "maybe", 2: "yes"}


@every_architecture
def test_token_classifier_is_cut_and_reloaded_alike(name: str, tmp_path: Path) -> None:
    teacher, layers = make_teacher(name, AutoModelForTokenClassification), [0, 2, 3]
    student = build_student(teacher, layers)
    expected = run_kept_layers(teacher, name, layers)
    assert expected.shape == (3, 12, 3)
    torch.testing.assert_close(compute_logits(student), expected, atol=2e-5, rtol=1e-5)
    student.save_pretrained(tmp_path)
    reloaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert torch.equal(compute_logits(reloaded), compute_logits(student))


@every_architecture
def test_teacher_and_random_state_are_untouched_and_shared_with_nobody(name: str) -> None:
    teacher = make_teacher(name)
    weights_before, config_before = copy.deepcopy(teacher.state_dict()), teacher.config.to_dict()
    random_state_before = torch.get_rng_state()
    student = build_student(teacher, [0, None, 2])
    assert torch.equal(torch.get_rng_state(), random_state_before)
    with torch.no_grad():
        for tensor in [*student.parameters(), *student.buffers()]:
            tensor.zero_()
    assert teacher.config.to_dict() == config_before
    assert all(torch.equal(tensor, weights_before[key]) for key, tensor in teacher.state_dict().items())


@every_architecture
def test_scratch_renews_the_layers_alone_by_the_seed(name: str) -> None:
    teacher_weights, stack = share_teacher(name).state_dict(), ARCHITECTURES[name][1] + "."
    student, same, other = (
        build_student(share_teacher(name), [None] * 2, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(tensor, same[key]) for key, tensor in student.items())
    assert all(
        torch.equal(tensor, teacher_weights[key]) for key, tensor in student.items() if not key.startswith(stack)
    )
    drawn = [key for key in student if key.startswith(stack) and "weight" in key and student[key].std() > 0]
    assert drawn
    assert not any(torch.equal(student[key], other[key]) for key in drawn)
    # The architecture's own rule draws far narrower than the teacher's noise of 0.2.
    assert max(student[key].std() for key in drawn) < 0.15


def test_dtype_attention_frozen_teacher_and_hand_changed_buffers_are_kept() -> None:
    teacher = make_teacher("llama").to(torch.bfloat16)
    teacher.set_attn_implementation("eager")
    teacher.requires_grad_(False)
    teacher.model.rotary_emb.inv_freq.mul_(0.5)
    student = build_student(teacher, [1, 3], dtype=None)
    assert {parameter.dtype for parameter in student.parameters()} == {torch.bfloat16}
    assert student.config._attn_implementation == "eager"
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not student.training
    assert torch.equal(student.model.rotary_emb.inv_freq, teacher.model.rotary_emb.inv_freq)


@every_architecture
def test_student_of_a_bfloat16_teacher_is_float32_and_exact(name: str, tmp_path: Path) -> None:
    make_teacher(name).to(torch.bfloat16).save_pretrained(tmp_path)
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.bfloat16 in {parameter.dtype for parameter in teacher.parameters()}  # XLNet: not all
    student = build_student(teacher, list(range(NUM_LAYERS)))
    floating = [tensor for tensor in [*student.parameters(), *student.buffers()] if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floating} == {torch.float32}
    assert torch.equal(compute_logits(student), compute_logits(copy.deepcopy(teacher).float()))
    if name not in FLOAT32_ONLY:
        own = build_student(teacher, list(range(NUM_LAYERS)), dtype=None)
        assert torch.equal(compute_logits(own), compute_logits(teacher))


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_half_precision_teacher_stays_it_and_its_student_reloads_in_float32(
    stored: torch.dtype, tmp_path: Path
) -> None:
    teacher = make_teacher("bert").to(stored)
    student = build_student(teacher, [1, None])
    assert teacher.dtype == stored
    student.save_pretrained(tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert reloaded.dtype == torch.float32
    assert torch.equal(compute_logits(reloaded), compute_logits(student))


def test_student_in_another_dtype_rounds_weights_alone() -> None:
    student = build_student(make_teacher("llama"), [0, 1], dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in student.parameters()} == {torch.bfloat16}
    assert student.model.rotary_emb.inv_freq.dtype == torch.float32  # as a reload makes it


def test_tied_weights_stay_tied_and_a_whole_language_model_works() -> None:
    teacher = make_teacher("bert", AutoModelForMaskedLM)
    student = build_student(teacher, [1, 3])
    assert student.cls.predictions.decoder.weight is student.bert.embeddings.word_embeddings.weight
    expected = run_kept_layers(teacher, "bert", [1, 3])
    assert torch.equal(compute_logits(student), expected)


def test_per_layer_lists_of_the_config_are_cut_with_the_layers() -> None:
    assert build_student(make_teacher("longformer"), [3, 1, 0]).config.attention_window == [8, 8, 4]
    assert build_student(make_teacher("qwen3"), [1, 2, None]).config.layer_types == [
        "sliding_attention",
        "full_attention",
        "full_attention",
    ]
    modernbert_types = build_student(make_teacher("modernbert"), [0, 1, 3]).config.layer_types
    assert modernbert_types == ["full_attention", "sliding_attention", "full_attention"]


class CentreAndScale(nn.Module):
    """A layer norm whose deviation is one constant, as far as a ModernBERT without a first norm can go."""

    def __init__(self, norm: nn.LayerNorm, inverse_deviation: torch.Tensor) -> None:
        super().__init__()
        self.norm, self.inverse_deviation = norm, inverse_deviation

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        scaled = (hidden - hidden.mean(-1, keepdim=True)) * self.inverse_deviation * self.norm.weight
        return scaled if self.norm.bias is None else scaled + self.norm.bias


@pytest.mark.parametrize("bias", [False, True])
def test_modernbert_folds_a_later_layer_s_norm_and_says_how_far_off(
    bias: bool, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = make_teacher("modernbert", norm_bias=bias, attention_bias=bias)
    add_noise(teacher)  # the embedding norm's gains now differ, so that the fold is only near
    first = teacher.model.layers[2]
    embedded = teacher.model.embeddings(torch.arange(40).unsqueeze(0))[0].detach()
    inverse = 1 / (embedded.var(-1, correction=0) + first.attn_norm.eps).sqrt()
    student = build_student(teacher, [2, 3])
    reference = copy.deepcopy(teacher)
    reference.model.layers[2].attn_norm = CentreAndScale(first.attn_norm, inverse.mean())
    torch.testing.assert_close(
        compute_logits(student), run_kept_layers(reference, "modernbert", [2, 3]), atol=2e-5, rtol=1e-5
    )
    assert f"off by {100 * (inverse.std(correction=0) / inverse.mean()).item():.1f}%" in caplog.text


def test_layer_that_its_architecture_builds_by_place_cannot_move() -> None:
    teacher = make_teacher("gpt2", scale_attn_by_inverse_layer_idx=True)
    assert torch.equal(compute_logits(build_student(teacher, [0, 1, 2])), run_kept_layers(teacher, "gpt2", [0, 1, 2]))
    with pytest.raises(ValueError, match=r"gpt2 layer 2 -> 1.*scaling.*keep this layer at its own place"):
        build_student(teacher, [0, 2])


def test_teacher_with_modules_of_its_own_is_refused() -> None:
    teacher = make_teacher("bert")
    teacher.bert.adapter = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"bert.adapter.weight.*reload it with from_pretrained"):
        build_student(teacher, [0, 1])


def test_one_layer_teacher_is_kept_whole() -> None:
    teacher = make_teacher("bert", num_hidden_layers=1)
    student = build_student(teacher, choose_student_layers("top", get_num_layers(teacher.config)))
    assert torch.equal(compute_logits(student), compute_logits(teacher))


def test_encoder_with_a_decoder_is_refused() -> None:
    config = BartConfig(encoder_layers=4, decoder_layers=2)
    with pytest.raises(ValueError, match=r"'bart': it has an encoder and a decoder.*choose a teacher"):
        get_num_layers(config)


def test_several_lists_as_long_as_the_stack_are_refused_by_name() -> None:
    config = XLMConfig(vocab_size=40, emb_dim=16, n_layers=2, n_heads=2)
    with pytest.raises(ValueError, match=r"'xlm'.*transformer.attentions.*transformer.ffns.*choose a teacher"):
        find_layer_stack(AutoModelForSequenceClassification.from_config(config))
