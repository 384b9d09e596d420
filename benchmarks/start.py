"""start: how long a script of twenty steps takes, from when it is asked for until its process has ended.

`python train.py` beside the same script as a run of a queue whose turn has come, in turns: with its supervisor, its
claim, its output and its exit.json, forked from a zygote. That was started before, as whoever drains a queue does once
for all its runs; how long it takes is measured on its own. Both ways end with the same digits printed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.options import Options
from hypertuner.queue import make
from hypertuner.queue.executor import LocalExecutor
from hypertuner.queue.waiting import Entry, Queue
from hypertuner.store import RunState, Storage

NAME = "start"
STEPS = "a script of 20 steps"
NOTHING = "a script that imports torch"
READY = "until a zygote is ready"
PEER = "python train.py"

_SCRIPTS = {
    STEPS: """
import torch

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(20, 50), torch.nn.ReLU(), torch.nn.Linear(50, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
x = torch.randn(64, 20)
y = x.sum(1, keepdim=True)
for _ in range(20):
    loss = (net(x) - y).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
""",
    NOTHING: "import torch\nprint(torch.__version__)\n",
}


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """Rounds of both ways in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = children.environment(folder)
    if sys.platform != "linux":
        for measure in (STEPS, NOTHING, READY):
            yield missing(NAME, measure, OURS, "s", "needs Linux")
        return
    rounds = options.rounds(tiny=1, quick=5, normal=11)
    script = folder / "train" / "train.py"
    script.parent.mkdir(exist_ok=True)
    queue = Queue(Storage(folder / "storage"))
    ready = []
    with _environment(environment):
        for name, source in _SCRIPTS.items():
            script.write_text(source, encoding="utf-8")
            executor = LocalExecutor(queue.storage)
            try:
                begun = time.perf_counter()
                if not executor.prepare(_entry(queue, script, environment), timeout_s=120):
                    raise children.ChildFailed("there is no zygote")
                ready.append(time.perf_counter() - begun)
                found: dict[str, list[float]] = {OURS: [], PEER: []}
                said = set()
                for number in range(rounds + 1):
                    plain = _plain(script, folder, environment)
                    queued = _queued(queue, executor, script, environment)
                    for subject, (taken, output) in ((PEER, plain), (OURS, queued)):
                        said.add(output)
                        if number:  # the first round compiles, and reads from the disk
                            found[subject].append(taken)
            finally:
                executor.close()
            if len(said) != 1:
                raise children.ChildFailed(f"the two ways do not say the same: {said}")
            for subject, taken_s in found.items():
                yield median(NAME, name, subject, "s", taken_s)
    yield median(NAME, READY, OURS, "s", ready)


def _plain(script: Path, folder: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    target = folder / "plain"
    begun = time.perf_counter()
    with target.open("wb") as output:
        subprocess.run(
            [sys.executable, str(script)],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
    return time.perf_counter() - begun, target.read_text(encoding="utf-8")


def _entry(queue: Queue, script: Path, environment: Mapping[str, str]) -> Entry:
    run = make.make_run(script, {}, storage=queue.storage)
    queue.add(run, (), environment=environment)
    entry = queue.entry(run)
    assert entry is not None
    return entry


def _queued(queue: Queue, executor: LocalExecutor, script: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    """From the moment in which a run's turn has come until its supervisor has written how it ended, and is gone."""
    entry = _entry(queue, script, environment)
    begun = time.perf_counter()
    handle = executor.submit(entry, entry.run.next_number(), 1, ())
    while handle.poll() is None:
        time.sleep(0.002)
    taken = time.perf_counter() - begun
    attempt = entry.run.attempts()[0]
    if attempt.state() != RunState.finished:
        raise children.ChildFailed(f"the run {attempt.state()}: {attempt.exit()}")
    return taken, attempt.layout.output.read_text(encoding="utf-8")


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables in place of this process's own, for a while: the user's folder is that of the benchmark."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
