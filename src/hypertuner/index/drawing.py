"""A table of runs drawn: as text for a terminal, as HTML for a notebook.

What a run says about itself is shown as text: no markup reaches a notebook, no control sequence a terminal.
"""

from __future__ import annotations

import html
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from hypertuner.index.row import RunRow, config_column, keys_of, metric_column
from hypertuner.index.spelling import is_number, text_of
from hypertuner.store.direction import direction

_ROWS_SHOWN = 50
_WIDTH_SHOWN = 140
_TEXT_SHOWN = 40


def as_text(rows: Sequence[RunRow], differing: Sequence[str]) -> str:
    """The first runs as lines of columns; `differing` are the config keys that tell the runs apart."""
    if not rows:
        return "RunTable: no runs"
    shown, columns = _shown(rows, differing)
    cells = [[_printable(column) for column in columns], *([text for text, _ in line] for line in shown)]
    numeric = [any(right for _, right in column) for column in zip(*shown, strict=True)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    total = 0
    fitting = 0
    for width in widths:
        total += width + 2
        fitting += total <= _WIDTH_SHOWN + 2 or fitting < 2
    lines = []
    for line in cells:
        padded = [
            " " * (width - _width(text)) + text if right else text + " " * (width - _width(text))
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded[:fitting]).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths[:fitting]))
    hidden = [_more(len(columns) - fitting, "column")] if fitting < len(columns) else []
    hidden += [_more(len(rows) - _ROWS_SHOWN, "run")] if len(rows) > _ROWS_SHOWN else []
    return "\n".join([*lines, *([f"… and {', '.join(hidden)}"] if hidden else [])])


def as_html(rows: Sequence[RunRow], differing: Sequence[str]) -> str:
    """The first runs as one HTML table, best values in bold."""
    if not rows:
        return "<p>no runs</p>"
    shown, columns = _shown(rows, differing)
    best = _best_cells(rows)
    head = "".join(f"<th>{html.escape(_printable(column))}</th>" for column in columns)
    lines = [f'<table class="hypertuner-runs"><thead><tr>{head}</tr></thead><tbody>']
    for index, line in enumerate(shown):
        cells = []
        for column, (text, right) in zip(columns, line, strict=True):
            escaped = html.escape(text)
            if (index, column) in best:
                escaped = f"<b>{escaped}</b>"
            cells.append(f'<td style="text-align:{"right" if right else "left"}">{escaped}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    lines.append("</tbody></table>")
    if len(rows) > _ROWS_SHOWN:
        lines.append(f"<p>… and {_more(len(rows) - _ROWS_SHOWN, 'run')}</p>")
    return "\n".join(lines)


def _shown(rows: Sequence[RunRow], differing: Sequence[str]) -> tuple[list[list[tuple[str, bool]]], list[str]]:
    """The cells (text, is it a number) of the first rows, and the columns."""
    config, metrics = keys_of(rows)
    telling = [key for key in metrics if direction(key)]
    other = [key for key in metrics if not direction(key)]
    # In the order of what may be left out where there is no room: how well it did, what differs, the rest.
    columns = ["name", "state", *(metric_column(key, config) for key in telling)]
    columns += [*map(config_column, differing), *(metric_column(key, config) for key in other)]
    columns += ["step", "age", *(["tags"] if any(row.tags for row in rows) else [])]
    now = time.time()
    return [[_cell(column, row.values(now)) for column in columns] for row in rows[:_ROWS_SHOWN]], columns


def _best_cells(rows: Sequence[RunRow]) -> set[tuple[int, str]]:
    """(row, column) of the best value of each metric whose direction is known, where runs can be compared."""
    config, metrics = keys_of(rows)
    best: set[tuple[int, str]] = set()
    for key in metrics:
        way = direction(key)
        numbers: list[tuple[Any, int]] = [(row.metrics.get(key), at) for at, row in enumerate(rows)]
        present = [(number, at) for number, at in numbers if is_number(number) and number == number]
        if way is None or len(present) < 2:
            continue
        top = (max if way == "max" else min)(number for number, _ in present)
        best.update((at, metric_column(key, config)) for number, at in present if number == top)
    return best


def _cell(column: str, values: Mapping[str, Any]) -> tuple[str, bool]:
    value: Any = values.get(column)
    if column == "age":
        return _duration(value), True
    if column == "name":
        return f"{'★ ' if values['starred'] else ''}{_printable(value)}", False
    if column == "tags":
        return _printable(", ".join(value)), False
    if value is None:
        return "", False
    if is_number(value):
        return f"{value:.4g}" if isinstance(value, float) else _printable(text_of(value)), True
    return _printable(text_of(value)), False


def _printable(text: str) -> str:
    """`text` on one line, cut, without what would steer a terminal or turn the direction of writing."""
    shown = "".join(sign if sign.isprintable() else "�" for sign in text[: _TEXT_SHOWN + 1])
    return shown if len(shown) <= _TEXT_SHOWN else shown[: _TEXT_SHOWN - 1] + "…"


def _more(count: int, noun: str) -> str:
    return f"{count} more {noun}{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def _width(text: str) -> int:
    """Columns of a terminal that `text` takes."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )
