"""What the values of a checkpoint's tensors are, read in pieces: run in a child process, which may take NumPy.

The file is opened for reading and nothing in it is unpickled. A tensor is read by the figures of the checked index.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypertuner.checkpoint.format.archive import Archive, TensorRow, open_model
from hypertuner.checkpoint.format.rows import ITEM_BYTES, contiguous, span
from hypertuner.errors import CorruptFileError, HypertunerError

BINS = 24
_NO_NUMPY = (
    "The values of tensors are read with NumPy, which is not installed beside hypertuner: pip install numpy. "
    "Names, shapes and types are shown without it."
)
_PIECE = 4 << 20  # elements
_MOST_TENSORS = 20_000
_MOST_SPREAD_BYTES = 2 << 30  # of a view whose elements do not lie in reading order


def statistics(path: Path, against: Path | None) -> dict[str, Any]:
    """Of each tensor what `contract.models.TensorStatistics` has; `problem` says what could not be told."""
    if importlib.util.find_spec("numpy") is None:
        return {"tensors": [], "problem": _NO_NUMPY}
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(open_model(path))
        other = stack.enter_context(open_model(against)) if against is not None else None
        theirs = other.index.model_tensors if other is not None else {}
        for name, row in list(mine.index.model_tensors.items())[:_MOST_TENSORS]:
            try:
                told = _of_tensor(mine, row)
                if other is not None and name in theirs and theirs[name].shape == row.shape:
                    told["changed"] = _changed(mine, row, other, theirs[name])
            except _UnreadableError as error:
                problems.append(f"{name}: {error}")
                told = _nothing()
            found.append({"name": name, **told})
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return {"tensors": found, "problem": "; ".join(problems[:3]) + more if problems else None}


class _UnreadableError(HypertunerError):
    """A tensor whose values cannot be read from the bytes alone."""


def _nothing() -> dict[str, Any]:
    return {
        "mean": None,
        "std": None,
        "lowest": None,
        "highest": None,
        "zeros": 0,
        "nans": 0,
        "infinities": 0,
        "counts": [],
        "changed": None,
    }


def _of_tensor(archive: Archive, row: TensorRow) -> dict[str, Any]:
    import numpy

    told = _nothing()
    total = squares = 0.0
    count = 0
    low, high = math.inf, -math.inf
    for piece in _pieces(archive, row):
        told["zeros"] += int(piece.size - numpy.count_nonzero(piece))
        finite = piece[numpy.isfinite(piece)]
        told["nans"] += int(numpy.count_nonzero(numpy.isnan(piece)))
        told["infinities"] += int(numpy.count_nonzero(numpy.isinf(piece)))
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            count += int(finite.size)
            total += float(finite.sum(dtype="float64"))
    if not count:
        return told
    mean = total / count
    counts = numpy.zeros(BINS, dtype="int64")
    edges = (low, high) if high > low else (low - 0.5, high + 0.5)
    for piece in _pieces(archive, row):
        finite = piece[numpy.isfinite(piece)].astype("float64", copy=False)
        if math.isfinite(edges[1] - edges[0]):
            counts += numpy.histogram(finite, bins=BINS, range=edges)[0]
        squares += float(numpy.square(finite - mean).sum())
    told |= {"mean": mean, "std": math.sqrt(squares / count), "lowest": low, "highest": high, "counts": counts.tolist()}
    return {key: _finite(value) if isinstance(value, float) else value for key, value in told.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _changed(one: Archive, row: TensorRow, other: Archive, theirs: TensorRow) -> float | None:
    """‖Δ‖ / ‖before‖; None where either holds what is not finite, or all was zero before."""
    import numpy

    apart = before = 0.0
    for mine, was in zip(_pieces(one, row), _pieces(other, theirs), strict=True):
        now, then = mine.astype("float64"), was.astype("float64")
        apart += float(numpy.square(now - then).sum())
        before += float(numpy.square(then).sum())
    if not (math.isfinite(apart) and math.isfinite(before)):
        return None
    if before == 0:
        return 0.0 if apart == 0 else None
    return math.sqrt(apart / before)


def _pieces(archive: Archive, row: TensorRow) -> Iterator[Any]:
    """The values of a tensor in reading order, as flat arrays of numbers, some at a time."""
    if row.kind != "strided" or row.storage is None:
        raise _UnreadableError(f"it is {row.kind}, which PyTorch alone reads")
    item = ITEM_BYTES.get(row.dtype, 0)
    if row.dtype not in _READABLE:
        raise _UnreadableError(f"its type, {row.dtype}, is not read here")
    begin, nbytes = _place(archive, row.storage)
    count = math.prod(row.shape)
    if row.stride == contiguous(row.shape) or count <= 1:
        at, left = begin + row.offset * item, count
        while left:
            size = min(left, _PIECE)
            yield _numbers(_read(archive, at, size * item), row.dtype)
            at, left = at + size * item, left - size
        return
    spread = span(row.shape, row.stride) * item
    if spread > min(nbytes, _MOST_SPREAD_BYTES):
        raise _UnreadableError("its elements lie too far apart to be read here")
    import numpy

    values = _numbers(_read(archive, begin + row.offset * item, spread), row.dtype)
    steps = tuple(step * values.itemsize for step in row.stride)
    whole = numpy.lib.stride_tricks.as_strided(values, row.shape, steps, writeable=False).reshape(-1)
    for first in range(0, count, _PIECE):
        yield whole[first : first + _PIECE]


def _place(archive: Archive, storage: str) -> tuple[int, int]:
    if archive.kind == "safetensors":
        found = archive.index.storages[storage]
        return found.offset, found.nbytes
    return archive.storage(storage)


def _read(archive: Archive, at: int, nbytes: int) -> bytes:
    archive.file.seek(at)
    parts: list[bytes] = []
    while nbytes and (part := archive.file.read(nbytes)):
        parts.append(part)
        nbytes -= len(part)
    if nbytes:
        raise CorruptFileError(f"{archive.path} ends before its tensors do.", path=archive.path)
    return b"".join(parts)


_READABLE = frozenset(
    "bool uint8 int8 int16 uint16 int32 uint32 int64 uint64 "
    "float16 bfloat16 float32 float64 complex64 complex128".split()
)


def _numbers(data: bytes, dtype: str) -> Any:
    """Bytes as an array of real numbers: of complex ones their size."""
    import numpy

    if dtype == "bfloat16":
        return (numpy.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    values = numpy.frombuffer(data, numpy.dtype(dtype).newbyteorder("<"))
    if dtype.startswith("complex"):
        return numpy.abs(values)
    return values.astype("uint8") if dtype == "bool" else values
