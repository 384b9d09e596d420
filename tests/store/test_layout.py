"""The names of files: what is written is found again, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner.store import layout


@given(st.integers(0, 10**12), st.integers(0, 1000))
def test_the_name_of_a_checkpoint_tells_its_step_and_repeat(step, repeat):
    path = layout.RunLayout(Path("storage/otter")).attempt(2).checkpoint(step, repeat)
    assert path.parent == Path("storage/otter/attempts/2/checkpoints")
    assert layout.checkpoint_step(path) == (step, repeat)


def test_the_first_checkpoint_at_a_step_is_named_as_the_format_says():
    attempt = layout.AttemptLayout(Path("1"))
    assert attempt.checkpoint(1200).name == "step-00001200.pt"
    assert attempt.checkpoint(1200, 1).name == "step-00001200.1.pt"


@pytest.mark.parametrize(
    "name",
    "model.pt step-12.pt step-00001200.pt.tmp .draft-h-1 step-00001200..pt step-0000120x.pt xstep-00001200.pt".split(),
)
def test_other_files_are_no_checkpoints(name):
    assert layout.checkpoint_step(Path(name)) is None


def test_every_file_of_a_run_lies_in_its_folder():
    folder = Path("storage/otter")
    places = [path for path in vars(layout.RunLayout(folder)).values() if path != folder]
    places += vars(layout.RunLayout(folder).attempt(1)).values()
    assert len(set(places)) == len(places)
    assert all(folder in path.parents for path in places)


def test_drafts_are_looked_for_wherever_a_run_writes(tmp_path):
    run = layout.RunLayout(tmp_path)
    attempts = [run.attempt(1), run.attempt(2)]
    for attempt in attempts:
        attempt.checkpoints.mkdir(parents=True)
        attempt.media.mkdir()
    folders = {tmp_path, *(folder for one in attempts for folder in (one.folder, one.checkpoints, one.media))}
    assert set(run.drafted_in()) == folders
    assert set(layout.RunLayout(tmp_path / "none").drafted_in()) == {tmp_path / "none"}


def test_a_config_names_a_run_where_its_folder_lies_in_a_storage(tmp_path):
    storage = tmp_path / "storage"
    assert layout.run_of_config(storage / "otter" / "config.json", storage) == storage / "otter"
    elsewhere = tmp_path / "other" / "storage" / "otter"
    assert layout.run_of_config(elsewhere / "config.json", storage) == elsewhere
    assert layout.run_of_config(tmp_path / "otter" / "config.json", storage) is None
    assert layout.run_of_config(storage / "otter" / "template.json", storage) is None
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "run.json").write_text("{}")
    assert layout.run_of_config(moved / "config.json", storage) == moved
