"""One run drawn for a notebook: how it is, its settings, its metrics with their curves, its checkpoints.

It reads the run's folder when it is drawn, so it shows the run as it is then. Whatever a script wrote is shown as
text: no markup reaches the notebook.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.offer import best_of, on_path
from hypertuner.errors import StorageError
from hypertuner.index.fields import RowFields
from hypertuner.index.spelling import is_number, text_of
from hypertuner.store import Run
from hypertuner.store.direction import direction

_WIDTH, _HEIGHT = 160, 28
_POINTS = 160
_KEYS_SHOWN = 40
_CHECKPOINTS_SHOWN = 20
_TEXT_SHOWN = 200
_CELL = 'style="text-align:left"'
_NUMBER = 'style="text-align:right"'


def as_html(row: RowFields) -> str:
    """The run as HTML without scripts."""
    run = Run(Path(row.folder)) if row.folder and Path(row.folder).is_dir() else None
    title = f"<b>{'★ ' if row.starred else ''}{_text(row.name)}</b> {_text(row.state)}"
    if row.label:
        title += f" <code>{_text(row.label)}</code>"
    about = [_text(text) for text in (row.script, ", ".join(row.tags), row.note) if text]
    if row.parent:
        about.append(f"from {_text(row.parent)}")
    pieces = [f"<div>{title}</div>"]
    if about:
        pieces.append(f"<div>{' · '.join(about)}</div>")
    pieces += [_config(row), _metrics(row, run)]
    if run is not None:
        pieces.append(_checkpoints(run))
    return f'<div class="hypertuner-run">{"".join(pieces)}</div>'


def curves(row: RowFields) -> dict[str, list[float]]:
    """The numbers of each metric, in the order they were logged."""
    found: dict[str, list[float]] = {}
    if row.folder:
        for record in Run(Path(row.folder)).logged():
            for name, value in record.values.items():
                if is_number(value):
                    found.setdefault(name, []).append(value)
    return found


def sparkline(values: Sequence[float]) -> str:
    """A curve as a small SVG picture. Of each stretch its lowest and highest value are in it, so a spike is seen."""
    finite = [(at, value) for at, value in enumerate(values) if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(value for _, value in finite), max(value for _, value in finite)
    span, length = (high / 2 - low / 2) or 1.0, len(values) - 1
    points = []
    for at, value in _thinned(finite):
        share = 0.5 if high == low else (value / 2 - low / 2) / span
        points.append(f"{at / length * (_WIDTH - 4) + 2:.1f},{(1 - share) * (_HEIGHT - 4) + 2:.1f}")
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="curve">'
        f'<polyline points="{" ".join(points)}" fill="none" stroke="#1f77b4" stroke-width="1.5"/></svg>'
    )


def _thinned(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    if len(points) <= 2 * _POINTS:
        yield from points
        return
    for place in range(_POINTS):
        stretch = points[place * len(points) // _POINTS : (place + 1) * len(points) // _POINTS]
        extremes = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        yield from sorted(extremes)


def _config(row: RowFields) -> str:
    rows = [
        [(f"<b>{_text(key)}</b>" if key in row.differs else _text(key), _CELL), (_value(value), _CELL)]
        for key, value in list(row.config.items())[:_KEYS_SHOWN]
    ]
    hidden = len(row.config) - len(rows)
    return _details(f"config ({len(row.config)})", _table(("key", "value"), rows) + _more(hidden, "key"))


def _metrics(row: RowFields, run: Run | None) -> str:
    series = curves(row) if run is not None else {}
    rows = []
    for name, last in list(row.metrics.items())[:_KEYS_SHOWN]:
        arrow = {"min": " ↓", "max": " ↑"}.get(direction(name) or "", "")
        best = f"<b>{_value(row.best[name])}{arrow}</b>" if name in row.best else ""
        rows.append(
            [(_text(name), _CELL), (_value(last), _NUMBER), (best, _NUMBER), (sparkline(series.get(name, ())), "")]
        )
    hidden = len(row.metrics) - len(rows)
    return _table(("metric", "last", "best", "first to last"), rows) + _more(hidden, "metric")


def _checkpoints(run: Run) -> str:
    files = on_path(run)
    best = best_of(files)
    rows = []
    for file in files[-_CHECKPOINTS_SHOWN:]:
        try:
            index = archive.inspect(file.path)
            told = ", ".join(f"{name} {_number(value)}" for name, value in list(index.metrics.items())[:4])
            nbytes = _size(file.path.stat().st_size)
        except (StorageError, OSError) as error:
            told, nbytes = f"damaged: {error}", ""
        mark = "best" if best is not None and best.path == file.path else ""
        rows.append([(str(file.step), _NUMBER), (nbytes, _NUMBER), (_text(told), _CELL), (mark, _CELL)])
    return _table(("step", "size", "metrics", ""), rows) + _more(len(files) - len(rows), "checkpoint")


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.4g} TB"


def _table(titles: Iterable[str], rows: Sequence[Sequence[tuple[str, str]]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td {style}>{cell}</td>' for cell, style in cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _details(title: str, inside: str) -> str:
    return f"<details open><summary>{title}</summary>{inside}</details>" if inside else ""


def _more(count: int, noun: str) -> str:
    return f"<div>… and {count:,} more {noun}{'' if count == 1 else 's'}</div>" if count > 0 else ""


def _value(value: Any) -> str:
    return _text(_number(value))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else text_of(value)


def _text(text: object) -> str:
    shown = "".join(sign if sign.isprintable() else "�" for sign in str(text)[:_TEXT_SHOWN])
    return html.escape(shown)
