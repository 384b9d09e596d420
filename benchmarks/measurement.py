"""One measurement: what was measured, of whom, and what came out; and where it was measured.

A measurement is one line of JSON, complete in itself: the machine, the date, the versions and the commit are in every
line, so that lines of many runs can be thrown together.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import psutil

OURS = "hypertuner"
REPOSITORY = Path(__file__).resolve().parent.parent
NOT_INSTALLED = "not installed"

_PACKAGES = ("torch", "safetensors", "tensorboard", "wandb", "trackio", "mlflow", "aim", "orjson", "xxhash", "numpy")


@dataclass(frozen=True)
class Measurement:
    """The median of some rounds.

    `benchmark` and `measure` say what was measured, `subject` of whom ('hypertuner', 'TensorBoard', …), `unit` in what
    (s, bytes, records, share). `value` is None when there is none, and `missing` then says why.
    """

    benchmark: str
    measure: str
    subject: str
    unit: str
    value: float | None
    rounds: tuple[float, ...] = ()
    missing: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def median(
    benchmark: str, measure: str, subject: str, unit: str, rounds: Sequence[float], **details: Any
) -> Measurement:
    """The median of `rounds`."""
    return Measurement(benchmark, measure, subject, unit, statistics.median(rounds), tuple(rounds), None, details)


def missing(benchmark: str, measure: str, subject: str, unit: str, why: str = NOT_INSTALLED) -> Measurement:
    """A measurement that could not be made: it is shown, not left out."""
    return Measurement(benchmark, measure, subject, unit, None, (), why)


@dataclass(frozen=True)
class Place:
    """Where and with what was measured; `load` is the load average when the benchmark began: 0 is an idle
    machine, 1 a busy core; a benchmark's own work counts in the next one's."""

    machine: str
    cores: int
    memory_gb: int
    file_system: str
    platform: str
    python: str
    date: str
    commit: str
    versions: Mapping[str, str]
    load: float


def here(folder: Path) -> Place:
    """This machine, described without its name; `folder` is where files are written."""
    cores = os.cpu_count() or 1
    return Place(
        machine=f"{cores}-core-{_processor()}",
        cores=cores,
        memory_gb=round(psutil.virtual_memory().total / 1e9),
        file_system=_file_system(folder),
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=_commit(),
        versions=versions(),
        load=round(os.getloadavg()[0], 2),
    )


def line(measurement: Measurement, place: Place) -> bytes:
    """The measurement as a line of JSON."""
    return orjson.dumps({**asdict(measurement), "place": asdict(place)}) + b"\n"


def read(path: Path) -> tuple[list[Measurement], dict[str, Place]]:
    """The measurements of a file that `line` wrote; and of each machine where it was, with the load before the first,
    and with the commits, each with its benchmarks, where parts were measured at different ones."""
    measurements: list[Measurement] = []
    places: dict[str, Place] = {}
    commits: dict[str, dict[str, dict[str, None]]] = {}
    for text in path.read_bytes().splitlines():
        values = orjson.loads(text)
        place = Place(**values.pop("place"))
        values["rounds"] = tuple(values["rounds"])
        one = Measurement(**values)
        measurements.append(one)
        places.setdefault(place.machine, place)
        commits.setdefault(place.machine, {}).setdefault(place.commit, {})[one.benchmark] = None
    for machine, found in commits.items():
        if len(found) > 1 or len(commits) > 1:
            told = "; ".join(f"{commit} ({', '.join(names)})" for commit, names in found.items())
            places[machine] = replace(places[machine], commit=told)
    return measurements, places


def versions() -> dict[str, str]:
    """What is installed of what is measured."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = NOT_INSTALLED
    return found


def _processor() -> str:
    """A word for the processor: 'xeon', 'epyc-7763', 'm3'."""
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.*)", cpuinfo.read_text(encoding="utf-8"))):
        name = found[1]
    name = re.sub(r"\((R|TM|C)\)|@.*|\b(Intel|AMD|Apple|CPU|Processor|\d+-Core)\b", " ", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or platform.machine()


def _file_system(folder: Path) -> str:
    of = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    return max(of, key=lambda part: len(part.mountpoint)).fstype if of else "unknown"


def _commit() -> str:
    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--", "src", "benchmarks/*.py")
    return (f"{commit}+changes" if changed else commit) or "unknown"
