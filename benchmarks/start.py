"""start: how long a script of twenty steps takes, from when it is asked for until its process has ended.

`python train.py` beside the same script forked from a zygote, in turns. The zygote has been started before, as the
drainer of a queue does once for all its runs; how long that takes is measured on its own, for it is what the first run
waits for. Both processes end with a file that says what the script computed: the same digits.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.options import Options
from hypertuner.queue import embark
from hypertuner.queue.zygote import Zygote

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
    ready = []
    for _ in range(options.rounds(tiny=1, quick=1, normal=3)):
        begun = time.perf_counter()
        zygote = Zygote.start(sys.executable, environment)
        zygote.is_ready(timeout_s=120)
        ready.append(time.perf_counter() - begun)
        zygote.close()
    zygote = Zygote.start(sys.executable, environment)
    try:
        zygote.is_ready(timeout_s=120)
        for name, source in _SCRIPTS.items():
            script = folder / "train" / "train.py"
            script.parent.mkdir(exist_ok=True)
            script.write_text(source, encoding="utf-8")
            found: dict[str, list[float]] = {OURS: [], PEER: []}
            said = set()
            for number in range(rounds + 1):
                for subject, way in ((PEER, _plain), (OURS, _forked)):
                    taken, output = way(zygote, script, folder, environment)
                    said.add(output)
                    if number:  # the first round compiles, and reads from the disk
                        found[subject].append(taken)
            if len(said) != 1:
                raise children.ChildFailed(f"the two ways do not say the same: {said}")
            for subject, taken_s in found.items():
                yield median(NAME, name, subject, "s", taken_s)
    finally:
        zygote.close()
    yield median(NAME, READY, OURS, "s", ready)


def _plain(zygote: Zygote, script: Path, folder: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    del zygote
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


def _forked(zygote: Zygote, script: Path, folder: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    target = folder / "forked"
    argument = {"script": str(script), "folder": str(folder), "environment": dict(environment)}
    begun = time.perf_counter()
    with target.open("wb") as output:
        pid = zygote.spawn(
            f"{__name__}:supervise", argument, environment=environment, folder=folder, output=output.fileno()
        )
    descriptor = os.pidfd_open(pid)
    select.select([descriptor], [], [])
    taken = time.perf_counter() - begun
    os.close(descriptor)
    return taken, target.read_text(encoding="utf-8")


def supervise(argument: dict[str, Any]) -> int:
    """In the process that the zygote forked: start the script, and wait for it."""
    pid = os.fork()
    if pid == 0:
        embark.become_script(
            Path(argument["script"]), (), folder=Path(argument["folder"]), environment=argument["environment"]
        )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
