"""Rows as the page gets them, and JSON that no value of a run can break."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import orjson
from fastapi import Response

from hypertuner.index.row import as_plain, label_of, label_order
from hypertuner.index.spelling import is_nonfinite
from hypertuner.server.reading.asking import telling
from hypertuner.server.reading.catalogue import Catalogue
from hypertuner.server.reading.outlook import Outlook
from hypertuner.server.reading.packed import (
    ARCHIVED,
    CHECKPOINTS,
    CREATED,
    DURATION,
    NAME,
    NBYTES,
    NOTE,
    PARENT,
    REASON,
    SCRIPT,
    SHAPE,
    STARRED,
    STATE,
    STEP,
    TAGS,
    WROTE_AT,
    Packed,
    Shape,
)


class Showing:
    """Makes what the contract calls RunRow."""

    def __init__(self, catalogue: Catalogue, outlook: Outlook) -> None:
        self._catalogue = catalogue
        self._outlook = outlook

    def rows(self, rows: Iterable[Packed], label_keys: Sequence[str]) -> list[dict[str, Any]]:
        """Each row, as it is now; labels tell these settings."""
        get = self._catalogue.get
        return [self._row(get(row[NAME]) or row, label_keys) for row in rows]

    def among(self, rows: Collection[Packed]) -> list[dict[str, Any]]:
        """Each row, with what tells it from the others of these."""
        return self.rows(rows, label_order(telling(rows)))

    def _row(self, row: Packed, label_keys: Sequence[str]) -> dict[str, Any]:
        shape: Shape = row[SHAPE]
        config = shape.part(row, "config")
        metrics = shape.part(row, "metrics")
        colour, mark = self._catalogue.looks.of(row)
        progress = self._outlook.of(row[NAME])
        return {
            "name": row[NAME],
            "state": row[STATE],
            "config": config,
            "metrics": metrics,
            "best": shape.part(row, "best"),
            "first": shape.part(row, "first"),
            "lowest": shape.part(row, "lowest"),
            "highest": shape.part(row, "highest"),
            "nonfinite": {key: repr(value) for key, value in metrics.items() if is_nonfinite(value)},
            "tags": row[TAGS],
            "note": row[NOTE],
            "starred": row[STARRED],
            "archived": row[ARCHIVED],
            "created": row[CREATED],
            "duration_s": row[DURATION],
            "step": row[STEP],
            "last_step": progress.last_step,
            "left_s": progress.left_s,
            "checkpoints": row[CHECKPOINTS],
            "nbytes": row[NBYTES],
            "parent": row[PARENT],
            "script": row[SCRIPT],
            "reason": row[REASON],
            "wrote_at": row[WROTE_AT],
            "colour": colour,
            "mark": mark,
            "label": label_of(config, label_keys),
        }


def dumps(value: Any) -> bytes:
    """`value` as JSON: NaN and infinity as null, whatever else a run holds as JSON or as text."""
    try:
        return orjson.dumps(value, default=_listed, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):  # an integer of more than 64 bits, text that is no Unicode
        return json.dumps(as_plain(value), default=str).encode()


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, set, frozenset)) else str(value)


def answer(value: Any) -> Response:
    """`value` as the body of an answer; it was made here, so nothing checks it again."""
    return Response(dumps(value), media_type="application/json")
