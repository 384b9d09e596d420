"""import: how long a script waits for what it must import to log, over bare Python.

Whole processes are timed, `python -c 'import …'` less `python -c pass`, each from its start to its end, in rounds that
take turns; every module was compiled before. Two lines are measured: the package alone (`import hypertuner`), and the
package with the names that log (`from hypertuner import Logger`), for packages import little until they are used.

A script that trains with torch has imported torch anyway, and TensorBoard's writer comes with it: 'after import torch'
says what the two add to such a script, timed inside of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.options import Options
from benchmarks.trackers import TRACKERS, tracker

NAME = "import"
PACKAGE = "the package"
LOGGING = "and the names that log"
AFTER_TORCH = "after import torch"


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """Rounds of every import in turns."""
    peers = {one.peer: one for one in reversed(TRACKERS)}
    peers = dict(reversed(peers.items()))
    code = {
        (peer, what): line
        for peer, one in peers.items()
        for what, line in ((PACKAGE, one.package), (LOGGING, one.imports))
        if one.is_installed()
    }
    lines = dict.fromkeys(["pass", *code.values()])
    found: dict[str, list[float]] = {line: [] for line in lines}
    for number in range(options.rounds(tiny=1, quick=5, normal=11) + 1):
        for line in lines:
            taken = _seconds(line, folder)
            if number:  # the first round compiles
                found[line].append(taken)
    for what in (PACKAGE, LOGGING):
        for peer in peers:
            if (peer, what) not in code:
                yield missing(NAME, what, peer, "s")
                continue
            line = code[peer, what]
            over = [taken - bare for taken, bare in zip(found[line], found["pass"], strict=True)]
            yield median(NAME, what, peer, "s", over, code=line)
    yield from _after_torch(options, folder)


def _after_torch(options: Options, folder: Path) -> Iterator[Measurement]:
    names = [OURS, "TensorBoard"]
    installed = [name for name in names if tracker(name).is_installed()]
    found: dict[str, list[float]] = {name: [] for name in installed}
    for number in range(options.rounds(tiny=1, quick=2, normal=5)):
        for name in installed:
            taken = children.call("benchmarks.import_time:after_torch", folder / f"{name}-{number}", name)
            found[name].append(float(taken))
    for name in names:
        if name in found:
            yield median(NAME, AFTER_TORCH, name, "s", found[name])
        else:
            yield missing(NAME, AFTER_TORCH, name, "s")


def after_torch(name: str) -> float:
    """In a child: seconds of the import, once torch is there."""
    import torch  # noqa: F401

    begun = time.perf_counter()
    exec(tracker(name).imports)
    return time.perf_counter() - begun


def _seconds(code: str, folder: Path) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    environment = children.environment(folder)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun
