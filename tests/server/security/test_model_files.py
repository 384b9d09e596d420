"""Model files of somebody else's: the server and the child that looks into weights refuse them in bounded memory, and
unpickle nothing (S38, S39, S41, S44, S45)."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.checkpoint.test_hostile_files import central_entry, entry, patched, safetensors, torch_members, zip_of
from tests.checkpoint.test_pickles import BOMBS
from tests.conftest import script_environment
from tests.server.serving import Served

ROOM_KB = 64 << 10
LOOKING = """
import json, resource, sys
events = []
sys.addaudithook(lambda event, told: events.append(event) if event in ("pickle.find_class", "os.system") else None)
from hypertuner.server import weights_child
weights_child.main()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.stderr.write(json.dumps([peak, events]))
"""


def overlapping() -> bytes:
    """Entries that all name one place and claim 2 GB each: 10 TB from some hundred KB."""
    entries = [patched(central_entry(f"archive/data/{i}".encode(), b"x", 0), 24, "<I", 2**31) for i in range(5000)]
    return zip_of(torch_members(), extra_entries=entries)


def deflated() -> bytes:
    """4 GB of nothing would come out of it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
        archive.writestr("archive/version", "3")
    content = file.getvalue()
    return content.replace((50_000_000).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little"))


def other_archive() -> bytes:
    """A tar with a hard link out of it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("model.pt")
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(link)
    return file.getvalue()


class System:
    """Touches a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def evil() -> bytes:
    """A model of torch's with code in it."""
    file = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(2)}, "x": System()}, file)
    return file.getvalue()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "overlapping entries": overlapping,
    "a deflated bomb": deflated,
    "climbing members": lambda: zip_of([*torch_members(), ("archive/../../x", b"")]),
    "a tar with a link": other_archive,
    "gzip": lambda: b"\x1f\x8b\x08" + b"\0" * 40,
    "7z": lambda: b"7z\xbc\xaf\x27\x1c" + b"\0" * 40,
    "bare code": lambda: pickle.dumps(System()),
    "header of nothing": lambda: b"\0" * 8,
    "header of 2^63": lambda: safetensors({"a": entry()}, b"\0" * 8, 2**63),
    "header of 100 MB": lambda: safetensors({"a": entry()}, b"\0" * 8, 100_000_000),
    "overlong shape": lambda: safetensors({"a": entry(shape=(10**15, 10**15))}, b"\0" * 8),
    "negative shape": lambda: safetensors({"a": entry(shape=(-2,))}, b"\0" * 8),
    "overlapping tensors": lambda: safetensors({"a": entry(), "b": entry()}, b"\0" * 8),
    "a hole": lambda: safetensors({"a": entry(), "b": entry(place=(12, 20))}, b"\0" * 20),
    "unknown dtype": lambda: safetensors({"a": entry(dtype="Q99")}, b"\0" * 8),
    "many dimensions": lambda: safetensors({"a": entry(shape=(1,) * 65)}, b"\0" * 8),
    "deep brackets": lambda: safetensors(b'{"a":' * 100_000, b""),
    **{f"bomb: {name}": (lambda data=data: zip_of(pickled(data))) for name, data in BOMBS.items()},
}


def pickled(data: bytes) -> list[tuple[str, bytes]]:
    """Members of torch's, with another pickle."""
    return [(name, data if name.endswith("data.pkl") else content) for name, content in torch_members()]


def look(path: Path, folder: Path) -> tuple[dict[str, object], int, list[str]]:
    """(what the child answers, its highest memory in KB, what it unpickled or started)."""
    done = subprocess.run(
        [sys.executable, "-c", LOOKING],
        input=json.dumps({"task": "statistics", "path": str(path), "within_s": 120, "server": os.getpid()}),
        cwd=folder,
        env=script_environment({}),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    peak, events = json.loads(done.stderr)
    return json.loads(done.stdout), peak, events


@pytest.fixture(scope="module")
def usual_kb(tmp_path_factory: pytest.TempPathFactory) -> int:
    """What the child takes for a good file, NumPy included."""
    folder = tmp_path_factory.mktemp("good")
    torch.save({"state_dict": {"w": torch.ones(1000)}}, folder / "model.pt")
    answer, peak, _ = look(folder / "model.pt", folder)
    assert answer["problem"] is None
    assert answer["tensors"]
    return peak


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_child_refuses_a_hostile_file_in_bounded_memory_and_runs_nothing(tmp_path: Path, usual_kb: int, kind: str):
    path = tmp_path / "model.pt"
    path.write_bytes(HOSTILE[kind]())
    answer, peak, events = look(path, tmp_path)
    assert "error" in answer or answer["problem"] or not answer["tensors"], answer
    assert "\n  " in str(answer.get("message", "\n  ")), "it says what to do"
    assert peak < usual_kb + ROOM_KB
    assert events == []
    assert not (tmp_path / "pwned").exists()


def test_the_server_shows_all_of_them_as_what_they_are_in_bounded_memory(lone: Served):
    for number, (kind, content) in enumerate(HOSTILE.items()):
        run = lone.folder / "storage" / f"run-{number}"
        run.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps({"kind": kind}))
        (run / "model.pt").write_bytes(content())
    lone.ask("GET", "/api/runs")
    before = highest_kb(lone)
    for number, kind in enumerate(HOSTILE):
        for what in ("", "/statistics"):
            answer = lone.ask("GET", f"/api/checkpoints/run-{number}/model{what}")
            assert answer.status in (200, 409), (kind, what, answer.body)
            if answer.status == 409:
                assert "\n  " in answer.json["message"], (kind, what)
    assert lone.ask("GET", "/api/checkpoints").json["matched"] == len(HOSTILE)
    assert highest_kb(lone) < before + ROOM_KB


def highest_kb(served: Served) -> int:
    """The most memory that the server ever had."""
    status = Path(f"/proc/{served.process.pid}/status")
    if not status.exists():
        pytest.skip("the system does not tell")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
    assert found is not None
    return int(found[1])


NAMES = [
    "../../../etc/passwd",
    "/etc/passwd",
    "<img src=x onerror=alert(1)>",
    "a\x00b",
    "\u202eslin",
    "con",
    "a\r\nb: c",
]


def test_names_of_tensors_are_text_and_never_paths(lone: Served):
    run = lone.folder / "storage" / "odd-names"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    torch.save({"state_dict": {name: torch.zeros(2) for name in NAMES}}, run / "model.pt")
    lone.ask("GET", "/api/runs")
    told = lone.ask("GET", "/api/checkpoints/odd-names/model")
    assert told.status == 200, told.body
    assert {row["name"] for row in told.json["tensors"]} == set(NAMES)
    assert told.headers["content-type"] == "application/json"
    exported = lone.ask("GET", "/api/checkpoints/odd-names/model/export?format=safetensors")
    assert exported.status in (200, 409)
    made = {path.relative_to(lone.folder).parts[0] for path in lone.folder.rglob("*")}
    assert made <= {"storage", "home", "cache"}
    assert not {path.name for path in lone.folder.rglob("*")} & {"passwd", "con", *NAMES}


def test_weights_beside_code_are_read_and_the_code_is_not_run(tmp_path: Path, usual_kb: int):
    (tmp_path / "model.pt").write_bytes(evil())
    answer, peak, events = look(tmp_path / "model.pt", tmp_path)
    assert [one["name"] for one in answer["tensors"]] == ["w"]
    assert (events, (tmp_path / "pwned").exists()) == ([], False)
    assert peak < usual_kb + ROOM_KB
