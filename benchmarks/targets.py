"""What hypertuner must reach, beside whom, and whether it does: the arithmetic between measurements and the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import (
    background,
    file_size,
    gpu,
    gui,
    import_time,
    kills,
    list_runs,
    log_rate,
    many_tensors,
    server,
    start,
)
from benchmarks.measurement import OURS, Measurement


@dataclass(frozen=True)
class Target:
    """Ours must be at most `times` the peer's, plus what is allowed beside; and at most `at_most` in any case."""

    benchmark: str
    measure: str
    against: str | None = None
    """The peer; None is the fastest (or smallest) of all."""
    times: float | None = None
    at_most: float | None = None
    plus: float = 0
    plus_a_tensor: float = 0

    def limit(self, peer: float | None, tensors: int) -> float | None:
        """The largest value that reaches the target; None when there is no peer to compare with."""
        limits = [] if self.at_most is None else [self.at_most]
        if self.times is not None:
            if peer is None:
                return None
            limits.append(self.times * peer + self.plus + self.plus_a_tensor * tensors)
        return min(limits) if limits else None

    def words(self) -> str:
        """The target as the table shows it."""
        parts = []
        if self.times is not None:
            parts.append(f"≤ {self.times:g} ×")
            if self.plus:
                parts.append(f"+ {self.plus / 1024:g} KB")
            if self.plus_a_tensor:
                parts.append(f"+ {self.plus_a_tensor:g} B a tensor")
        if self.at_most is not None:
            absolute = _absolute(self.at_most)
            parts.append(("and " if parts else "≤ ") + ("< " if parts else "") + absolute)
        return " ".join(parts)


TARGETS: tuple[Target, ...] = (
    Target(log_rate.NAME, log_rate.RECORD, times=0.4),
    Target(kills.NAME, kills.ALONE, at_most=0),
    Target(kills.NAME, kills.TOGETHER, at_most=0),
    Target(import_time.NAME, import_time.PACKAGE, times=0.1, at_most=0.05),
    Target(import_time.NAME, import_time.LOGGING, times=0.1, at_most=0.05),
    Target(start.NAME, start.STEPS, start.PEER, times=0.1),
    Target(file_size.NAME, "*", file_size.PEER, times=1.002, plus=64 * 1024, plus_a_tensor=160),
    Target("save", "save 10 MB", "torch.save, committed", times=1.0),
    Target("save", "save 100 MB", "MLflow log_model", times=0.05),
    Target("save", "save 100 MB", "W&B artifact", times=0.5),
    Target("save", "save 500 MB", "write + fsync", times=1.15),
    Target("save", "save 500 MB", "torch.save + fsync", times=0.8),
    Target("save", "save 1000 MB", "write + fsync", times=1.15),
    Target("save", "save 1000 MB", "torch.save + fsync", times=0.8),
    Target("save", "load 1000 MB", "build + torch.load", times=0.1),
    *(
        Target(background.NAME, background.blocked(size), peer, times=times)
        for size in (100, 500, 1000)
        for peer, times in (("bare memmove", 1.1), ("dcp.async_save", 0.6), ("torch.save", 0.25))
    ),
    Target(gpu.NAME, gpu.BLOCKED, gpu.CLONE, times=1.3),
    Target(gpu.NAME, gpu.BLOCKED, "dcp.async_save", times=0.02),
    Target(gpu.NAME, gpu.LOAD, gpu.SAFETENSORS, times=0.4),
    Target(many_tensors.NAME, many_tensors.BOTH, "safetensors load_file", times=0.5),
    Target(list_runs.NAME, list_runs.WARM, at_most=1.0),
    Target(server.NAME, server.first_rows(100_000), at_most=0.2),
    Target(server.NAME, server.filtered(100_000), at_most=0.15),
    Target(gui.NAME, gui.FIRST_CHART, "TensorBoard", times=0.25),
    Target(gui.NAME, gui.FIRST_CHART, "Trackio", times=0.07),
    Target(gui.NAME, gui.FIRST_PAINT, times=1.0),
    Target(gui.NAME, gui.SCRIPT, times=0.4, at_most=150 * 1024),
    Target(gui.NAME, gui.BLOCKED, times=0.2),
    Target(gui.NAME, gui.rows(gui.MANY), at_most=0.2),
    Target(gui.NAME, gui.filtered(gui.MANY), at_most=0.15),
    Target(gui.NAME, gui.SCROLLING, at_most=0.02),
    Target(gui.NAME, gui.LIVE, at_most=0.1),
)


def _absolute(value: float) -> str:
    """A limit of its own: a count, bytes, or seconds."""
    if value in (0, 1):
        return f"{value:g}"
    return f"{value / 1024:g} KB" if value > 1024 else f"{value * 1000:g} ms"


@dataclass(frozen=True)
class Comparison:
    """One row of the table: a measure, ours beside one peer's, or ours alone."""

    benchmark: str
    measure: str
    unit: str
    ours: float | None
    peer: str | None
    theirs: float | None
    target: Target | None
    limit: float | None

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        if self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is reached; None when there is none, or nothing to compare with."""
        if self.ours is None or self.limit is None:
            return None
        return self.ours <= self.limit


def compare(measurements: Iterable[Measurement]) -> list[Comparison]:
    """A row for each target that was measured, and one for each measure of ours that has none."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.benchmark, one.measure), []).append(one)
    rows = []
    for (benchmark, measure), group in groups.items():
        ours = next((one for one in group if one.subject == OURS), None)
        if ours is None:
            continue
        others = {one.subject: one.value for one in group if not one.subject.startswith(OURS)}
        there = {name: value for name, value in others.items() if value is not None}
        tensors = int(ours.details.get("tensors", 0))
        targets: list[Target | None] = [
            target for target in TARGETS if target.benchmark == benchmark and target.measure in ("*", measure)
        ]
        for target in targets or [None]:
            wanted = target.against if target else None
            peer = wanted or min(there, key=there.__getitem__, default=None)
            if target is not None and target.times is None:
                peer = None  # a limit of its own
            theirs = there.get(peer) if peer else None
            limit = target.limit(theirs, tensors) if target else None
            rows.append(Comparison(benchmark, measure, ours.unit, ours.value, peer, theirs, target, limit))
    return rows
