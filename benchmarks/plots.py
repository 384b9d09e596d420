"""Measurements as bars, one picture a benchmark; needs matplotlib, which is in the peers' environment."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurement import OURS, Measurement
from benchmarks.report import TITLES, spelled

_PICTURES = {
    "log": ("one record",),
    "kills": ("lost to kill -9",),
    "import": ("the package", "and the names that log"),
    "save": ("save 100 MB", "load 100 MB"),
    "background": ("blocked, 500 MB", "durable, 500 MB", "20 steps after a save, 100 MB"),
    "gpu": ("blocked, 1000 MB in 300 tensors", "load 1000 MB onto the GPU"),
    "lazy": ("index + tensors",),
    "gui": ("first chart", "first paint", "main thread blocked", "JavaScript on the wire"),
}
"""What is drawn: where a bar says more than its number."""


def draw(measurements: Sequence[Measurement], folder: Path) -> list[Path]:
    """Pictures in `folder`; none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pictures = []
    for benchmark, measures in _PICTURES.items():
        groups = [
            [
                one
                for one in measurements
                if (one.benchmark, one.measure) == (benchmark, measure) and one.value is not None
            ]
            for measure in measures
        ]
        groups = [sorted(group, key=lambda one: one.value or 0) for group in groups if group]
        if not groups:
            continue
        high = 0.5 + 0.32 * sum(len(group) + 1 for group in groups)
        figure, axes = pyplot.subplots(
            len(groups), 1, figsize=(8, high), squeeze=False, height_ratios=[len(group) for group in groups]
        )
        for ax, group in zip(axes[:, 0], groups, strict=True):
            _bars(ax, group, TITLES[benchmark])
        figure.tight_layout()
        pictures.append(folder / f"{benchmark}.png")
        figure.savefig(pictures[-1], dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    return [*pictures, *_growth(measurements, folder, pyplot)]


def _growth(measurements: Sequence[Measurement], folder: Path, pyplot: Any) -> list[Path]:
    """How long training waits, by the size of the model and by the number of its tensors."""
    found = [one for one in measurements if one.measure.startswith("blocked") and one.value is not None]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    for ax, key, fixed, words in (
        (axes[0], "megabytes", "tensors", "MB, in 100 tensors"),
        (axes[1], "tensors", "megabytes", "tensors, 100 MB in all"),
    ):
        lines: dict[str, list[tuple[float, float]]] = {}
        for one in found:
            if one.details[fixed] == 100:
                lines.setdefault(one.subject, []).append((one.details[key], one.value or 0))
        for subject, points in lines.items():
            ours = subject.startswith(OURS)
            ax.plot(*zip(*sorted(points), strict=True), marker="o", label=subject, linewidth=3 if ours else 1.5)
        ax.set(xscale="log", yscale="log", xlabel=words, ylabel="seconds that training waits")
        ax.grid(alpha=0.3)
    if not any(ax.lines for ax in axes):
        pyplot.close(figure)
        return []
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(folder / "background-growth.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return [folder / "background-growth.png"]


def _bars(ax: Any, group: Sequence[Measurement], title: str) -> None:
    values = [one.value or 0 for one in group]
    colours = ["#d2691e" if one.subject.startswith(OURS) else "#8a94a6" for one in group]
    bars = ax.barh([one.subject for one in group], values, color=colours)
    ax.bar_label(bars, [spelled(one.value, one.unit) for one in group], padding=4)
    ax.invert_yaxis()
    if group[0].unit != "share" and min(values) > 0 and max(values) / min(values) > 50:
        ax.set_xscale("log")
        title += " (logarithmic)"
    ax.set_title(f"{title}: {group[0].measure}", loc="left", fontsize=10)
    ax.margins(x=0.15)
    ax.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        ax.spines[side].set_visible(False)
