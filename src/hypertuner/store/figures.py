"""What an attempt took of the machine, sample by sample: append-only JSON lines, written by its supervisor.

    {"time":1764000000.1,"cpu":3.97,"memory_bytes":2147483648,"memory_kind":"pss","processes":5,"disk_read_bytes":0,
     "disk_write_bytes":4096,"host_cpu":0.52,"host_memory_available_bytes":8589934592,
     "gpus":[{"uuid":"GPU-…","utilisation":0.93,"memory_bytes":17179869184}]}

A torn last line, and lines that are no such object, are skipped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from hypertuner.opening import open_regular, read_tail
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


_NEWEST_BYTES = 16 * 1024


def newest_figures(layout: AttemptLayout) -> Figures | None:
    """The last sample of an attempt; None where nothing was sampled."""
    decoded = map(_decode, reversed(read_tail(layout.figures, _NEWEST_BYTES).splitlines()))
    return next((figures for figures in decoded if figures is not None), None)


@dataclass(frozen=True)
class Usage:
    """Mean and most of one figure, over the samples of an attempt."""

    mean: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Usage | None:
        """None of no values."""
        return cls(sum(values) / len(values), max(values)) if values else None


@dataclass(frozen=True)
class GpuUsage:
    """What an attempt took of one GPU."""

    uuid: str
    utilisation: Usage | None
    memory_bytes: Usage


@dataclass(frozen=True)
class Taken:
    """What an attempt took of the machine, over all its samples."""

    samples: int
    cpu: Usage | None
    """Cores in use."""
    memory_bytes: Usage
    processes: int
    """Most at one time."""
    disk_read_bytes: int | None
    """In total; None where the system does not tell."""
    disk_write_bytes: int | None
    host_cpu: Usage | None
    """Share of all the machine's cores, 0 to 1, other programs included."""
    host_memory_available_bytes: int
    """Least at one time."""
    gpus: tuple[GpuUsage, ...]


def taken(layout: AttemptLayout) -> Taken | None:
    """What an attempt took of the machine; None where nothing was sampled."""
    found = list(read_figures(layout))
    memory = Usage.of([one.memory_bytes for one in found])
    if memory is None:
        return None
    by_gpu: dict[str, list[GpuUse]] = {}
    for one in found:
        for use in one.gpus:
            by_gpu.setdefault(use.uuid, []).append(use)
    return Taken(
        samples=len(found),
        cpu=Usage.of([one.cpu for one in found if one.cpu is not None]),
        memory_bytes=memory,
        processes=max(one.processes for one in found),
        disk_read_bytes=_total([one.disk_read_bytes for one in found]),
        disk_write_bytes=_total([one.disk_write_bytes for one in found]),
        host_cpu=Usage.of([one.host_cpu for one in found if one.host_cpu is not None]),
        host_memory_available_bytes=min(one.host_memory_available_bytes for one in found),
        gpus=tuple(_gpu_usage(uuid, uses) for uuid, uses in by_gpu.items()),
    )


def _gpu_usage(uuid: str, uses: Sequence[GpuUse]) -> GpuUsage:
    memory = Usage.of([use.memory_bytes for use in uses])
    assert memory is not None
    return GpuUsage(uuid, Usage.of([use.utilisation for use in uses if use.utilisation is not None]), memory)


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


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
