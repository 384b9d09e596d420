"""A power cut loses no acknowledged save and tears none: on a real file system that is cut off, and by the order of
the calls, which also says so where there is no root.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify
from hypertuner.checkpoint.reference import resolve
from hypertuner.store import Run

SCRIPT = """
import torch, hypertuner
from torch import nn

net = nn.Linear(200, 100)
optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)
saver = hypertuner.Saver(net, {options})
logger = hypertuner.Logger()
for step in range(10000):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(step)
    logger.log({{"loss": 1.0}}, step)
    saver.save(step=step).wait()
    print(step, flush=True)
"""
# FS_IOC_SHUTDOWN of Linux: nothing that is not on the disk by then gets there, as if the power were gone.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, that can be cut off: `disk.cut()`, then `disk.come_back()`."""
    disk = Disk(tmp_path)
    yield disk
    disk.end()


class Disk:
    def __init__(self, folder: Path) -> None:
        self.image, self.mount = folder / "image", folder / "disk"
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("needs root, to mount a file system")
        if not sys.platform.startswith("linux") or not (shutil.which("mkfs.ext4") and shutil.which("mount")):
            pytest.skip("needs Linux with mkfs.ext4 and mount")
        self.mount.mkdir()
        with self.image.open("wb") as file:
            file.truncate(96 << 20)
        self._call("mkfs.ext4", "-q", str(self.image))
        try:
            self.come_back()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs a loop device: {error.stderr.decode().strip()}")

    def come_back(self) -> None:
        self._call("mount", "-o", "loop", str(self.image), str(self.mount))

    def cut(self) -> None:
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        self._call("umount", str(self.mount))

    def end(self) -> None:
        subprocess.run(["umount", "-l", str(self.mount)], capture_output=True, check=False)

    def _call(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)


def step_of(path):
    """The step of a checkpoint that is whole, and of one step."""
    assert verify(path).level == "every bit"
    loaded = torch.load(path)
    for value in loaded["state_dict"].values():
        assert torch.equal(value, torch.full_like(value, float(loaded["run"]["step"])))
    return loaded["run"]["step"]


@pytest.mark.parametrize("options", ["optimizer=optimizer", "background=True"], ids=["optimizer", "background"])
@pytest.mark.parametrize("seed", range(3))
def test_no_acknowledged_save_is_lost_when_the_power_goes(disk, monkeypatch, tmp_path, options, seed):
    storage = disk.mount / "storage"
    monkeypatch.setenv("HYPERTUNER_STORAGE", str(storage))
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(options=options))
    environment = {
        **os.environ,
        "HYPERTUNER_RUN": "r",
        "PYTHONPATH": str(Path(hypertuner.__file__).parents[1]),
    }
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"0\n"
    # ext4 writes its journal out every five seconds: before that, a name that nobody synced is in memory only.
    time.sleep(random.Random(seed).uniform(0.0, 0.6))
    process.kill()  # what it said until now is acknowledged
    said, _ = process.communicate()
    disk.cut()
    disk.come_back()
    kept = [0, *map(int, said.split(b"\n")[:-1])]
    last = step_of(resolve("r@last").path)
    assert last in (kept[-1], kept[-1] + 1)
    assert step_of(resolve("r").path) == last
    for path in storage.rglob("step-*.pt"):
        step_of(path)
    logged = [record.step for record in Run(storage / "r").logged()]
    assert logged[: kept[-1] + 1] == list(range(kept[-1] + 1))


class Calls:
    """What a process asked of the file system, in order: every name it made or removed, every sync, every write."""

    def __init__(self, monkeypatch):
        self.log = []
        real = {name: getattr(os, name) for name in ("fsync", "link", "replace", "rename", "mkdir", "unlink")}

        def fsync(descriptor):
            real["fsync"](descriptor)
            self.log.append(("fsync", os.fstat(descriptor).st_ino, 0, ""))

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("link", "replace", "rename"):
            monkeypatch.setattr(os, name, self._naming(name, real[name]))
        monkeypatch.setattr(os, "mkdir", self._making(real["mkdir"]))
        monkeypatch.setattr(os, "unlink", self._removing(real["unlink"]))
        monkeypatch.setattr(files, "fault_plan", self._note)

    def _naming(self, name, real):
        def call(source, target, **keywords):
            inode = os.stat(source).st_ino
            real(source, target, **keywords)
            self.log.append(("name", inode, os.stat(Path(target).parent).st_ino, str(target)))

        return call

    def _making(self, real):
        def call(path, *rest, **keywords):
            real(path, *rest, **keywords)
            self.log.append(("name", 0, os.stat(Path(path).parent).st_ino, str(path)))

        return call

    def _removing(self, real):
        def call(path, **keywords):
            real(path, **keywords)
            self.log.append(("remove", 0, 0, str(path)))

        return call

    def _note(self, operation):
        if operation.name in ("write", "append", "truncate"):
            self.log.append(("write", os.stat(operation.path).st_ino, 0, operation.path))

    def at_risk(self, storage):
        """Names in the storage that a power cut now would lose. Fails where one was given, or an old one removed, too
        early.
        """
        unsynced = set()  # files with bytes that may be lost
        unnamed = {}  # folder → names in it that may be lost
        for kind, inode, folder, path in self.log:
            if kind == "write":
                unsynced.add(inode)
            elif kind == "fsync":
                unsynced.discard(inode)
                unnamed.pop(inode, None)
            elif not path.startswith(str(storage)) or ".draft-" in Path(path).name:
                continue
            elif kind == "name":
                assert inode not in unsynced, f"{path} names bytes that a power cut would lose"
                unnamed.setdefault(folder, []).append(path)
            elif "checkpoints" in path:
                waiting = [name for names in unnamed.values() for name in names if "checkpoints" in name]
                assert not waiting, f"{path} is removed before {waiting} is safe"
        return [name for names in unnamed.values() for name in names]


@pytest.mark.parametrize("background", [False, True])
def test_every_name_is_given_to_synced_bytes_and_synced_before_a_save_returns(storage, monkeypatch, background):
    calls = Calls(monkeypatch)
    net = nn.Linear(30, 20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, optimizer=optimizer, background=background, keep_trail=1)
        logger = hypertuner.Logger()
        for step in range(4):
            logger.log({"loss": 1.0}, step)
            net(torch.ones(1, 30)).sum().backward()
            optimizer.step()
            saver.save(step=step).wait()
            assert calls.at_risk(storage) == [], "a save has returned, and a power cut would lose these names"
    assert any(kind == "remove" and "checkpoints" in path for kind, _, _, path in calls.log)
