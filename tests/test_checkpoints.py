"""The newest complete checkpoint, whatever else lies there."""

from checkpoints import find_checkpoint


def test_the_newest_complete_checkpoint_by_number(tmp_path):
    assert find_checkpoint(tmp_path / "nowhere") is None
    for step, state in ((9, "{}"), (10, "{}"), (200, "{"), (300, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert find_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
