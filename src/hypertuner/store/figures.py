"""What an attempt took of the machine, sample by sample: append-only JSON lines, written by its supervisor.

    {"time":1764000000.1,"cpu":3.97,"memory_bytes":2147483648,"memory_kind":"pss","processes":5,"disk_read_bytes":0,
     "disk_write_bytes":4096,"host_cpu":0.52,"host_memory_available_bytes":8589934592,
     "gpus":[{"uuid":"GPU-…","utilisation":0.93,"memory_bytes":17179869184}]}

A torn last line, and lines that are no such object, are skipped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from hypertuner.opening import open_regular
from hypertuner.store.gpus import GpuUse
from hypertuner.store.layout import AttemptLayout

_MOST_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Figures:
    """One sample. Processes are those of the attempt, all together."""

    time: float
    """Seconds since 1970."""
    cpu: float | None
    """Cores in use, on average since the sample before; None where there was none."""
    memory_bytes: int
    memory_kind: str
    """'pss': what processes share is counted once; 'rss': once for each of them; 'estimated': RSS, scaled by what PSS
    was to it when it was asked for last."""
    processes: int
    disk_read_bytes: int | None
    """From the disk, since the sample before; None where the system does not tell."""
    disk_write_bytes: int | None
    host_cpu: float | None
    """Share of all the machine's cores in use, 0 to 1."""
    host_memory_available_bytes: int
    gpus: tuple[GpuUse, ...] = ()


def encode(figures: Figures) -> bytes:
    """One line of system.jsonl."""
    return orjson.dumps(figures, option=orjson.OPT_APPEND_NEWLINE)


def read_figures(layout: AttemptLayout) -> Iterator[Figures]:
    """The samples of an attempt, in the order they were taken; none where nothing was sampled."""
    try:
        with io.BufferedReader(open_regular(layout.figures)) as file:
            while line := file.readline(_MOST_LINE_BYTES):
                if line.endswith(b"\n") and (figures := _decode(line)) is not None:
                    yield figures
    except (FileNotFoundError, NotADirectoryError):
        return


def _decode(line: bytes) -> Figures | None:
    try:
        raw = orjson.loads(line)
        return Figures(
            time=float(raw["time"]),
            cpu=_number(raw.get("cpu")),
            memory_bytes=int(raw["memory_bytes"]),
            memory_kind=str(raw.get("memory_kind", "rss")),
            processes=int(raw["processes"]),
            disk_read_bytes=_count(raw.get("disk_read_bytes")),
            disk_write_bytes=_count(raw.get("disk_write_bytes")),
            host_cpu=_number(raw.get("host_cpu")),
            host_memory_available_bytes=int(raw["host_memory_available_bytes"]),
            gpus=tuple(
                GpuUse(str(gpu["uuid"]), _number(gpu.get("utilisation")), int(gpu["memory_bytes"]))
                for gpu in raw.get("gpus", ())
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None
