"""A storage as people have it, and a watched server on it, once for each module."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import script_environment
from tests.server.serving import Served, serving

from hypertuner.server.guard import Door, Scope

TRAIN = """
import torch, hypertuner
args = hypertuner.Args(lr=0.1, epochs=3, name="net")
torch.manual_seed(0)
net = torch.nn.Linear(4, 2)
saver = hypertuner.Saver(net, monitor="val_acc")
logger = hypertuner.Logger()
for epoch in range(args.epochs):
    logger.log({"loss": 1 / (epoch + 1), "val_acc": 0.5 + epoch / 10, "words": hypertuner.Text("a text")}, epoch)
    print("epoch", epoch)
    saver.save()
"""


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.py and a storage of three runs: calm-lynx, brave-otter that began from it, and a draft."""
    folder = tmp_path_factory.mktemp("furnished")
    (folder / "train.py").write_text(TRAIN)
    environment = script_environment(environment_of(folder))
    for words in (
        ["run", "train.py", "lr=0.1", "--name", "calm-lynx"],
        ["run", "train.py", "lr=0.2", "--name", "brave-otter", "--from", "calm-lynx@last"],
        ["run", "train.py", "lr=0.3", "--name", "slow-heron", "--queue"],
    ):
        subprocess.run(
            [sys.executable, "-m", "hypertuner", *words], cwd=folder, env=environment, check=True, capture_output=True
        )
    return folder


def environment_of(folder: Path) -> dict[str, str]:
    """What keeps a process in a folder of its own."""
    return {
        "HYPERTUNER_STORAGE": str(folder / "storage"),
        "HYPERTUNER_HOME": str(folder / "home"),
        "HYPERTUNER_CACHE": str(folder / "cache"),
    }


@pytest.fixture(scope="module")
def served(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A watched server for train.py on a copy of that storage, which drains nothing."""
    folder = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(furnished, folder, symlinks=True)
    with serving(folder, "train.py", "--no-drain", watched=True) as server:
        yield server


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Served]:
    """A server of the test's own, on a storage with nothing in it: what it learns of strangers no other test sees."""
    with serving(tmp_path, "--no-drain") as server:
        yield server


def content_of(folder: Path) -> dict[str, str]:
    """Every file below a folder, and the hash of its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def share(served: Served, scope: Scope = "view") -> str:
    """The token of this server's that allows no more than this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERTUNER_HOME", str(served.folder / "home"))
        return Door(served.folder / "storage").token(scope)


def open_socket(served: Served, path: str, headers: list[tuple[str, str]], host: str = "") -> bytes:
    """What is answered to who asks for a WebSocket."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host or served.host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"{name}: {value}" for name, value in headers]
    return served.raw("\r\n".join([*lines, "", ""]).encode(), head=True)
