"""kills: which trackers lose records that they had taken when the training is killed with `kill -9`.

A child logs one numbered record every 5 ms and tells the parent through a pipe when each `log` has returned. At a
random moment, half a second to two seconds later, it is killed. Then the peer's own reader reads what is there, once
its helper process (W&B has one) has ended or had five seconds to. Lost is what was acknowledged and cannot be read.

"with its helper": all processes of the training are killed at once, as Slurm, a container or an out-of-memory killer
of a group does it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, missing
from benchmarks.options import Options
from benchmarks.trackers import TRACKERS, Tracker, record, tracker

NAME = "kills"
ALONE = "lost to kill -9"
TOGETHER = "lost to kill -9 with its helper"
_PACE_S = 0.005
_STEP_BYTES = 4


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """Rounds of every tracker; two at a time, for nothing is timed."""
    rounds = options.rounds(tiny=1, quick=2, normal=5)
    kinds = [(one, ALONE) for one in TRACKERS] + [
        (one, TOGETHER) for one in TRACKERS if one.has_helper or one.name == OURS
    ]
    draw = random.Random(0)
    plan = [
        (number, one, what, draw.uniform(0.5, 2.0))
        for number in range(rounds)
        for one, what in kinds
        if one.is_installed()
    ]

    def one_round(planned: tuple[int, Tracker, str, float]) -> tuple[int, int]:
        number, one, what, seconds = planned
        place = folder / f"{one.name}-{what}-{number}"
        acknowledged = kill(one.name, place, seconds, with_helper=what == TOGETHER)
        return lost(one.name, place, acknowledged), len(acknowledged)

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(one_round, plan))
    for one, what in kinds:
        if not one.is_installed():
            yield missing(NAME, what, one.name, "share")
            continue
        mine = [count for (_, other, kind, _), count in zip(plan, counts, strict=True) if (other, kind) == (one, what)]
        gone, acknowledged = (sum(part) for part in zip(*mine, strict=True))
        shares = tuple(part / of for part, of in mine)
        details = {"lost": gone, "acknowledged": acknowledged}
        yield Measurement(NAME, what, one.name, "share", gone / acknowledged, shares, None, details)


def kill(name: str, folder: Path, seconds: float, *, with_helper: bool = False) -> set[int]:
    """Kill a process that logs into `folder`, `seconds` after its first record; the steps that it was told are taken."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "output.log"
    reading, writing = os.pipe()
    with output.open("wb") as stream:
        child = subprocess.Popen(
            children.command("benchmarks.kills:log_until_killed", name, writing),
            cwd=folder,
            env=children.environment(folder),
            pass_fds=[writing],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        told = pipe.read(_STEP_BYTES)
        if not told:
            child.wait()
            raise children.ChildFailed(f"{name} did not start:\n{output.read_text(errors='replace')}")
        time.sleep(seconds)
        helpers = psutil.Process(child.pid).children(recursive=True)
        if with_helper:
            for process in helpers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        child.send_signal(signal.SIGKILL)
        child.wait()
        while more := pipe.read(65536):
            told += more
    _, alive = psutil.wait_procs(helpers, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return {
        int.from_bytes(told[at : at + _STEP_BYTES], "little")
        for at in range(0, len(told) - _STEP_BYTES + 1, _STEP_BYTES)
    }


def lost(name: str, folder: Path, acknowledged: set[int]) -> int:
    """How many of these steps the tracker's own reader does not find in `folder`."""
    return len(acknowledged - set(children.call("benchmarks.kills:readable", folder, name)))


def log_until_killed(name: str, pipe: int) -> None:
    """In the child: log for ever; each step goes into the pipe when its record was taken."""
    os.set_inheritable(pipe, False)
    log = tracker(name).start(Path.cwd())
    step = 0
    while True:
        log(record(step), step)
        os.write(pipe, step.to_bytes(_STEP_BYTES, "little"))
        step += 1
        time.sleep(_PACE_S)


def readable(name: str) -> list[int]:
    """In a child: the steps that the tracker's own reader finds."""
    return sorted(tracker(name).steps(Path.cwd()))
