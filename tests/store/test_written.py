"""When an attempt wrote last is told by the clock of the file system that keeps it."""

from __future__ import annotations

import os
import time

import pytest

from hypertuner import files
from hypertuner.opening import read_tail
from hypertuner.store import Storage, records
from hypertuner.store.figures import Figures, encode, newest_figures, taken
from hypertuner.store.gpus import GpuUse
from hypertuner.store.written import FileClock, wrote_at

ABOUT = {"python": "", "platform": "", "user": ""}


@pytest.fixture
def attempt(storage):
    run = Storage(storage).create("otter", records.RunRecord("train.py", (), "/project", records.now()), {})
    return run.claim_attempt(records.Started.here(exit_by="script", config={}, **ABOUT))


def test_what_was_written_last_tells_whatever_it_is(attempt):
    folder = attempt.layout.folder
    os.utime(attempt.layout.started, (1000, 1000))
    assert wrote_at(attempt.layout) == 1000
    for number, name in enumerate(("metrics.jsonl", "output.log", "system.jsonl", "output.7.log")):
        (folder / name).write_bytes(b"\n")
        os.utime(folder / name, (2000 + number, 2000 + number))
        assert wrote_at(attempt.layout) == 2000 + number


def test_the_clock_is_the_file_systems_and_leaves_nothing_behind(storage, attempt):
    clock = FileClock(storage)
    assert abs(clock.now() - time.time()) < 2
    assert clock.age(clock.now() + 100) == 0
    assert clock.age(clock.now() - 12) == pytest.approx(12, abs=0.5)
    assert list((storage / ".queue").iterdir()) == []


def test_an_age_is_right_when_the_clocks_of_two_hosts_differ(storage, attempt, monkeypatch):
    """This host is an hour behind; what another one has just written is not from the future, nor an hour old."""
    here = time.time
    monkeypatch.setattr("hypertuner.store.written.time.time", lambda: here() - 3600)
    clock = FileClock(storage)
    assert clock.age(wrote_at(attempt.layout)) < 5


def test_where_nothing_may_be_written_this_hosts_clock_tells(storage, attempt, monkeypatch):
    def full(operation):
        raise OSError(30, "Read-only file system", operation.path)

    monkeypatch.setattr(files, "fault_plan", full)
    assert abs(FileClock(storage).now() - time.time()) < 1
    monkeypatch.setattr(files, "fault_plan", None)
    monkeypatch.setenv("HYPERTUNER_MODE", "off")
    assert abs(FileClock(storage).now() - time.time()) < 1
    assert not (storage / ".queue" / "clock").exists()


def sample(number: float, cpu: float | None, memory: int, *gpus: GpuUse) -> Figures:
    return Figures(number, cpu, memory, "pss", 2, 10, None, 0.5, 100 - int(number), gpus)


def test_what_an_attempt_took_is_mean_and_most_of_its_samples(attempt):
    assert taken(attempt.layout) is None
    lines = [
        sample(0, None, 100, GpuUse("GPU-a", 0.5, 10)),
        sample(1, 2.0, 300, GpuUse("GPU-a", None, 30)),
        sample(2, 4.0, 200, GpuUse("GPU-a", 1.0, 20)),
    ]
    attempt.layout.figures.write_bytes(b"".join(map(encode, lines)) + b'{"time": 1, "cp')
    took = taken(attempt.layout)
    assert (took.samples, took.cpu.mean, took.cpu.most) == (3, 3.0, 4.0)
    assert (took.memory_bytes.mean, took.memory_bytes.most) == (200, 300)
    assert (took.disk_read_bytes, took.disk_write_bytes) == (30, None)
    assert took.host_memory_available_bytes == 98
    (gpu,) = took.gpus
    assert (gpu.utilisation.mean, gpu.utilisation.most, gpu.memory_bytes.most) == (0.75, 1.0, 30)
    assert newest_figures(attempt.layout) == lines[-1]


@pytest.mark.parametrize("most", [1, 5, 6, 7, 11, 12, 100])
def test_the_end_of_a_file_is_whole_lines(tmp_path, most):
    path = tmp_path / "lines"
    text = b"first\nsecond\nthird\ntorn"
    path.write_bytes(text)
    tail = read_tail(path, most)
    assert tail in (b"", b"third\n", b"second\nthird\n", b"first\nsecond\nthird\n")
    assert len(tail) <= most
    if most >= len(text):
        assert tail == b"first\nsecond\nthird\n"
    if most == 11:
        assert tail == b"third\n"
    assert read_tail(tmp_path / "none", 10) == b""
