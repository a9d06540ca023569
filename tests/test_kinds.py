"""What holds for text classification holds for every kind: exact means, padding that counts nothing, stored = live."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset

import run_distillation
from compare_strategies import main as compare
from conftest import make_bert
from kind_training import NAMES, make_collator, make_kind_rows, make_kind_trainer, make_model
from layer_distillation.losses.functions import binary_kl_loss
from layer_distillation.outputs.store import StoredOutputsCollator, make_spec
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.kinds.table import TASK_KINDS, find_model_kind
from layer_distillation.teachers.loading import fingerprint_model
from layer_distillation.teachers.store_filling import open_or_fill
from test_distill_trainer import assert_same_weights
from tiny_project import write_tokenizer
from tiny_training import OFF

KINDS = list(NAMES)


def compute_loss_and_gradients(trainer, batch: dict) -> tuple[float, dict[str, torch.Tensor]]:
    model = trainer.model.train()  # without dropout
    model.zero_grad()
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return loss.item(), {name: parameter.grad.clone() for name, parameter in trained}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_to_64_and_to_128_gives_the_same_loss_and_gradients(tmp_path, kind):
    trainer, rows = make_kind_trainer(tmp_path, kind), make_kind_rows(kind, 6)
    for model in (trainer.model, trainer.teacher):
        extend_positions(model, 128)
    found = [compute_loss_and_gradients(trainer, make_collator(kind, length)(rows)) for length in (None, 64, 128)]
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        assert_same_weights(gradients, found[0][1])


def extend_positions(model: torch.nn.Module, count: int) -> None:
    embeddings = model.base_model.embeddings
    longer = torch.nn.Embedding(count, embeddings.position_embeddings.embedding_dim)
    longer.weight.data[:64] = embeddings.position_embeddings.weight.data
    embeddings.position_embeddings = longer
    embeddings.register_buffer("position_ids", torch.arange(count)[None], persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros(1, count, dtype=torch.long), persistent=False)


def test_the_terms_of_tags_are_those_of_the_labelled_pieces(tmp_path):
    """Written out once more: CE over tagged pieces, T^2 KL and directions of states over all first pieces."""
    kind, rows = "token-classification", make_kind_rows("token-classification", 6)
    trainer = make_kind_trainer(tmp_path, kind, **OFF | {"ce_weight": 1.0, "kl_weight": 0.7, "pkd_weight": 0.3})
    trainer.args.temperature = 3.0
    batch = make_collator(kind)(rows)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours, theirs = (model.eval()(**inputs, output_hidden_states=True) for model in (trainer.model, trainer.teacher))
        is_item = batch["item_mask"].bool()
        expected = F.cross_entropy(ours.logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
        soft = (theirs.logits[is_item] / 3).softmax(-1)
        divergence = (soft * (soft.log() - (ours.logits[is_item] / 3).log_softmax(-1))).sum(-1).mean()
        pairs = [(ours.hidden_states[s][is_item], theirs.hidden_states[t][is_item]) for s, t in ((1, 2), (2, 4))]
        directions = torch.stack([2 - 2 * F.cosine_similarity(*pair).mean() for pair in pairs]).mean()
        expected += 0.7 * 9 * divergence + 0.3 * directions
        loss = trainer.compute_loss(trainer.model, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.head_places == ("items", "items")


def test_rows_of_others_have_their_items_where_their_labels_are(tmp_path):
    """As run_ner makes them: no item_mask."""
    rows = [row for index, row in enumerate(make_kind_rows("token-classification", 8)) if index != 3]
    plain = [{name: value for name, value in row.items() if name != "item_mask"} for row in rows]
    trainer, collate = make_kind_trainer(tmp_path, "token-classification"), make_collator("token-classification")
    losses = [trainer.compute_loss(trainer.model.eval(), collate(given)).item() for given in (rows, plain)]
    assert losses[0] == losses[1]
    unlabelled = [{name: value for name, value in row.items() if name != "labels"} for row in plain]
    with pytest.raises(ValueError, match="has neither labels nor 'item_mask'"):
        trainer.compute_loss(trainer.model, collate(unlabelled))


def test_the_terms_of_labels_are_binary(tmp_path):
    rows = make_kind_rows("multi-label", 6)
    trainer = make_kind_trainer(tmp_path, "multi-label", **OFF | {"ce_weight": 1.0, "kl_weight": 0.5})
    trainer.args.temperature = 2.0
    batch = make_collator("multi-label")(rows)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours, theirs = (model.eval()(**inputs).logits for model in (trainer.model, trainer.teacher))
        is_labelled = ~batch["labels"].isnan().any(-1)
        expected = F.binary_cross_entropy_with_logits(ours[is_labelled], batch["labels"][is_labelled])
        both = [torch.stack([(logits / 2).sigmoid(), (-logits / 2).sigmoid()], -1) for logits in (ours, theirs)]
        expected += 0.5 * 4 * (both[1] * (both[1] / both[0]).log()).sum(-1).mean()
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert binary_kl_loss(theirs, theirs, 2.0).item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_gives_what_the_live_teacher_gives(tmp_path, kind):
    rows = Dataset.from_list(make_kind_rows(kind, 10))
    teacher, is_per_token = make_model(kind, 4, seed=1), TASK_KINDS[kind].is_per_token
    spec = make_spec(teacher.config, fingerprint_model(teacher), rows, (1, 3), is_per_token=is_per_token)
    store = open_or_fill(tmp_path, spec, teacher, rows, make_collator(kind), torch.device("cpu"))
    for side in ("right", "left"):
        collate = make_collator(kind, padding_side=side)
        batch = StoredOutputsCollator(collate, store)([rows[row] for row in (7, 2, 9)])
        with torch.no_grad():
            logits = teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        is_real = batch["attention_mask"].bool() if is_per_token else slice(None)
        if side == "right":  # padding on the left moves the positions
            torch.testing.assert_close(batch["teacher_logits"][is_real], logits[is_real], rtol=1e-4, atol=1e-5)
        assert batch["teacher_logits"].shape == logits.shape
    assert store.get_all_logits().shape[0] == 10


def test_evaluation_scores_items_and_keeps_the_order_of_the_rows(tmp_path):
    trainer = make_kind_trainer(tmp_path, "token-classification")
    rows = make_kind_rows("token-classification", 9, seed=5)
    output = trainer.predict(Dataset.from_list(rows), metric_key_prefix="test")
    batch = make_collator("token-classification")(rows)
    with torch.no_grad():
        logits = trainer.model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    is_item = batch["item_mask"].bool().numpy()
    assert np.array_equal(output.is_item, is_item)
    np.testing.assert_allclose(output.predictions[is_item], logits.numpy()[is_item], rtol=1e-4, atol=1e-5)
    expected = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100).item()
    assert output.metrics["test_loss"] == pytest.approx(expected, rel=1e-5)
    assert 0 <= output.metrics["test_agreement"] <= 1


def test_a_model_tells_its_kind():
    told = [kind for kind in KINDS if kind != "reranking"]  # one output is taken for a regression's
    assert [find_model_kind(make_model(kind, 1, 0)).name for kind in told] == told


def test_models_and_rows_of_two_kinds_are_refused(tmp_path):
    teacher = make_model("multi-label", 4, 1)
    teacher.config.problem_type = None
    with pytest.raises(ValueError, match="the teacher's problem_type is None, and the task has any number of labels"):
        make_kind_trainer(tmp_path, "multi-label", teacher=teacher)
    with pytest.raises(ValueError, match="train_dataset has one label per row in 'labels'"):
        make_kind_trainer(tmp_path, "multi-label", [row | {"labels": 1} for row in make_kind_rows("multi-label", 4)])


# ---- whole runs --------------------------------------------------------------------------------------------------


def write_rows(folder, kind: str) -> list[str]:
    colours, nouns, flags = ["red", "green", "blue"], ["ball", "house", "car"], []
    for split, count in (("train", 24), ("validation", 12), ("test", 9)):
        lines = []
        for index in range(count):
            words = ["the", colours[index % 3], nouns[(index + count) % 3], "is", "a", nouns[index % 2]]
            if kind == "multi-label":
                labels = sorted({*words} & {*colours, *nouns}) if index != 1 else []
                lines.append({"text": " ".join(words), "labels": labels})
            else:
                tag_of = dict.fromkeys(colours, "B-colour") | dict.fromkeys(nouns, "B-noun")
                lines.append({"tokens": words, "tags": [tag_of.get(word, "O") for word in words]})
        path = folder / f"{split}.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        flags.append(f"--{split}_file={path}")
    return flags


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric"), [("token-classification", "entity_f1"), ("multi-label", "micro_f1")])
def test_a_whole_run_of_a_kind_and_its_comparison(tmp_path, capsys, kind, metric):
    """The encoder's head is fine-tuned first; two students are compared; the plain Auto class loads them."""
    make_bert(3, seed=1).bert.save_pretrained(tmp_path / "encoder")
    write_tokenizer(tmp_path / "encoder")
    flags = [*write_rows(tmp_path, kind), f"--teacher_model_name_or_path={tmp_path / 'encoder'}", "--use_cpu"]
    flags += [f"--cache_dir={tmp_path / 'cache'}", "--max_length=16", "--num_train_epochs=2", "--disable_tqdm", "true"]
    flags += [
        "--teacher_learning_rate=5e-3",
        "--teacher_num_train_epochs=12",
        "--learning_rate=5e-3",
        "--student_num_layers=2",
        "--hidden_weight=1",
    ]
    for strategy in ("top", "bottom"):
        folder = tmp_path / "runs" / strategy
        assert run_distillation.main([*flags, f"--output_dir={folder}", f"--layer_strategy={strategy}"]) == 0
    record = read_run_record(folder)
    assert (record.task["kind"], record.task["metric_names"][0]) == (kind, metric)
    assert record.teacher["metrics"]["test"][metric] > 0.5
    assert TASK_KINDS[kind].auto_class in capsys.readouterr().out
    assert f"pipeline_tag: {TASK_KINDS[kind].pipeline_tag}" in (folder / "README.md").read_text(encoding="utf-8")
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "compared"), "--no_pictures"]) == 0
    unit = json.loads((tmp_path / "compared" / "comparison.json").read_text())["units"][0]
    assert (unit["metric_name"], unit["rows"]) == (metric, 9)
