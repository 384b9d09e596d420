"""The list of planted faults fits the source, the tests find some of them here, and all of them in `make faults`."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shutil
import sys

import pytest
import torch
from tests.conftest import REPOSITORY
from tests.kill.saving import ShortWrites
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify


def planted():
    spec = importlib.util.spec_from_file_location("planted_faults", REPOSITORY / "scripts" / "planted_faults.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# A copy of the repository, in which a fault is planted, has no scripts.
has_scripts = pytest.mark.skipif(
    not (REPOSITORY / "scripts" / "planted_faults.py").exists(), reason="a copy, in which a fault is planted"
)


@has_scripts
def test_every_planted_fault_fits_the_source(tmp_path):
    faults = planted()
    assert len(faults.FAULTS) >= 25
    for fault in faults.FAULTS:
        shutil.copytree(faults.SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
        faults.plant(fault, tmp_path / "src")
        compile((tmp_path / "src" / fault.file).read_text(), fault.file, "exec")
        shutil.rmtree(tmp_path / "src")


@has_scripts
@pytest.mark.parametrize("name", ["a file is not synced", "the CRC is that of the last chunk"])
def test_a_planted_fault_is_found(tmp_path, name):
    faults = planted()
    (fault,) = [one for one in faults.FAULTS if one.name == name]
    assert faults.found_by(fault, tmp_path / "copy") is not None


def test_a_system_that_takes_a_part_of_a_write_is_asked_for_the_rest(storage, monkeypatch):
    monkeypatch.setattr(files, "NewFile", ShortWrites)
    net = nn.Linear(300, 200)
    with hypertuner.new_run(name="r"):
        path = hypertuner.Saver(net).save(step=1).path
    assert verify(path).level == "every bit"
    assert torch.equal(torch.load(path)["state_dict"]["weight"], net.weight)


def test_a_file_with_a_hole_takes_no_more_and_is_never_committed(tmp_path, monkeypatch):
    left = [1]

    def plan(operation):
        if operation.name == "write" and left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), operation.path)

    monkeypatch.setattr(files, "fault_plan", plan)
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    with pytest.raises(hypertuner.StorageFullError), files.Draft(path) as draft:
        with contextlib.suppress(hypertuner.StorageFullError):
            draft.file.write(b"one")
        with pytest.raises(OSError, match="an earlier write failed"):
            draft.file.write(b"two")
        draft.commit_new()
    assert list(path.parent.iterdir()) == []


def test_a_committed_checkpoint_cannot_be_written_to(storage):
    with hypertuner.new_run(name="r"):
        path = hypertuner.Saver(nn.Linear(3, 2)).save(step=1).path
    assert path.stat().st_mode & 0o222 == 0
    assert (storage / "r" / "model.pt").stat().st_mode & 0o222 == 0
    assert os.path.samefile(path, storage / "r" / "model.pt")
