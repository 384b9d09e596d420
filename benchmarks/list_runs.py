"""How long listing the runs of a storage takes: without the index, the first time with it, and from then on.

    python benchmarks/list_runs.py [--runs 10000] [--folder PATH] [--repeat 3]

Makes a storage of finished runs with the files that a real one has (config, record, start with packages and a git
diff, exit, 50 lines of metrics), then prints one JSON line per measurement: without an index, cold (no index yet, it is
made), warm. The folders themselves are in the page cache. Times are medians of `--repeat` calls in one process; cold is
one call.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from hypertuner.index.runs import read_rows, runs
from hypertuner.index.table import RunTable
from hypertuner.store import Storage, layout, metrics, names, records

_PACKAGES = {f"package-{number}": f"{number}.{number % 7}.0" for number in range(40)}
_DIFF = "\n".join(f"+    line {number} of a change that was not committed yet" for number in range(40))


def make_storage(folder: Path, count: int) -> None:
    """`count` finished runs in `folder`, written as fast as the file system takes them (nothing is synced)."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    taken: set[str] = set()
    begun = time.time() - 30 * 86400
    while len(taken) < count:
        name = names.friendly_name(taken)
        taken.add(name)
        make_run(folder / name, draw, begun + len(taken) * 60)


def make_run(folder: Path, draw: random.Random, when: float) -> None:
    """One finished run as hypertuner leaves it."""
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
        for step in range(50)
    ]
    attempt.metrics.write_bytes(b"".join(lines))
    attempt.exit.write_bytes(records.to_bytes(records.Exit("finished", 0, None, "the script ended", _time(when + 50))))
    attempt.checkpoint(50).write_bytes(b"\0" * 512)
    os.link(attempt.checkpoint(50), place.model)


def _time(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def seconds(call: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    """Make the storage, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--folder", type=Path, help="where the storage is made, and kept; a temporary one otherwise")
    options.add_argument("--repeat", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary) / "storage"
        os.environ["HYPERTUNER_CACHE"] = str(Path(temporary) / "cache")
        if not folder.exists():
            make_storage(folder, chosen.runs)
            time.sleep(3)  # what was written just now is not trusted to be finished
        storage = Storage(folder)

        def show(what: str, taken: list[float]) -> None:
            line = {"benchmark": "list_runs", "measure": what, "runs": chosen.runs, "seconds": statistics.median(taken)}
            print(orjson.dumps(line).decode(), flush=True)

        show("without index", [seconds(lambda: RunTable(read_rows(storage))) for _ in range(chosen.repeat)])
        show("cold", [seconds(lambda: runs(storage=storage))])
        show("warm", [seconds(lambda: runs(storage=storage)) for _ in range(chosen.repeat)])
        query = "val_acc > 0.9 and learning_rate < 0.05"
        show("warm, with a query", [seconds(lambda: runs(query, storage=storage)) for _ in range(chosen.repeat)])


if __name__ == "__main__":
    main()
