"""`make bench`: hypertuner beside its peers, as a table, as lines of JSON and as pictures.

    make bench                                  all of it, in some ten minutes on two cores
    make bench ARGS='--only log --quick'        a part, with few rounds
    make bench ARGS='--only save --full'        models of 500 MB and 1 GB, too
    make bench ARGS='--publish'                 and put the result into docs/benchmarks.md

The result lies in benchmarks/results/<date>-<machine>/ (of a part: .deps/bench-last, unless --into says otherwise).
A part that is put into a folder with results takes the place of the same part there; the others stay.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import orjson
from rich.console import Console

from benchmarks import (
    background,
    file_size,
    fit,
    gpu,
    gui,
    import_time,
    kills,
    list_runs,
    log_rate,
    many_tensors,
    measurement,
    plots,
    publish,
    report,
    save_load,
    server,
    start,
)
from benchmarks.measurement import REPOSITORY
from benchmarks.options import Options

_ALL = (
    log_rate,
    kills,
    import_time,
    start,
    file_size,
    save_load,
    background,
    gpu,
    many_tensors,
    list_runs,
    server,
    fit,
    gui,
)
BENCHMARKS = {one.NAME: one for one in _ALL}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    given = _given(arguments)
    size = "tiny" if given.tiny else "quick" if given.quick else "full" if given.full else "normal"
    options = Options(size, tuple(int(each) for each in given.sizes.split(",") if each))
    chosen = given.only or list(BENCHMARKS)
    console = Console(width=None if sys.stdout.isatty() else 160)
    is_whole = chosen == list(BENCHMARKS) and size in ("normal", "full")
    # Beside the results, not in /tmp: that is memory on many machines, and a save to it says nothing.
    scratch = given.scratch or REPOSITORY / ".deps"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch, ignore_cleanup_errors=True) as temporary:
        place = measurement.here(Path(temporary))
        target = given.into or (
            REPOSITORY / "benchmarks" / "results" / f"{place.date}-{place.machine}"
            if is_whole
            else REPOSITORY / ".deps" / "bench-last"
        )
        if place.load > 0.5 * place.cores:
            console.print(f"This machine is busy (load {place.load}): times will be longer than they are.")
        target.mkdir(parents=True, exist_ok=True)
        others = _others(target / publish.LINES, chosen) if given.into else b""
        with (target / publish.LINES).open("wb") as lines:
            lines.write(others)
            for name in chosen:
                begun = time.perf_counter()
                place = dataclasses.replace(place, load=round(os.getloadavg()[0], 2))
                console.print(f"measuring {report.TITLES[name]} …", highlight=False)
                for one in BENCHMARKS[name].measure(options, Path(temporary) / name):
                    lines.write(measurement.line(one, place))
                    lines.flush()
                shutil.rmtree(Path(temporary) / name, ignore_errors=True)
                console.print(f"  {time.perf_counter() - begun:.0f} s; load {os.getloadavg()[0]:.1f}", highlight=False)
    measurements, places = measurement.read(target / publish.LINES)
    plots.draw(measurements, target)
    report.show(measurements, places, console)
    console.print(f"Written to {os.path.relpath(target)}", highlight=False, soft_wrap=True)
    if given.publish:
        publish.publish(target)


def _others(path: Path, chosen: Collection[str]) -> bytes:
    """The lines of the benchmarks that are not measured now."""
    if not path.exists():
        return b""
    lines = path.read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if orjson.loads(line)["benchmark"] not in chosen)


def _given(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=list(BENCHMARKS), action="append", help="this one; may be given again")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few rounds")
    size.add_argument("--full", action="store_true", help="models of 500 MB and 1 GB, too")
    size.add_argument("--tiny", action="store_true", help="one round of next to nothing: does it work?")
    parser.add_argument("--sizes", default="", help="MB of the models that are saved and loaded: 10,100,500,1000")
    parser.add_argument("--into", type=Path, help="folder of the result")
    parser.add_argument("--scratch", type=Path, help="folder on the disk that is measured")
    parser.add_argument("--publish", action="store_true", help="put the result into docs/benchmarks.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
