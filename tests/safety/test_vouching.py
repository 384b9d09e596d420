"""`hypertuner trust`: code in somebody else's file runs once the user has vouched for it, and for that code only."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tests.safety.test_trust_end_to_end import CHANGES, model, resealed  # noqa: F401  # a fixture

import hypertuner
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.cli import main


@pytest.fixture
def theirs(model, tmp_path, monkeypatch):  # noqa: F811
    """A file that another user's key marked, read-only, and the home of this user."""
    path = tmp_path / "theirs.pt"
    shutil.copy(model, path)
    path.chmod(0o444)
    monkeypatch.setenv("HYPERTUNER_HOME", str(tmp_path / "my-home"))
    return path


def is_refused(path):
    with pytest.raises(hypertuner.UnsafeFileError) as caught:
        hypertuner.load(path)
    return str(caught.value)


def test_a_file_is_trusted_from_then_on_and_not_touched(theirs, tmp_path, capsys):
    before = (theirs.read_bytes(), theirs.stat().st_mtime_ns)
    assert "hypertuner trust" in is_refused(theirs)
    assert main(["trust", str(theirs)]) == 0
    said = capsys.readouterr().out
    assert "trusted from now on" in said
    assert "made by" in said
    assert "__main__ (its source is in the file)" in said
    assert type(hypertuner.load(theirs)).__name__ == "Net"
    assert (theirs.read_bytes(), theirs.stat().st_mtime_ns) == before
    shutil.copy(theirs, tmp_path / "copy.pt")
    assert type(hypertuner.load(tmp_path / "copy.pt")).__name__ == "Net"
    main(["trust", str(theirs)])
    assert "trusted already" in capsys.readouterr().out


def test_show_says_who_is_trusted_and_why(theirs, storage, capsys):
    def shown(path):
        assert main(["show", str(path)]) == 0
        return capsys.readouterr().out

    assert "not marked as yours" in shown(theirs)
    main(["trust", str(theirs)])
    capsys.readouterr()
    assert "you vouched for it" in shown(theirs)
    capsys.readouterr()
    main(["show", "--json", str(theirs)])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["is_yours"], facts["is_vouched"]) == (False, True)


def test_it_can_be_taken_back(theirs, capsys):
    main(["trust", str(theirs)])
    main(["trust", "--take-back", str(theirs)])
    assert "no longer trusted" in capsys.readouterr().out
    is_refused(theirs)
    main(["trust", "--take-back", str(theirs)])
    assert "was not trusted" in capsys.readouterr().out


@pytest.mark.parametrize("what", CHANGES)
def test_a_byte_of_its_code_that_changes_later_voids_it(theirs, tmp_path, what):
    main(["trust", str(theirs)])
    is_refused(resealed(theirs, tmp_path / "changed.pt", **CHANGES[what]))
    assert not list(tmp_path.glob("ran-*"))
    assert hypertuner.load(theirs)


def test_a_flipped_byte_anywhere_in_what_holds_code_voids_it(theirs, tmp_path):
    main(["trust", str(theirs)])
    whole = theirs.read_bytes()
    with Archive.open(theirs) as archive:
        spans = [archive.directory.locate(name) for name in ("data.pkl", "hypertuner.json")]
    changed = tmp_path / "flipped.pt"
    for begin, nbytes in spans:
        for at in range(begin, begin + nbytes, max(1, nbytes // 40)):
            changed.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises((hypertuner.UnsafeFileError, hypertuner.CorruptFileError)):
                hypertuner.load(changed)


def test_what_one_user_vouches_for_says_nothing_to_another(theirs, tmp_path, monkeypatch):
    main(["trust", str(theirs)])
    other = tmp_path / "other-home"
    shutil.copytree(tmp_path / "my-home/vouched", other / "vouched")
    monkeypatch.setenv("HYPERTUNER_HOME", str(other))
    is_refused(theirs)
    assert oct((tmp_path / "my-home/vouched").stat().st_mode & 0o777) == "0o700"


def test_all_checkpoints_of_a_run_are_vouched_for_at_once(theirs, storage, capsys):
    is_refused(storage / "r/model.pt")
    assert main(["trust", "r", "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["is_trusted"]
    assert facts["user"]
    assert not facts["was_trusted"]
    assert hypertuner.load("r")


def test_your_own_files_need_no_word_and_others_formats_get_none(model, tmp_path, capsys):  # noqa: F811
    import torch

    main(["trust", str(model)])
    assert "yours already" in capsys.readouterr().out
    assert not (tmp_path / "home/vouched").exists()
    torch.save({"w": torch.ones(1)}, tmp_path / "plain.pt")
    assert main(["trust", str(tmp_path / "plain.pt")]) == 1
    assert "not one that hypertuner saved" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_home_that_cannot_be_written_is_said(theirs, tmp_path, capsys):
    is_refused(theirs)
    (tmp_path / "my-home").chmod(0o500)
    assert main(["trust", str(theirs)]) == 1
    assert "HYPERTUNER_HOME" in capsys.readouterr().err
