"""save and load: whole calls, for models of 10 MB to 1 GB.

Saving: each way saves the same model, in rounds that take turns in one process; before each, the file system has
written out what came before. hypertuner's save is durable when it returns; who else's is says its name ('torch.save'
alone is not). MLflow and W&B are measured up to 100 MB.

Loading: from the class and the file to a model that is ready to compute; timed are building, reading and, once, using
every weight, so that a file that is only mapped pays for what it put off. The files are in the page cache, as they are
for a run that starts from one that has just ended.

`--sizes 10,100,500,1000` chooses the sizes in MB; `--full` measures those four.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.options import Options

NAME = "save"
TENSORS = 100


def sizes(options: Options) -> tuple[float, ...]:
    """Megabytes of the models that are measured."""
    return options.sizes_mb or options.pick(tiny=(0.5,), quick=(10,), normal=(10, 100), full=(10, 100, 500, 1000))


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """A child for each size."""
    for size in sizes(options):
        rounds = options.rounds(tiny=1, quick=3, normal=9 if size < 50 else 5)
        yield from _shown("save", size, children.call("benchmarks.save_load:saves", folder / f"s{size}", size, rounds))
        yield from _shown("load", size, children.call("benchmarks.save_load:loads", folder / f"l{size}", size, rounds))


def _shown(verb: str, size: float, found: dict[str, list[float] | None]) -> Iterator[Measurement]:
    for name, rounds in found.items():
        what = f"{verb} {size:g} MB"
        if rounds is None:
            yield missing(NAME, what, name, "s")
        elif rounds:
            yield median(NAME, what, name, "s", rounds, megabytes=size, tensors=TENSORS)


def saves(size: float, rounds: int) -> dict[str, list[float] | None]:
    """In a child: seconds of every way to save; None for one that is not installed, nothing for one left out."""
    from benchmarks import saving
    from benchmarks.models import Stack

    saving.quiet()
    folder = Path.cwd()
    model = Stack(size, TENSORS)
    found: dict[str, list[float] | None] = {}
    ways = []
    for way in saving.SAVES:
        found[way.name] = [] if way.is_installed() else None
        if way.is_installed() and size <= way.most_mb:
            way.start(model, folder)
            ways.append(way)
    for number in range(rounds + 1):
        for way in ways:
            place = folder / f"{way.name}-{number}"
            place.mkdir()
            os.sync()
            begun = time.perf_counter()
            way.save(model, place / "model", number)
            taken = time.perf_counter() - begun
            if number:  # the first save makes the run, and meets cold code
                _rounds(found, way.name).append(taken)
            shutil.rmtree(place)
    return found


def loads(size: float, rounds: int) -> dict[str, list[float] | None]:
    """In a child: seconds of every way to load."""
    from benchmarks import saving
    from benchmarks.models import Stack

    saving.quiet()
    folder = Path.cwd()
    model = Stack(size, TENSORS)
    files: dict[str, Path] = {}
    for way in saving.SAVES:
        if way.name in {one.source for one in saving.LOADS} and way.is_installed():
            files[way.name] = folder / f"{way.name}.file"
            way.start(model, folder)
            way.save(model, files[way.name], 0)
    if OURS in files:
        files[OURS] = next((folder / "storage").glob("*/model.pt"))
    found: dict[str, list[float] | None] = {}
    for number in range(rounds + 1):
        for one in saving.LOADS:
            if not one.is_installed() or one.source not in files:
                found[one.name] = None
                continue
            begun = time.perf_counter()
            loaded = one.load(files[one.source], lambda: Stack(size, TENSORS))
            saving.compute(loaded)
            taken = time.perf_counter() - begun
            if number:
                _rounds(found, one.name).append(taken)
            del loaded
    return found


def _rounds(found: dict[str, list[float] | None], name: str) -> list[Any]:
    rounds = found.setdefault(name, [])
    assert rounds is not None
    return rounds
