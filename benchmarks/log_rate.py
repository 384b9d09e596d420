"""log: how long a training waits for `log()` of three numbers.

Each tracker logs as fast as it takes records, in a process of its own, in rounds that take turns. Timed are the calls
alone; the first records, with which a tracker sets itself up, are
timed apart, and so is what `finish` still has to write. What hypertuner's `log` returned for survives `kill -9`; what
of the peers' does is in `kills`.

Peers: see `trackers`. A peer's ways that only store elsewhere, or are made to survive, are shown beside it; the target
is against the fastest of all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.measurement import Measurement, median, missing
from benchmarks.options import Options
from benchmarks.trackers import TRACKERS, record, tracker

NAME = "log"
RECORD = "one record"
_WARM_UP = 20


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """Rounds of every tracker in turns."""
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(options.rounds(tiny=1, quick=3, normal=7)):
        for one in TRACKERS:
            if one.is_installed():
                seconds = options.pick(tiny=0.1, quick=0.5, normal=1.0)
                taken = children.call("benchmarks.log_rate:rate", folder / f"{one.name}-{number}", one.name, seconds)
                found.setdefault(one.name, []).append(taken)
    for one in TRACKERS:
        for what in (RECORD, "start and first records", "finish"):
            if one.name not in found:
                yield missing(NAME, what, one.name, "s")
                continue
            rounds = found[one.name]
            logged = int(rounds[0]["records"])
            yield median(NAME, what, one.name, "s", [taken[what] for taken in rounds], records=logged)


def rate(name: str, seconds: float, most: int = 20_000) -> dict[str, Any]:
    """In the measured process: log for `seconds`, or `most` records."""
    one = tracker(name)
    begun = time.perf_counter()
    log = one.start(Path.cwd())
    for step in range(_WARM_UP):
        log(record(step), step)
    ready = time.perf_counter()
    step = _WARM_UP
    # The dicts are made before: what is timed is the tracker. Batches, so that the clock is not part of it.
    spent = 0.0
    while spent < seconds and step < most:
        batch = [(record(at), at) for at in range(step, step + 100)]
        began = time.perf_counter()
        for values, at in batch:
            log(values, at)
        spent += time.perf_counter() - began
        step += 100
    finishing = time.perf_counter()
    one.finish()
    return {
        RECORD: spent / (step - _WARM_UP),
        "start and first records": ready - begun,
        "finish": time.perf_counter() - finishing,
        "records": step - _WARM_UP,
    }
