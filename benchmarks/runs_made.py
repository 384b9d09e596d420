"""Storages of made runs, for whoever needs many: `python -m benchmarks.runs_made --runs 100000 --into FOLDER`.

Folders are as a real storage has them; `--points` is how much each run logged. With `--thin`, a folder holds next to
nothing, and what a run was is in the index alone, as if it had been read before: a hundred thousand are made in half a
minute, and a server finds that nothing has changed since. HYPERTUNER_CACHE says where that index lies.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

from benchmarks.list_runs import make_folders
from hypertuner.index import facts
from hypertuner.index.database import Database
from hypertuner.index.row import RunRow
from hypertuner.store.layout import CONFIG

__all__ = ["make_folders", "make_thin"]

_ENTRIES_AT_ONCE = 10_000


def make_thin(storage: Path, count: int) -> None:
    """`count` folders with a config, and an index that has finished runs of them."""
    for number in range(count):
        folder = storage / f"run-{number:06}"
        folder.mkdir(parents=True)
        (folder / CONFIG).write_bytes(b"{}")
    # What was written just now is not trusted to be finished.
    time.sleep(3)
    draw = random.Random(0)
    begun = time.time() - 365 * 86400
    index = Database(storage)
    entries: dict[str, bytes] = {}
    created: dict[str, float] = {}
    for number in range(count):
        row = _row(f"run-{number:06}", draw, begun + number * 300)
        data = facts.encode(facts.Facts(row), facts.signature_of(str(storage / row.name)))
        assert data is not None
        entries[row.name], created[row.name] = data, row.created
        if len(entries) == _ENTRIES_AT_ONCE or number == count - 1:
            index.write(entries, created=created)
            entries, created = {}, {}


def _row(name: str, draw: random.Random, created: float) -> RunRow:
    loss, accuracy = draw.random(), draw.random()
    return RunRow(
        name=name,
        state=draw.choice(["finished"] * 8 + ["failed", "stopped"]),
        config={
            "learning_rate": draw.choice([0.1, 0.03, 0.01, 0.003]),
            "batch_size": draw.choice([32, 64, 128]),
            "epochs": 50,
            "optimizer.name": draw.choice(["adam", "sgd"]),
            "dropout": round(draw.random(), 3),
            "seed": draw.randrange(1000),
        },
        metrics={"train/loss": loss, "val_acc": accuracy},
        best={"train/loss": loss / 2, "val_acc": accuracy},
        tags=("mnist", "base") if draw.random() < 0.1 else (),
        created=created,
        duration_s=draw.random() * 3600,
        step=49,
        checkpoints=1,
        nbytes=draw.randrange(10_000_000),
        script="train.py",
        first={"train/loss": 1.0 + loss, "val_acc": 0.0},
        lowest={"train/loss": loss / 2, "val_acc": 0.0},
        highest={"train/loss": 1.0 + loss, "val_acc": accuracy},
        wrote_at=math.floor(created),
    )


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runs_made", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--into", type=Path, required=True, help="the storage")
    parser.add_argument("--points", type=int, default=50, help="records of metrics that each run logged")
    parser.add_argument("--thin", action="store_true", help="folders without content, and an index")
    given = parser.parse_args()
    if given.thin:
        make_thin(given.into, given.runs)
    else:
        make_folders(given.into, given.runs, given.points)


if __name__ == "__main__":
    main()
