"""Where each tensor of a capture goes: on the CPU, sharing what it shares.

Storages and ties are kept: two tensors that share memory in the model share it in the file. A small view of a big
storage takes along only the part that is seen. A training saves the same tensors over and over, so what was found out
about them once is kept with the memory that they are copied into.
"""

from __future__ import annotations

import bisect
import ctypes
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hypertuner.frameworks.torch.staging import Stage

# Saved whole when at least this share of a storage is seen: cutting a piece out costs a copy.
_WHOLE_ABOVE = 0.5
_PLAIN = (torch.Tensor, nn.Parameter)
_BATCH_BYTES = 256 << 20


def on_cpu(values: Any, stage: Stage, *, copy: bool) -> Any:
    """The same tree of containers with every tensor detached and on the CPU, sharing storage as before.

    With `copy`, nothing that happens to the tensors later reaches it. Without, CPU tensors are copied only where they
    are small views of big storages, or storages seen as two dtypes. Values of other devices are there after
    `stage.finish()`.
    """
    tensors: list[torch.Tensor] = []
    _collect(values, tensors)
    placed = place(tensors, stage, copy=copy)
    return _replace(values, iter(placed))


def place(tensors: Sequence[torch.Tensor], stage: Stage, *, copy: bool) -> list[torch.Tensor]:
    """A tensor on the CPU for each of `tensors`."""
    rows, storages = _rows(tensors)
    key = (copy, rows)
    plan = stage.plan
    if not isinstance(plan, _Plan) or plan.key != key:
        stage.plan = None  # its memory is cut anew, also where that fails midway
        plan = _Plan(key, tensors, stage, copy=copy)
        stage.plan = plan
    return plan.carry_out(tensors, storages, stage)


def _rows(tensors: Sequence[torch.Tensor]) -> tuple[list[Any], list[torch.UntypedStorage | None]]:
    """(what decides where each tensor goes, its storage); (None, None) of one that is copied by itself."""
    rows: list[Any] = []
    storages: list[torch.UntypedStorage | None] = []
    numbers: dict[Hashable, int] = {}
    for tensor in tensors:
        if (
            type(tensor) not in _PLAIN
            or tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.is_conj()
            or tensor.is_neg()
        ):
            rows.append(None)
            storages.append(None)
            continue
        storage = tensor.untyped_storage()
        nbytes, device = storage.nbytes(), tensor.device
        where = (device, storage.data_ptr()) if nbytes else id(tensor)
        number = numbers.setdefault(where, len(numbers))
        rows.append((number, nbytes, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride(), device))
        storages.append(storage)
    return rows, storages


@dataclass
class _Piece:
    """A part of a storage that is copied: the elements from `start` to `end` as tensor `source` sees it, or all."""

    source: int
    nbytes: int
    start: int = 0
    end: int = 0
    first_byte: int = 0
    is_plain: bool = False
    """One tensor whose values lie as they are counted."""
    views: list[tuple[int, int]] = field(default_factory=list)
    """(which tensor, its offset in the piece)."""


class _Plan:
    """What is to be done with tensors like these, and the copies, which are the same memory each time."""

    def __init__(self, key: Any, tensors: Sequence[torch.Tensor], stage: Stage, *, copy: bool) -> None:
        self.key = key
        self._copy = copy
        self._placed: list[torch.Tensor | None] = [None] * len(tensors)
        self._loose: list[int] = []
        """Copied by themselves, each time."""
        self._left: list[int] = []
        """Written from where they are."""
        pieces = self._pieces(tensors)
        near = [piece for piece in pieces if tensors[piece.source].device.type == "cpu"]
        far = [piece for piece in pieces if tensors[piece.source].device.type == "cuda"]
        self._other = [piece for piece in pieces if tensors[piece.source].device.type not in ("cpu", "cuda")]
        self._moves: list[tuple[int, int, int, int]] = []
        for piece, region in zip(near, stage.plain.cut([piece.nbytes for piece in near]), strict=True):
            storage = region.at(0, piece.nbytes)
            self._see(piece, storage, tensors, self._placed)
            self._moves.append((storage.data_ptr(), piece.source, piece.first_byte, piece.nbytes))
        self._fetches: list[tuple[torch.Tensor, list[_Piece]]] = []
        batches = _batches(far, tensors)
        sizes = [sum(piece.nbytes for piece in batch) for batch in batches]
        for batch, region in zip(batches, stage.locked.cut(sizes), strict=True):
            dtype, start = tensors[batch[0].source].dtype, 0
            for piece in batch:
                self._see(piece, region.at(start, piece.nbytes), tensors, self._placed)
                start += piece.nbytes
            whole = region.at(0, region.nbytes)
            flat = torch.empty(0, dtype=dtype).set_(whole, 0, (region.nbytes // dtype.itemsize,), (1,))
            self._fetches.append((flat, batch))

    def carry_out(
        self, tensors: Sequence[torch.Tensor], storages: Sequence[torch.UntypedStorage | None], stage: Stage
    ) -> list[torch.Tensor]:
        """Copy, and begin to fetch; where each tensor is now."""
        # One after another: Python's work between two of them would find the caches swept each time.
        moves = [
            (target, storage.data_ptr() + first_byte, nbytes)
            for target, source, first_byte, nbytes in self._moves
            if (storage := storages[source]) is not None
        ]
        for target, address, nbytes in moves:
            ctypes.memmove(target, address, nbytes)
        if self._fetches:
            pairs = [(flat, [_there(piece, tensors[piece.source]) for piece in batch]) for flat, batch in self._fetches]
            stage.fetch(pairs, clone=self._copy)
        found = list(self._placed)
        for piece in self._other:
            there = _there(piece, tensors[piece.source])
            self._see(piece, there.to("cpu", copy=True).untyped_storage(), tensors, found)
        for number in self._left:
            found[number] = tensors[number].detach()
        for number in self._loose:
            tensor = tensors[number].detach()
            if tensor.is_conj() or tensor.is_neg():
                tensor = tensor.resolve_conj().resolve_neg()
            found[number] = tensor.to("cpu", copy=True) if self._copy else tensor.cpu()
        return [placed for placed in found if placed is not None]

    def _see(
        self,
        piece: _Piece,
        storage: torch.UntypedStorage,
        tensors: Sequence[torch.Tensor],
        placed: list[torch.Tensor | None],
    ) -> None:
        for number, offset in piece.views:
            like = tensors[number]
            placed[number] = torch.empty(0, dtype=like.dtype).set_(storage, offset, like.shape, like.stride())

    def _pieces(self, tensors: Sequence[torch.Tensor]) -> list[_Piece]:
        groups: dict[int, list[int]] = {}
        for number, row in enumerate(self.key[1]):
            if row is None or not tensors[number].numel():
                self._loose.append(number)
            else:
                groups.setdefault(row[0], []).append(number)
        pieces: list[_Piece] = []
        for group in groups.values():
            by_dtype: dict[torch.dtype, list[int]] = {}
            for number in group:
                by_dtype.setdefault(tensors[number].dtype, []).append(number)
            for order, numbers in enumerate(by_dtype.values()):
                # torch.save refuses one storage under two dtypes: all but the first get a storage of their own.
                pieces += self._pieces_of(numbers, tensors, apart=order > 0)
        return pieces

    def _pieces_of(self, numbers: list[int], tensors: Sequence[torch.Tensor], *, apart: bool) -> list[_Piece]:
        """Of the views of one storage, of one dtype; `apart`, in a storage that nothing else has."""
        views = [tensors[number] for number in numbers]
        first, ranges = views[0], _ranges(views)
        size, nbytes = first.element_size(), first.untyped_storage().nbytes()
        if first.device.type == "cpu" and not apart and _is_mostly_seen(views, ranges):
            if not self._copy:
                self._left += numbers
                return []
            offsets = [(number, int(view.storage_offset())) for number, view in zip(numbers, views, strict=True)]
            return [_Piece(numbers[0], nbytes, 0, nbytes // size, views=offsets)]
        pieces = [_Piece(numbers[0], (end - start) * size, start, end, start * size) for start, end in ranges]
        starts = [piece.start for piece in pieces]
        for number, view in zip(numbers, views, strict=True):
            offset = int(view.storage_offset())
            piece = pieces[bisect.bisect_right(starts, offset) - 1]
            piece.views.append((number, offset - piece.start))
        for piece in pieces:
            piece.source = piece.views[0][0]
            piece.is_plain = len(piece.views) == 1 and tensors[piece.source].is_contiguous()
        return pieces


def _batches(pieces: Sequence[_Piece], tensors: Sequence[torch.Tensor]) -> list[list[_Piece]]:
    """What is brought here in one go: of one device and dtype, and not so much that it is hard to find room for."""
    batches: list[list[_Piece]] = []
    open_batches: dict[Hashable, tuple[list[_Piece], int]] = {}
    for piece in pieces:
        kind = (tensors[piece.source].device, tensors[piece.source].dtype)
        batch, nbytes = open_batches.get(kind, ([], 0))
        if not batch:
            batches.append(batch)
        batch.append(piece)
        nbytes += piece.nbytes
        open_batches[kind] = (batch, nbytes) if nbytes < _BATCH_BYTES else ([], 0)
    return batches


def _there(piece: _Piece, tensor: torch.Tensor) -> torch.Tensor:
    """What is fetched of a tensor on another device, flat."""
    if piece.is_plain:
        return tensor.detach().view(-1)
    return torch.as_strided(tensor.detach(), (piece.end - piece.start,), (1,), piece.start)


def _is_mostly_seen(views: Sequence[torch.Tensor], ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether the views see so much of their storage that it is saved whole."""
    seen = sum(end - start for start, end in ranges)
    return seen * views[0].element_size() >= _WHOLE_ABOVE * views[0].untyped_storage().nbytes()


def _ranges(views: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    """Disjoint ranges of elements of one storage that the views see, joined where they overlap."""
    found = []
    for view in views:
        start = int(view.storage_offset())
        reach = sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True))
        found.append((start, start + reach + 1))
    joined: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _collect(value: Any, found: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            _collect(item, found)


def _replace(value: Any, placed: Iterator[torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return next(placed)
    if isinstance(value, Mapping):
        items = [
            (key, next(placed) if isinstance(item, torch.Tensor) else _replace(item, placed))
            for key, item in value.items()
        ]
        if not isinstance(value, OrderedDict):
            return dict(items)
        replaced = OrderedDict(items)
        vars(replaced).update(vars(value))
        return replaced
    if type(value) in (list, tuple, set):
        return type(value)([_replace(item, placed) for item in value])
    return value
