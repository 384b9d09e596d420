"""fit: how long the page waits to be told which weights will fit, where no run of the script tells.

The child that makes a script's model on the meta device and answers with its shapes, from its start to its answer,
beside a Python that makes the same model to train it. Both import torch, which is most of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median
from benchmarks.options import Options
from hypertuner.server.weights import child

NAME = "fit"
PEER = "python, the model made"
_WIDTH = 2048
_SCRIPT = """
import hypertuner, torch
args = hypertuner.Args(width=8, depth=2)
net = torch.nn.Sequential(*(torch.nn.Linear(args.width, args.width) for _ in range(args.depth)))
hypertuner.Saver(net)
"""


def of(what: str) -> str:
    """Name of the measure."""
    return f"the shapes of a model of {what}"


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """Rounds of both ways in turns, for a model of a few layers and one of 1 GB."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "train.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    environment = {**children.environment(folder), "CUDA_VISIBLE_DEVICES": ""}
    models = {"two layers": (8, 2), "1 GB": (_WIDTH, options.pick(tiny=1, quick=60, normal=60))}
    for what, (width, depth) in models.items():
        config = {"width": width, "depth": depth}
        found: dict[str, list[float]] = {OURS: [], PEER: []}
        for number in range(options.rounds(tiny=1, quick=3, normal=7) + 1):
            taken = {PEER: _made(script, config, environment), OURS: _asked(script, config)}
            for subject, seconds in taken.items():
                if number:  # the first round compiles
                    found[subject].append(seconds)
        for subject, rounds in found.items():
            yield median(NAME, of(what), subject, "s", rounds)


def _asked(script: Path, config: Mapping[str, int]) -> float:
    begun = time.perf_counter()
    answer = child.ask("shapes", 600, script=str(script), config=dict(config), arguments=[], folder=str(script.parent))
    taken = time.perf_counter() - begun
    if len(answer["shapes"]) != 2 * config["depth"]:
        raise children.ChildFailed(f"these are not the shapes of the model: {answer}")
    return taken


def _made(script: Path, config: Mapping[str, int], environment: Mapping[str, str]) -> float:
    words = [f"--{key}={value}" for key, value in config.items()]
    begun = time.perf_counter()
    subprocess.run([sys.executable, str(script), *words], cwd=script.parent, env=dict(environment), check=True)
    return time.perf_counter() - begun
