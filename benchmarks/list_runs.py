"""runs: how long listing the runs of a storage takes: without the index, the first time with it, and from then on.

Makes a storage of finished runs with the files that a real one has (config, record, start with packages and a git
diff, exit, 50 lines of metrics). The folders themselves are in the page cache. Times are medians of calls in one
process; cold (no index yet, it is made) is one call. No peer has such folders: the target is one second.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median
from benchmarks.options import Options
from hypertuner.index.runs import read_rows, runs
from hypertuner.index.table import RunTable
from hypertuner.store import Storage, layout, metrics, names, records

NAME = "runs"
WARM = "warm"

_PACKAGES = {f"package-{number}": f"{number}.{number % 7}.0" for number in range(40)}
_DIFF = "\n".join(f"+    line {number} of a change that was not committed yet" for number in range(40))


def make_folders(into: Path, count: int, points: int = 50) -> None:
    """`count` finished runs, each with its folder, as fast as the file system takes them (nothing is synced)."""
    into.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    taken: set[str] = set()
    begun = time.time() - 30 * 86400
    while len(taken) < count:
        name = names.friendly_name(taken)
        taken.add(name)
        make_run(into / name, draw, begun + len(taken) * 60, points)


def make_run(folder: Path, draw: random.Random, when: float, points: int = 50) -> None:
    """One finished run as hypertuner leaves it, with so many records of metrics."""
    place = layout.RunLayout(folder)
    attempt = place.attempt(1)
    attempt.checkpoints.mkdir(parents=True)
    place.source.mkdir()
    config: dict[str, Any] = {
        "learning_rate": draw.choice([0.1, 0.03, 0.01, 0.003]),
        "batch_size": draw.choice([32, 64, 128]),
        "epochs": 50,
        "optimizer.name": draw.choice(["adam", "sgd"]),
        "dropout": round(draw.random(), 3),
        "seed": draw.randrange(1000),
    }
    place.config.write_bytes(records.to_bytes(config))
    record = records.RunRecord("train.py", ("--epochs", "50"), "/home/someone/project", _time(when))
    place.record.write_bytes(records.to_bytes(record))
    (place.source / "train.py").write_bytes(b"print('training')\n" * 60)
    started = records.Started(
        attempt=1,
        started_at=_time(when),
        host="node-1",
        boot_id="d1f1c9d6-9df3-4c35-9a3b-2f3f1c6f0a11",
        pid_namespace="pid:[4026531836]",
        pid=4000,
        process_started=123456.0,
        exit_by="script",
        config=config,
        python="3.12.1",
        platform="Linux-6.1.0-x86_64",
        user="someone",
        argv=("train.py",),
        gpus=("NVIDIA A100-SXM4-80GB",),
        environment=_PACKAGES,
        git={"commit": "0" * 40, "branch": "main", "diff": _DIFF},
    )
    attempt.started.write_bytes(records.to_bytes(started))
    best = draw.random()
    lines = [
        metrics.encode(
            step,
            when + step,
            {"train/loss": math.exp(-step / 20) + draw.random() / 10, "val_acc": best * (1 - math.exp(-step / 10))},
        )
        for step in range(points)
    ]
    attempt.metrics.write_bytes(b"".join(lines))
    attempt.exit.write_bytes(records.to_bytes(records.Exit("finished", 0, None, "the script ended", _time(when + 50))))
    attempt.checkpoint(50).write_bytes(b"\0" * 512)
    os.link(attempt.checkpoint(50), place.model)


def _time(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """One child that makes the storage and lists it."""
    count = options.pick(tiny=5, quick=1000, normal=10_000)
    repeat = options.rounds(tiny=1, quick=3, normal=3)
    for what, rounds in children.call("benchmarks.list_runs:listed", folder, count, repeat).items():
        yield median(NAME, what, OURS, "s", rounds, runs=count)


def listed(count: int, repeat: int) -> dict[str, list[float]]:
    """In a child: seconds of each way to list `count` runs."""
    folder = Path.cwd() / "storage"
    make_folders(folder, count)
    newest = max(path.stat().st_mtime for path in folder.iterdir())
    time.sleep(max(0.0, newest + 3 - time.time()))  # what was written just now is not trusted to be finished
    storage = Storage(folder)
    query = "val_acc > 0.9 and learning_rate < 0.05"
    return {
        "without index": [_seconds(lambda: RunTable(read_rows(storage))) for _ in range(repeat)],
        "cold": [_seconds(lambda: runs(storage=storage))],
        WARM: [_seconds(lambda: runs(storage=storage)) for _ in range(repeat)],
        "warm, with a query": [_seconds(lambda: runs(query, storage=storage)) for _ in range(repeat)],
    }


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
