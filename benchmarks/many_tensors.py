"""lazy: what a file of 5,000 tensors takes until any of them can be used.

Timed: the index (`hypertuner.inspect`, which needs no torch) and all tensors by name (`load(weights=True)`), one after
the other; for hypertuner the target counts both. Peers: safetensors `load_file`, and `torch.load(mmap=True)`, torch's
own lazy way. The files are in the page cache; the first round is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.options import Options

NAME = "lazy"
BOTH = "index + tensors"
INDEX = "index"


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """One child, rounds in turns."""
    tensors = options.pick(tiny=50, quick=5000, normal=5000)
    rounds = options.rounds(tiny=1, quick=3, normal=9)
    found = children.call("benchmarks.many_tensors:opened", folder, tensors, rounds)
    for name, taken in found.items():
        subject, _, what = name.partition("/")
        what = what or BOTH
        if taken is None:
            yield missing(NAME, what, subject, "s")
        else:
            yield median(NAME, what, subject, "s", taken, tensors=tensors)


def opened(tensors: int, rounds: int) -> dict[str, list[float] | None]:
    """In a child: seconds of each way."""
    import importlib.util

    import torch

    import hypertuner
    from benchmarks.models import Stack

    model = Stack(tensors * 4096 / 1e6, tensors)
    path = hypertuner.Saver(model).save(step=0).path
    assert path is not None
    torch.save(model.state_dict(), "torch.pt")

    def ours() -> object:
        return hypertuner.inspect(path), hypertuner.load(path, weights=True)

    ways: dict[str, Callable[[], object]] = {
        OURS: ours,
        f"{OURS}/{INDEX}": lambda: hypertuner.inspect(path),
        "torch.load(mmap=True)": lambda: torch.load("torch.pt", mmap=True),
    }
    found: dict[str, list[float] | None] = {"safetensors load_file": None}
    if importlib.util.find_spec("safetensors"):
        from safetensors.torch import load_file, save_file

        save_file(model.state_dict(), "model.safetensors")
        ways["safetensors load_file"] = lambda: load_file("model.safetensors")
    for number in range(rounds + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            kept = way()
            taken = time.perf_counter() - begun
            del kept
            if number:
                found[name] = [*(found.get(name) or []), taken]
    return found
