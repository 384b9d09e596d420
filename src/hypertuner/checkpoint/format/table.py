"""The index of a checkpoint: what is in the file, where its bytes lie, and the story of how it was made.

An `Index` in memory is only ever one that has been checked: every view lies inside its storage, every number is a
whole number that is not negative, and all of that was found out with plain integers before anything was allocated
from a claim. Its JSON form is small (a tensor is one short list) and exact: floats that JSON cannot spell and
integers beyond 64 bits come back as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from hypertuner.checkpoint.format.rows import (
    ITEM_BYTES,
    KINDS,
    LARGEST,
    MOST_DIMENSIONS,
    StorageRow,
    TensorRow,
    all_inside,
    contiguous,
    span,
    storages_by_columns,
    tensors_by_columns,
)
from hypertuner.errors import CorruptFileError

__all__ = [
    "FORMAT",
    "HEADER_KEYS",
    "ITEM_BYTES",
    "MOST_BYTES",
    "MOST_DIMENSIONS",
    "MOST_TENSORS",
    "Index",
    "StorageRow",
    "TensorRow",
    "check",
    "contiguous",
    "from_json",
    "index_of",
    "newer",
    "ties_of",
    "to_json",
]

FORMAT = "hypertuner/1"
MOST_BYTES = 64 * 1024 * 1024  # an index is read whole; this is far above any real one
MOST_TENSORS = 1_000_000
MOST_BRACKETS = 6_000_000  # lists and dicts in an index: they cost ~60 bytes of memory for 2 bytes of file


@dataclass(frozen=True)
class Index:
    """What a checkpoint file says of itself; read without torch and without reading the weights."""

    format: str
    run: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    parent: Any = None
    environment: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] | None = None
    tensors: dict[str, dict[str, TensorRow]] = field(default_factory=dict)
    storages: dict[str, StorageRow] = field(default_factory=dict)
    ties: list[list[str]] = field(default_factory=list)
    data_pkl_sha256: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def state_dict(self) -> dict[str, TensorRow]:
        """The weights of the model; empty where the file has no such part."""
        return self.tensors.get("state_dict", {})

    @property
    def model_tensors(self) -> dict[str, TensorRow]:
        """The tensors of the model; of a file that has no such part, all of them, with their part before their name."""
        if self.state_dict:
            return self.state_dict
        return {
            f"{part}.{name}" if part else name: row for part, rows in self.tensors.items() for name, row in rows.items()
        }

    @property
    def values(self) -> int:
        """How many numbers these have; a tied tensor counts once."""
        tied = {name for group in self.ties for name in group[1:]}
        return sum(math.prod(row.shape) for name, row in self.model_tensors.items() if name not in tied)


HEADER_KEYS = ("run", "hyperparameters", "metrics", "parent", "environment", "recipe")
_COMPUTED_KEYS = ("format", "tensors", "storages", "ties", "data_pkl_sha256", "exact")


def index_of(header: Mapping[str, Any], **computed: Any) -> Index:
    """The Index of a file about to be sealed: `header` is the caller's, `computed` is what the bytes say.

    Raises: ValueError where the header claims what only the bytes can say; TypeError where a part is no mapping.
    """
    if taken := [key for key in header if key in _COMPUTED_KEYS]:
        raise ValueError(f"the header of a checkpoint must not hold {taken[0]!r}: it is computed from the file")
    known = {key: header[key] for key in HEADER_KEYS if key in header}
    for key, value in known.items():
        if key != "parent" and not isinstance(value, dict) and not (key == "recipe" and value is None):
            raise TypeError(f"the header's {key!r} must be a dict, got {type(value).__name__}")
    extra = {key: value for key, value in header.items() if key not in HEADER_KEYS}
    return Index(format=FORMAT, **known, **computed, extra=extra)


def to_json(index: Index) -> bytes:
    """The bytes of `hypertuner.json`.

    Raises: TypeError where a value is not JSON-able; ValueError where the index is larger than a reader accepts.
    """
    document: dict[str, Any] = {**index.extra}
    document |= {part.name: getattr(index, part.name) for part in fields(index) if part.name != "extra"}
    document["tensors"] = {
        part: {name: _packed(row) for name, row in rows.items()} for part, rows in index.tensors.items()
    }
    document["storages"] = {key: list(row) for key, row in index.storages.items()}
    told = {key: value for key, value in document.items() if key not in _COMPUTED_KEYS}
    exact: list[tuple[list[str | int], str]] = []
    document |= {key: _plain(value, [key], exact) for key, value in told.items()}
    if exact:
        document["exact"] = exact
    text = orjson.dumps(document)
    if len(text) > MOST_BYTES or sum(map(len, index.tensors.values())) > MOST_TENSORS:
        raise ValueError(f"the index would take {len(text):,} bytes; a checkpoint's index may take {MOST_BYTES:,}")
    return text


def from_json(text: bytes, where: str) -> Index:
    """The checked Index in the bytes of a `hypertuner.json`; unknown keys are kept in `extra`.

    Raises: CorruptFileError, naming `where` and the row at fault; also where a newer hypertuner made the file.
    """
    if len(text) > MOST_BYTES or text.count(b"[") + text.count(b"{") > MOST_BRACKETS:
        raise _corrupt(where, f"the index takes {len(text):,} bytes, more than any hypertuner writes")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _corrupt(where, f"the index is not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("format"), str):
        raise _corrupt(where, "the index names no format")
    if document["format"] != FORMAT:
        raise CorruptFileError(newer(where, document["format"]), path=Path(where))
    wrong = _Wrong(where)
    exact = document.pop("exact", [])
    _restore(document, exact, wrong)
    parts = wrong.unless_dict(document.get("tensors", {}), "tensors")
    tensors = {part: _rows(wrong.unless_dict(rows, part), wrong) for part, rows in parts.items()}
    storages = _storage_rows(wrong.unless_dict(document.get("storages", {}), "storages"), wrong)
    index = Index(
        format=FORMAT,
        run=wrong.unless_dict(document.get("run", {}), "run"),
        hyperparameters=wrong.unless_dict(document.get("hyperparameters", {}), "hyperparameters"),
        metrics=wrong.unless_dict(document.get("metrics", {}), "metrics"),
        parent=document.get("parent"),
        environment=wrong.unless_dict(document.get("environment", {}), "environment"),
        recipe=None if document.get("recipe") is None else wrong.unless_dict(document["recipe"], "recipe"),
        tensors=tensors,
        storages=storages,
        ties=_ties(document.get("ties", []), tensors.get("state_dict", {}), wrong),
        data_pkl_sha256=wrong.unless_hex(document.get("data_pkl_sha256"), 64, "data_pkl_sha256"),
        extra={key: value for key, value in document.items() if key not in (*HEADER_KEYS, *_COMPUTED_KEYS)},
    )
    check(index, where)
    return index


def check(index: Index, where: str) -> None:
    """Refuse an index whose views leave their storages; with integers only, nothing is allocated.

    Raises: CorruptFileError that names the tensor.
    """
    if sum(map(len, index.tensors.values())) > MOST_TENSORS:
        raise _corrupt(where, f"more than {MOST_TENSORS:,} tensors, which no real model has")
    storages = index.storages
    for part, rows in index.tensors.items():
        if all_inside(rows.values(), storages):
            continue
        for name, row in rows.items():
            kind, key, dtype, shape, stride, offset = row
            if kind not in ("strided", "quantized") or key is None:
                continue
            storage = storages.get(key)
            if storage is None:
                raise _corrupt(where, f"tensor {name!r} in {part!r} is a view of storage {key!r}, which is not there")
            elements = span(shape, stride)
            if elements and (needs := (offset + elements) * ITEM_BYTES.get(dtype, 0)) > storage.nbytes:
                raise _corrupt(
                    where,
                    f"tensor {name!r} in {part!r} leaves its storage: shape {list(shape)}, stride "
                    f"{list(stride)} and offset {offset} need {needs:,} bytes, storage {key!r} has "
                    f"{storage.nbytes:,}; no program writes this by accident",
                )


def ties_of(rows: Mapping[str, TensorRow]) -> list[list[str]]:
    """The names that are one and the same tensor (storage, dtype, shape, stride and offset), in groups."""
    groups: dict[TensorRow, list[str]] = {}
    for name, row in rows.items():
        # Two empty tensors share nothing even where torch gave them one storage.
        if row.storage is not None and 0 not in row.shape:
            groups.setdefault(row, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def newer(where: str, format: str) -> str:
    """The message for a file whose format this version does not know."""
    if not format.startswith("hypertuner/"):
        return f"{where} is of format {format[:40]!r}, which is not hypertuner's.\n  Open it with what wrote it."
    return (
        f"{where} is {format[:40]!r}, made by a newer hypertuner; this one reads {FORMAT!r}.\n"
        "  pip install --upgrade hypertuner"
    )


def _corrupt(where: str, what: str) -> CorruptFileError:
    return CorruptFileError(f"{where} is damaged: {what}.\n  Do not use it; take another copy.", path=Path(where))


class _Wrong:
    """Says which part of an index is not what it must be."""

    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, part: str, expected: str) -> CorruptFileError:
        return _corrupt(self.where, f"in the index, {part[:200]!r} is not {expected}")

    def unless_dict(self, value: object, part: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(part, "an object")
        return value

    def unless_list(self, value: object, part: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.error(part, "a list")
        return value

    def unless_count(self, value: object, part: str) -> int:
        # Exactly int: True is an int to Python and not to us.
        if type(value) is not int or not 0 <= value <= LARGEST:
            raise self.error(part, "a whole number of 0 or more")
        return value

    def unless_counts(self, value: object, part: str) -> tuple[int, ...]:
        numbers = self.unless_list(value, part)
        for number in numbers:
            if type(number) is not int or not 0 <= number <= LARGEST:
                raise self.error(part, "whole numbers of 0 or more")
        return tuple(numbers)

    def unless_hex(self, value: object, digits: int, part: str) -> str:
        if not isinstance(value, str) or len(value) != digits or value.strip("0123456789abcdef"):
            raise self.error(part, f"{digits} hex digits")
        return value


def _packed(row: TensorRow) -> list[Any]:
    # A stride of null means reading order: most tensors, and a dozen bytes each.
    stride = None if row.stride == contiguous(row.shape) else row.stride
    return [row.kind, row.storage, row.dtype, row.shape, stride, row.offset]


def _rows(values: Mapping[str, Any], wrong: _Wrong) -> dict[str, TensorRow]:
    """The checked rows of a part: column by column, which is quick, else one by one, which names the one at fault."""
    rows = tensors_by_columns(list(values.values()))
    if rows is not None:
        return dict(zip(values, rows, strict=True))
    return {name: _unpacked(row, name, wrong) for name, row in values.items()}


def _storage_rows(values: Mapping[str, Any], wrong: _Wrong) -> dict[str, StorageRow]:
    """The checked storages, in either way."""
    rows = storages_by_columns(list(values.values()))
    if rows is not None:
        return dict(zip(values, rows, strict=True))
    return {key: _storage_row(row, key, wrong) for key, row in values.items()}


def _unpacked(value: object, name: str, wrong: _Wrong) -> TensorRow:
    row = wrong.unless_list(value, name)
    if len(row) < 6:
        raise wrong.error(name, "a tensor row")
    kind, storage, dtype, sizes, steps, offset = row[:6]
    if type(kind) is not str or type(dtype) is not str or (storage is not None and type(storage) is not str):
        raise wrong.error(name, "a tensor row (kind, storage, dtype)")
    shape = wrong.unless_counts(sizes, name)
    if len(shape) > MOST_DIMENSIONS:
        raise wrong.error(name, f"a tensor of at most {MOST_DIMENSIONS} dimensions")
    stride = contiguous(shape) if steps is None else wrong.unless_counts(steps, name)
    # A later writer of /1 may know kinds and types that this reader does not: then torch reads them.
    if kind not in KINDS or (kind == "strided" and dtype not in ITEM_BYTES):
        kind = "other"
    if kind in ("strided", "quantized") and (len(stride) != len(shape) or storage is None):
        raise wrong.error(name, "a tensor row (stride, storage)")
    return TensorRow(kind, storage, dtype, shape, stride, wrong.unless_count(offset, name))


def _storage_row(value: object, key: str, wrong: _Wrong) -> StorageRow:
    row = wrong.unless_list(value, key)
    if len(row) < 3:
        raise wrong.error(key, "a storage row")
    offset, nbytes = wrong.unless_counts(row[:2], key)
    return StorageRow(offset, nbytes, wrong.unless_hex(row[2], 32, key))


def _ties(value: object, rows: Mapping[str, TensorRow], wrong: _Wrong) -> list[list[str]]:
    groups = [wrong.unless_list(group, "ties") for group in wrong.unless_list(value, "ties")]
    for group in groups:
        if not all(isinstance(name, str) and name in rows for name in group):
            raise wrong.error("ties", "lists of names in state_dict")
        if len({rows[name] for name in group}) != 1:
            raise wrong.error("ties", "lists of names of one and the same tensor")
    return groups


def _plain(value: Any, path: list[str | int], exact: list[tuple[list[str | int], str]]) -> Any:
    """`value` as JSON spells it; numbers that JSON would change are spelled out in `exact`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        exact.append(([*path], repr(value)))
        return None
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        exact.append(([*path], hex(value)))
        return None
    if isinstance(value, dict):
        return {key: _plain(item, [*path, key], exact) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, [*path, place], exact) for place, item in enumerate(value)]
    return value


def _restore(document: dict[str, Any], exact: object, wrong: _Wrong) -> None:
    for entry in wrong.unless_list(exact, "exact"):
        try:
            path, text = entry
            holder: Any = document
            for key in path[:-1]:
                holder = holder[key]
            if path[0] in _COMPUTED_KEYS or holder[path[-1]] is not None:
                raise KeyError(path[-1])
            holder[path[-1]] = int(text, 16) if "0x" in text else float(text)
        except (KeyError, IndexError, TypeError, ValueError):
            raise wrong.error("exact", "a list of places and numbers") from None
