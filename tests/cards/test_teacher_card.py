"""What is read of a teacher's card: from its folder, from the Hub and then from the cache; never a failure."""

import huggingface_hub
import pytest

from hub_server import HubServer, use_hub
from layer_distillation.cards.teacher_card import read_teacher_card

CARD = (
    "---\nlicense: mit\nlanguage:\n- en\n- de\ndatasets: [org/pairs]\nbase_model: org/bert\npipeline_tag: x\n---\n# t\n"
)
READ = {"license": ["mit"], "language": ["en", "de"], "datasets": ["org/pairs"], "base_model": ["org/bert"]}


def test_a_folders_card_is_read(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    assert read_teacher_card(str(tmp_path), "main") == READ


def test_a_folder_without_a_card_says_nothing_and_asks_nobody(tmp_path):
    assert read_teacher_card(str(tmp_path), "main") == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# no metadata",
        "---\n[unclosed\n---\n",
        "---\njust a text\n---\n",
        "---\n- a\n- b\n---\n",
        "---\nlicense: 3\nlanguage: {en: yes}\ndatasets: [1, {a: b}]\n---\n",
        "---\nlicense: ''\nmodel-index: 7\n---\n",
        "---\nlicense: !!python/object/apply:os.system ['true']\n---\n",
    ],
)
def test_a_card_that_says_nothing_readable_counts_as_none(content, tmp_path):
    (tmp_path / "README.md").write_text(content)
    assert read_teacher_card(str(tmp_path), "main") == {}


def test_bytes_that_are_no_text_count_as_none(tmp_path, caplog):
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert read_teacher_card(str(tmp_path), "main") == {}
    assert "cannot be read" in caplog.text


def test_texts_of_strangers_are_one_short_line(tmp_path):
    (tmp_path / "README.md").write_text(f'---\nlicense: "a\\nb\\e[2J"\nlanguage: {"x" * 500}\n---\n')
    read = read_teacher_card(str(tmp_path), "main")
    assert read["license"] == ["a b?[2J"]
    assert len(read["language"][0]) == 200


def test_a_hub_teachers_card_is_fetched_and_then_found_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with HubServer() as hub:
        use_hub(hub, monkeypatch)
        hub.add_repository("user/teacher", {"README.md": CARD.encode()})
        hub.add_repository("user/bare")
        assert read_teacher_card("user/teacher", "main") == READ
        assert read_teacher_card("user/bare", "main") == {}
        assert read_teacher_card("user/absent", "main") == {}
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert read_teacher_card("user/teacher", "main") == READ
    assert read_teacher_card("user/never_seen", "main") == {}
