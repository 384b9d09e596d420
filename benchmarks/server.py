"""server: the GUI's server, from its start until it answers, and what it takes then.

A server in a process of its own for each size of storage, asked over loopback as the page asks. Of 100,000 runs the
folders hold next to nothing and the index knows them (`benchmarks.runs_made --thin`): it is a server that was there
before. Memory is what the process has for itself once it has looked at all folders; `first rows` are asked for as soon
as it says that it can be; `filter` is a query that it has not been asked before. Curves are asked for twice: from the
files, and from memory.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import psutil

from benchmarks import children, runs_made
from benchmarks.measurement import OURS, Measurement, median
from benchmarks.options import Options

NAME = "server"
_PATIENCE_S = 600


def first_rows(runs: int) -> str:
    """Name of the measure."""
    return f"first rows of {runs:,} runs"


def filtered(runs: int) -> str:
    """Name of the measure."""
    return f"filter of {runs:,} runs"


class _Server:
    """A server that runs, and one connection to it."""

    def __init__(self, process: subprocess.Popen[str], port: int, token: str) -> None:
        self.process = process
        self._token = token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)

    def ask(self, path: str, **asked: Any) -> tuple[float, bytes]:
        """(seconds, what was answered)."""
        begun = time.perf_counter()
        target = f"/api/{path}?{urlencode(asked, doseq=True, quote_via=quote)}"
        self._connection.request("GET", target, headers={"Authorization": f"Bearer {self._token}"})
        answer = self._connection.getresponse()
        body = answer.read()
        taken = time.perf_counter() - begun
        if answer.status != 200:
            raise children.ChildFailed(f"{target} was answered with {answer.status}: {body!r:.500}")
        return taken, body

    def memory_bytes(self) -> int:
        """What the process has for itself."""
        return int(psutil.Process(self.process.pid).memory_full_info().uss)


@contextlib.contextmanager
def _serving(folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[float, _Server]]:
    """(seconds until it says its address, a server of the storage in `folder`)."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "hypertuner", "--no-browser", "--port", "0"],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    try:
        assert process.stdout is not None
        address = next((line.strip() for line in process.stdout if "#token=" in line), "")
        taken = time.perf_counter() - begun
        if not address:
            raise children.ChildFailed("the server ended before it said its address")
        port = int(address.partition("://")[2].partition("/")[0].rpartition(":")[2])
        yield taken, _Server(process, port, address.partition("#token=")[2])
    finally:
        process.terminate()
        process.communicate()


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """Storages of several sizes, then curves."""
    folder.mkdir(parents=True, exist_ok=True)
    rounds = options.rounds(tiny=1, quick=3, normal=5)
    sizes = options.pick(tiny=(0, 5), quick=(0, 1_000), normal=(0, 1_000, 100_000))
    for count in sizes:
        yield from _of_storage(folder / str(count), count, rounds)
    runs, points = options.pick(tiny=(2, 10), quick=(50, 2_000), normal=(50, 2_000))
    yield from _of_curves(folder / "curves", runs, points, rounds)
    if options.size in ("normal", "full"):
        yield from _of_curves(folder / "long", 100, 10_000, rounds)


def _of_storage(folder: Path, count: int, rounds: int) -> Iterator[Measurement]:
    environment = children.environment(folder)
    (folder / "storage").mkdir(parents=True)
    if count:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.runs_made", "--thin", "--runs", str(count), "--into", "storage"],
            cwd=folder,
            env=environment,
            check=True,
        )
    starts, firsts, filters, scrolls, memories = [], [], [], [], []
    for number in range(rounds):
        with _serving(folder, environment) as (started, server):
            starts.append(started)
            firsts.append(server.ask("runs")[0])
            _until_complete(server)
            memories.append(float(server.memory_bytes()))
            if count:
                filters.append(server.ask("runs", query=f"val_acc > 0.9{number} and learning_rate < 0.05")[0])
                scrolls.append(server.ask("runs", offset=count // 2)[0])
    yield median(NAME, f"start, {count:,} runs", OURS, "s", starts)
    yield median(NAME, first_rows(count), OURS, "s", firsts)
    yield median(NAME, f"memory, {count:,} runs", OURS, "bytes", memories)
    if count:
        yield median(NAME, filtered(count), OURS, "s", filters)
        yield median(NAME, f"window of 200 of {count:,} runs", OURS, "s", scrolls)


def _of_curves(folder: Path, runs: int, points: int, rounds: int) -> Iterator[Measurement]:
    runs_made.make_folders(folder / "storage", runs, points)
    names = sorted(path.name for path in (folder / "storage").iterdir())
    cold, warm = [], []
    for _ in range(rounds):
        with _serving(folder, children.environment(folder)) as (_, server):
            _until_complete(server)
            cold.append(server.ask("series", run=names, metric="train/loss")[0])
            warm.append(server.ask("series", run=names, metric="val_acc")[0])
    what = f"{runs} curves of {points:,} points"
    yield median(NAME, f"{what}, from files", OURS, "s", cold, points=runs * points)
    yield median(NAME, f"{what}, from memory", OURS, "s", warm, points=runs * points)


def _until_complete(server: _Server) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not orjson.loads(server.ask("runs", limit=1)[1])["is_complete"]:
        if time.monotonic() > end:
            raise children.ChildFailed("the server does not come to an end with looking at the folders")
        time.sleep(0.1)
