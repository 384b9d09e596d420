"""Tables as CSV that a spreadsheet shows and does not execute."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from hypertuner.index.row import FACT_COLUMNS, config_column, metric_column
from hypertuner.index.spelling import text_of
from hypertuner.server.reading.asking import by_shape
from hypertuner.server.reading.curves import Curves
from hypertuner.server.reading.packed import CREATED, SHAPE, TAGS, Packed

# The last four are the wide forms of the first, which some spreadsheets take for them.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_ROWS_AT_ONCE = 500


def cell(value: Any) -> str:
    """A value as text. Text that a spreadsheet would take for a formula stands behind an apostrophe; numbers do not."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool) or not isinstance(value, str):
        return text_of(value)
    text = value.replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def lines(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Rows as CSV, some hundred at a time."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    for count, row in enumerate(rows, 1):
        writer.writerow([cell(value) for value in row])
        if count % _ROWS_AT_ONCE == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode(errors="replace")


def table(rows: Sequence[Packed]) -> Iterator[Sequence[Any]]:
    """A head and a line a run: facts, config, metrics, by the names of the query language."""
    groups = by_shape(rows)
    config = dict.fromkeys(key for shape in groups for key in shape.names["config"])
    metrics = dict.fromkeys(key for shape in groups for key in shape.names["metrics"])
    columns = [
        *FACT_COLUMNS,
        *(config_column(key) for key in config),
        *(metric_column(key, config) for key in metrics),
    ]
    yield columns
    for row in rows:
        at = row[SHAPE].at
        yield [_shown(row, column, at.get(column)) for column in columns]


def curves(found: Curves, names: Sequence[str], metric: str) -> Iterator[Sequence[Any]]:
    """A head and a line a point."""
    yield ["run", "attempt", "step", "time", metric, "abandoned"]
    for name, attempt, step, time, value, is_abandoned in found.points(names, metric):
        yield [name, attempt, int(step), time, value, is_abandoned]


def _shown(row: Packed, column: str, place: int | None) -> Any:
    if place is None:
        return None
    if place == TAGS:
        return " ".join(row[TAGS])
    if place == CREATED and column == "created":
        return datetime.fromtimestamp(row[CREATED], timezone.utc).isoformat(timespec="seconds")
    return row[place]
