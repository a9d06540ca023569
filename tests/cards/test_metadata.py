"""The card's head is valid, whole, and names no folder of the user."""

import yaml

from hub_api import list_card_errors
from made_students import find_section, make_card, make_record


def test_the_metadata_are_valid_and_whole(tmp_path):
    card = make_card(make_record(), tmp_path)
    assert list_card_errors(str(card)) == []
    assert card.data.base_model == "org/teacher"
    assert card.data.base_model_relation == "finetune"
    assert card.data.datasets == ["nyu-mll/glue"]
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["knowledge-distillation", "layer-pruning"]
    assert card.data.metrics == ["accuracy"]
    results = {(result.dataset_split, result.metric_type): result for result in card.data.eval_results}
    assert {key: result.metric_value for key, result in results.items()} == {
        ("validation", "accuracy"): 0.625,
        ("test", "accuracy"): 0.75,
    }
    result = results["test", "accuracy"]
    assert (result.dataset_type, result.dataset_config, result.dataset_name) == ("nyu-mll/glue", "sst2", "sst2")


def test_what_the_teachers_card_says_is_inherited(tmp_path):
    said = {"license": ["apache-2.0"], "language": ["en", "de"], "datasets": ["org/pairs"], "base_model": ["org/bert"]}
    card = make_card(make_record(teacher={"card": said}), tmp_path)
    assert (card.data.license, card.data.language) == ("apache-2.0", ["en", "de"])
    assert card.data.base_model == "org/teacher"
    assert card.data.datasets == ["nyu-mll/glue"]
    section = find_section(card, "Licence and data")
    assert "Licence: `apache-2.0`, the teacher's, from whose weights these come." in section
    assert "the student was trained on the data set `nyu-mll/glue` of the Hub (task `sst2`)" in section
    assert "The teacher's card names for the teacher: `org/pairs`." in section
    assert "The teacher was made from: `org/bert`." in section


def test_what_is_not_known_is_said_to_be_unknown(tmp_path):
    card = make_card(make_record(), tmp_path)
    section = find_section(card, "Licence and data")
    assert section.count("unknown") == 4
    assert "Licence: unknown" in section
    assert card.data.license is None
    assert card.data.language is None


def test_a_licence_of_its_own_comes_with_its_name_and_address(tmp_path):
    said = {"license": ["other"], "license_name": ["house"], "license_link": ["LICENSE"]}
    card = make_card(make_record(teacher={"card": said}), tmp_path)
    assert (card.data.license, card.data.license_name, card.data.license_link) == ("other", "house", "LICENSE")


def test_words_that_the_hub_would_refuse_are_in_the_text_alone(tmp_path):
    said = {"license": ["my own!"], "language": ["English"], "base_model": ["/home/a/bert"]}
    card = make_card(make_record(teacher={"card": said, "is_local": True, "name": "t"}), tmp_path)
    assert (card.data.license, card.data.language, card.data.base_model) == (None, None, None)
    assert "Licence: `my own!`" in card.text
    assert list_card_errors(str(card)) == []


def test_a_local_teachers_origin_is_the_base_model_where_its_card_names_it(tmp_path):
    teacher = {"name": "/somewhere/my_teacher", "is_local": True, "card": {"base_model": ["org/bert"]}}
    card = make_card(make_record(teacher=teacher), tmp_path)
    assert card.data.base_model == "org/bert"
    assert "`my_teacher`" in card.text
    assert "/somewhere" not in str(card)


def test_the_card_names_no_folder_of_the_user(tmp_path):
    """The Hub refuses a card whose base model or data set is a path."""
    teacher, data = tmp_path / "my_teacher", tmp_path / "my_data"
    data.mkdir()
    record = make_record(
        f"run_distillation.py --cache_dir={tmp_path}/cache --train_file {tmp_path}/train.csv",
        teacher={"name": str(teacher), "is_local": True},
        task={"name": "my_data", "dataset_name": str(data)},
    )
    card = make_card(record, tmp_path)
    assert str(tmp_path) not in str(card)
    assert "run_distillation.py --cache_dir=cache --train_file train.csv" in card.text
    metadata = yaml.safe_load(str(card).split("---\n")[1])
    assert "base_model" not in metadata
    assert "datasets" not in metadata
    assert metadata["model-index"][0]["results"][0]["dataset"]["type"] == "my_data"


def test_a_score_that_is_no_number_is_not_in_the_model_index(tmp_path):
    card = make_card(make_record(metrics={"test": {"accuracy": float("nan"), "loss": 1.0}}), tmp_path)
    assert [result.dataset_split for result in card.data.eval_results] == ["validation"]


def test_a_set_of_its_own_is_named_as_itself_in_the_model_index(tmp_path):
    record = make_record(metrics={"sts": {"ndcg_at_10": 0.5}}, task={"retrieval": {"sts": {"queries": 9}}})
    record.arguments["evaluation_files"] = "sts = gone.csv,other=folder"
    named = {result.dataset_split: result for result in make_card(record, tmp_path).data.eval_results}
    own = named["sts"]
    assert (own.dataset_name, own.dataset_type, own.dataset_config) == ("sts", "sts", None)
    assert named["test"].dataset_name == "sst2"
