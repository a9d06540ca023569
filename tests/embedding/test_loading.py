"""A folder of sentence-transformers is read as that library reads it, and written as it expects it."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertModel

from layer_distillation.embedding.encoding import load_encoder
from layer_distillation.embedding.folders import POOLING_FLAGS
from layer_distillation.embedding.loading import AutoPooledModel
from layer_distillation.embedding.modules import SentenceModules, get_modules, get_vector_width
from layer_distillation.embedding.pooled_model import is_pooled, save_pooled
from sentence_folders import TEXTS, make_encoder, make_pooled, write_sentence_folder
from tiny_project import write_tokenizer

NORMALIZE = {"name": "normalize"}
DENSE = {"name": "dense", "in_features": 16, "out_features": 6, "bias": True, "activation": "Tanh"}
PLAIN = DENSE | {"in_features": 6, "out_features": 9, "bias": False, "activation": "Identity"}
LAYOUTS = {name: SentenceModules((name,)) for name in POOLING_FLAGS} | {
    "normalized": SentenceModules(("mean",), (NORMALIZE,)),
    "dense": SentenceModules(("cls",), (DENSE, PLAIN, NORMALIZE)),
    "joined": SentenceModules(("cls", "mean"), (NORMALIZE, DENSE | {"in_features": 32})),
    "joined in another order": SentenceModules(("mean", "lasttoken", "cls")),
    "limited": SentenceModules(("mean",), max_length=8),
    "prompted": SentenceModules(("mean",), prompts={"query": "the red ", "passage": ""}, default_prompt_name="query"),
}


def load_with_library(folder):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    return library.SentenceTransformer(str(folder), device="cpu")


def save_with_library(folder, modules: SentenceModules, padding_side: str = "right"):
    """The same layout, saved by sentence-transformers itself."""
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.base.modules.normalize import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    encoder = make_encoder()
    encoder.save_pretrained(folder / "encoder")
    write_tokenizer(folder / "encoder")
    torch.manual_seed(3)
    steps = [
        Normalize()
        if step["name"] == "normalize"
        else Dense(step["in_features"], step["out_features"], step["bias"], getattr(torch.nn, step["activation"])())
        for step in modules.steps
    ]
    transformer = Transformer(str(folder / "encoder"), max_seq_length=modules.max_length)
    listed = [transformer, Pooling(16, modules.pooling), *steps]
    options = {"prompts": modules.prompts, "default_prompt_name": modules.default_prompt_name}
    model = SentenceTransformer(modules=listed, device="cpu", **options)
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    return model, folder / "saved"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_sentence_transformers_saved_gives_its_vectors(tmp_path, layout):
    theirs, folder = save_with_library(tmp_path, LAYOUTS[layout])
    encoder = load_encoder(str(folder))
    expected = theirs.encode(TEXTS)
    found = encoder.encode(TEXTS, batch_size=3)
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (len(TEXTS), get_vector_width(encoder.model.config))
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_ours_gives_sentence_transformers_our_vectors(tmp_path, layout):
    model = make_pooled(modules=LAYOUTS[layout])
    folder = write_sentence_folder(tmp_path / "student", model)
    theirs = load_with_library(folder)
    found = load_encoder(str(folder))
    assert get_modules(found.model.config).pooling == LAYOUTS[layout].pooling
    np.testing.assert_allclose(theirs.encode(TEXTS), found.encode(TEXTS), atol=1e-6, rtol=1e-5)
    assert theirs.default_prompt_name == LAYOUTS[layout].default_prompt_name
    assert all(theirs.prompts[name] == text for name, text in LAYOUTS[layout].prompts.items())


@pytest.mark.parametrize("model_type", ["bert", "mpnet", "distilbert", "qwen3"])
def test_a_student_folder_holds_a_plain_encoder(tmp_path, model_type):
    model = make_pooled(model_type, SentenceModules(("lasttoken" if model_type == "qwen3" else "mean",), (NORMALIZE,)))
    folder = write_sentence_folder(tmp_path / "student", model)
    plain, loading = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert type(plain) is type(model).encoder_class
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [type(plain).__name__]
    assert "sentence_modules" not in config
    assert is_pooled(model)
    again = load_encoder(str(folder))
    assert type(again.model).encoder_class is type(plain)
    expected = load_with_library(folder).encode(TEXTS)
    np.testing.assert_allclose(again.encode(TEXTS, batch_size=7), expected, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(again.encode(TEXTS, batch_size=1), expected, atol=1e-6, rtol=1e-5)


def test_padding_side_and_batch_change_no_vector(tmp_path):
    for pooling in POOLING_FLAGS:
        encoder = load_encoder(str(write_sentence_folder(tmp_path / pooling, modules=SentenceModules((pooling,)))))
        alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=7), alone, atol=1e-6, rtol=1e-5)


def test_a_pooler_that_the_checkpoint_lacks_is_left_out(tmp_path):
    """Random weights would make another teacher of it in every run."""
    bare = BertModel(make_encoder().config, add_pooling_layer=False)
    bare.save_pretrained(tmp_path)
    model, loading = AutoPooledModel.from_pretrained(tmp_path, output_loading_info=True)
    assert model.pooler is None
    assert not loading["missing_keys"]
    save_pooled(model, tmp_path / "student")
    assert AutoPooledModel.from_pretrained(tmp_path / "student").pooler is None
    again = type(model)._from_config(model.config)
    assert again.state_dict().keys() == model.state_dict().keys()


def test_a_missing_layer_is_reported_as_of_a_model_with_a_head(tmp_path):
    encoder = make_encoder()
    lacking = {name: tensor for name, tensor in encoder.state_dict().items() if "layer.3" not in name}
    encoder.save_pretrained(tmp_path, state_dict=lacking)
    _, loading = AutoPooledModel.from_pretrained(tmp_path, output_loading_info=True)
    assert any(name.startswith("bert.encoder.layer.3.") for name in loading["missing_keys"])


def test_a_plain_encoder_pools_as_it_is_told(tmp_path):
    make_encoder().save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    assert get_modules(load_encoder(str(tmp_path)).model.config).pooling == ("mean",)
    told = load_encoder(str(tmp_path), pooling="cls", normalize=True)
    assert get_modules(told.model.config).pooling == ("cls",)
    np.testing.assert_allclose(np.linalg.norm(told.encode(TEXTS), axis=1), 1, rtol=1e-5)
    make_encoder("qwen3").save_pretrained(tmp_path / "decoder")
    assert get_modules(AutoPooledModel.from_pretrained(tmp_path / "decoder").config).pooling == ("lasttoken",)


def test_limits_are_found_by_the_name_that_old_folders_have(tmp_path):
    folder = write_sentence_folder(tmp_path, modules=LAYOUTS["limited"])
    (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")
    theirs, ours = load_with_library(folder), load_encoder(str(folder))
    assert theirs.max_seq_length == ours.tokenizer.model_max_length == 8
    np.testing.assert_allclose(theirs.encode(TEXTS), ours.encode(TEXTS), atol=1e-6, rtol=1e-5)


def test_a_long_text_is_cut_at_the_models_positions(tmp_path):
    make_encoder().save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.pop("model_max_length")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = [" ".join(["the red ball"] * 60), "a car"]
    np.testing.assert_allclose(
        load_encoder(str(tmp_path)).encode(texts), load_with_library(tmp_path).encode(texts), atol=1e-6, rtol=1e-5
    )


STRANGE = {
    "sentence_transformers.models.CLIPModel": "CLIPModel, which is not built here",
    "sentence_transformers.models.StaticEmbedding": "StaticEmbedding, which is not built here",
    "custom_st.Transformer": "custom_st.Transformer, which is not built here",
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_module_that_is_not_built_here_is_named(tmp_path, kind):
    folder = write_sentence_folder(tmp_path)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=STRANGE[kind]):
        load_encoder(str(folder))


def change_json(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_contradicts_the_folder_is_refused(tmp_path):
    folder = write_sentence_folder(tmp_path, modules=SentenceModules(("mean",), (DENSE,)))
    with pytest.raises(ValueError, match=r"--pooling cls contradicts the modules.json .* pools by mean"):
        load_encoder(str(folder), pooling="cls")
    with pytest.raises(ValueError, match="--normalize_embeddings true contradicts"):
        load_encoder(str(folder), normalize=True)
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no 2_Dense/model.safetensors .a pickle"):
        load_encoder(str(folder))
    change_json(folder / "2_Dense" / "config.json", activation_function="os.system")
    with pytest.raises(ValueError, match=r"has the activation os\.system"):
        load_encoder(str(folder))
    change_json(folder / "1_Pooling" / "config.json", word_embedding_dimension=5)
    with pytest.raises(ValueError, match="of states 5 wide, and its config says 16"):
        load_encoder(str(folder))
    change_json(folder / "1_Pooling" / "config.json", include_prompt=False)
    with pytest.raises(ValueError, match="leaves prompts out"):
        load_encoder(str(folder))
    (folder / "modules.json").write_text("[]")
    with pytest.raises(ValueError, match="has no module: give a Transformer, then a Pooling"):
        load_encoder(str(folder))
    (folder / "modules.json").write_text("{")
    with pytest.raises(ValueError, match=r"modules.json of .* cannot be read"):
        load_encoder(str(folder))


def test_an_unknown_prompt_is_named(tmp_path):
    folder = write_sentence_folder(tmp_path, modules=LAYOUTS["prompted"])
    encoder = load_encoder(str(folder))
    prompted, bare = encoder.encode(["ball"]), encoder.encode(["the red ball"], prompt_name="passage")
    np.testing.assert_array_equal(prompted, bare)
    with pytest.raises(ValueError, match="no prompt 'document': the teacher has query, passage"):
        encoder.encode(["ball"], prompt_name="document")
