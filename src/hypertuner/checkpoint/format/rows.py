"""The rows of an index: one tensor, one storage; and their reading in bulk.

A model has thousands of them, and looking at each is what reading its index costs. Columns are looked at instead, by
what Python does in one call; whatever is odd about any row is left to the slow way, which can say what.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from itertools import chain
from operator import gt, itemgetter
from typing import Any, NamedTuple

MOST_DIMENSIONS = 64  # torch's own limit
LARGEST = 2**63 - 1

ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("bool", "uint8", "int8", "qint8", "quint8", "quint4x2", "quint2x4"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("float4_e2m1fn_x2", "bits8", "bits1x8", "bits2x4", "bits4x2"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16", "bits16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32", "complex32", "qint32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}
KINDS = ("strided", "sparse_coo", "sparse_csr", "quantized", "other")


class TensorRow(NamedTuple):
    """One tensor: a view of `shape` and `stride` that begins `offset` elements into storage `storage`.

    Only a 'strided' row can be read from the bytes by these figures alone; the other kinds are read by torch.
    `storage` is None where the tensor has none (sparse, meta).
    """

    kind: str
    storage: str | None
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class StorageRow(NamedTuple):
    """One storage: where its bytes lie in the file, and their xxh3-128 (None where the file records none)."""

    offset: int
    nbytes: int
    xxh3: str | None


# What `_make` does, at a third of the price: of thousands of rows it is what reading an index costs.
_TENSOR_ROW = partial(tuple.__new__, TensorRow)
_STORAGE_ROW = partial(tuple.__new__, StorageRow)


@lru_cache(maxsize=4096)  # a model has few shapes
def span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements lie from a tensor's first to its last, with both; 0 where it has none."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


@lru_cache(maxsize=4096)
def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The stride of a tensor whose elements lie in reading order, as torch counts it."""
    stride: list[int] = []
    step = 1
    for size in reversed(shape):
        stride.append(step)
        step *= size or 1
    return tuple(stride[::-1])


def tensors_by_columns(values: list[Any]) -> list[TensorRow] | None:
    """The rows, where all are 'strided' and nothing about any of them is odd; else None."""
    if set(map(type, values)) != {list} or set(map(len, values)) != {6}:
        return None
    kinds, storages, dtypes, sizes, steps, offsets = zip(*values, strict=True)
    strides = [step for step in steps if step is not None]
    texts, lists = set(map(type, chain(kinds, storages, dtypes))), set(map(type, chain(sizes, strides)))
    if texts != {str} or lists != {list} or set(kinds) != {"strided"} or not ITEM_BYTES.keys() >= set(dtypes):
        return None
    numbers = list(chain(offsets, chain.from_iterable(sizes), chain.from_iterable(strides)))
    if set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) > LARGEST:
        return None
    shapes = list(map(tuple, sizes))
    if max(map(len, shapes)) > MOST_DIMENSIONS:
        return None
    whole = [contiguous(shape) if step is None else tuple(step) for shape, step in zip(shapes, steps, strict=True)]
    if list(map(len, whole)) != list(map(len, shapes)):
        return None
    return list(map(_TENSOR_ROW, zip(kinds, storages, dtypes, shapes, whole, offsets, strict=True)))


def all_inside(rows: Collection[TensorRow], storages: Mapping[str, StorageRow]) -> bool:
    """Whether all are 'strided', of known types, and none leaves its storage; False asks for a closer look."""
    if set(map(itemgetter(0), rows)) != {"strided"}:
        return False
    try:
        ends = [(offset + span(shape, stride)) * ITEM_BYTES[dtype] for _, _, dtype, shape, stride, offset in rows]
        most = [storages[row[1]][1] for row in rows]  # type: ignore[index]  # None is no key
    except KeyError:
        return False
    return not any(map(gt, ends, most))


def storages_by_columns(values: list[Any]) -> list[StorageRow] | None:
    """The rows, where nothing about any of them is odd; else None."""
    if set(map(type, values)) != {list} or set(map(len, values)) != {3}:
        return None
    offsets, lengths, hashes = zip(*values, strict=True)
    numbers = (*offsets, *lengths)
    if set(map(type, numbers)) != {int} or min(numbers) < 0 or max(numbers) > LARGEST:
        return None
    if set(map(type, hashes)) != {str} or set(map(len, hashes)) != {32} or not _is_hex("".join(hashes)):
        return None
    return list(map(_STORAGE_ROW, values))


def _is_hex(text: str) -> bool:
    try:
        return bytes.fromhex(text).hex() == text
    except ValueError:
        return False
