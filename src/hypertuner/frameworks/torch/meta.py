"""Models built on the meta device, where tensors have shapes and no memory: they take the file's.

    with torch.device("meta"):
        net = Net()
    hypertuner.load(run, into=net)

What the model says stays: which parameters are one and the same, which of them learn, their types.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hypertuner.checkpoint.format.table import TensorRow
from hypertuner.checkpoint.selection import Selection
from hypertuner.errors import CheckpointError
from hypertuner.frameworks.torch import modules, reading
from hypertuner.store.said import say


def check_device(has: Mapping[str, Any], device: Any) -> None:
    """Raises: CheckpointError where `device` is said and the model has one already."""
    if device is None:
        return
    reading.check_device(device)
    placed = [value.device for value in has.values() if isinstance(value, torch.Tensor) and not value.is_meta]
    if any(place.type != torch.device(device).type for place in placed):
        raise CheckpointError(
            f"device={str(device)!r} says where a model of the meta device goes; this one is on {placed[0]} already.\n"
            "  Leave device= out: weights go where the model is. model.to(device) moves it."
        )


def ready(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a module on the meta device is to hold: by the names of its state `own`, its parameters themselves.

    A value is used as it lies where it lies as the model would have it, else copied.
    """
    made: dict[str, Any] = {}
    known: dict[int, Any] = {}
    taken: dict[int, list[tuple[int, int]]] = {}
    for name, value in values.items():
        mine = own[name]
        if id(mine) in known:  # tied in the model: one parameter under two names
            made[name] = known[id(mine)]
            continue
        if _is_plain(value) and _is_plain(mine) and not _lies_like(value, mine, taken):
            value = torch.empty_strided(mine.shape, mine.stride(), dtype=mine.dtype, device=value.device).copy_(value)
        if isinstance(mine, nn.Parameter) and isinstance(value, torch.Tensor):
            value = nn.Parameter(value, requires_grad=mine.requires_grad)
            vars(value).update(vars(mine))
        made[name] = known[id(mine)] = value
    return made


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized


def _lies_like(value: torch.Tensor, mine: torch.Tensor, taken: dict[int, list[tuple[int, int]]]) -> bool:
    return value.dtype == mine.dtype and value.stride() == mine.stride() and not _overlaps(value, taken)


def _overlaps(tensor: torch.Tensor, taken: dict[int, list[tuple[int, int]]]) -> bool:
    """Whether another tensor has some of its memory: the file ties what the model does not."""
    if not tensor.numel():
        return False
    start = int(tensor.storage_offset())
    end = start + 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    places = taken.setdefault(tensor.untyped_storage().data_ptr(), [])  # in order, none reaching into the next
    at = bisect(places, (start, end))
    if (at and places[at - 1][1] > start) or (at < len(places) and places[at][0] < end):
        return True
    places.insert(at, (start, end))
    return False


class Rest:
    """What of a model stays on the meta device once a file's weights are in it.

    A buffer that no state_dict holds is taken from the file all the same where its model object has one of that name
    and shape.
    """

    def __init__(
        self, target: modules.Model, loaded: Iterable[str], selection: Selection, tensors: reading.Tensors
    ) -> None:
        self._tensors = tensors
        self._found: list[tuple[nn.Module, str, str]] = []
        self._left: list[str] = []
        if modules.is_named_tensors(target):
            self._left = [name for name, tensor in target.items() if tensor.is_meta]
            return
        done, looks = set(loaded), None
        for prefix, module in modules.parts_of(target):
            renames = modules.clean_names(module)
            for path, child in module.named_modules():
                for name, tensor in (*child._parameters.items(), *child._buffers.items()):
                    if tensor is None or not tensor.is_meta:
                        continue
                    full = prefix + modules.clean_name(f"{path}.{name}" if path else name, renames)
                    if full in done or not selection.takes(full):
                        continue
                    looks = tensors.looks("module_tensors") if looks is None else looks
                    row = looks.get(full)
                    if name in child._non_persistent_buffers_set and _fits(row, tensor):
                        self._found.append((child, name, full))
                    else:
                        self._left.append(full)

    def refuse(self, path: Path) -> None:
        """Raises: CheckpointError naming what would have no values."""
        if self._left:
            raise CheckpointError(
                f"{path} has no values for {_some(self._left)}, which the model has on the meta device: "
                "nothing was changed.\n"
                f"  Build the model without torch.device('meta') around what makes them; or give them values "
                "afterwards, and load with strict=False."
            )

    def fill(self) -> None:
        """Give the buffers that the file has their values."""
        for module, name, full in self._found:
            found, own = self._tensors.tensor("module_tensors", full), module._buffers[name]
            module._buffers[name] = found if own is None else found.to(own.dtype)

    def tell(self, path: Path) -> None:
        """Say what has no values."""
        if self._left:
            say(f"{path.name}: still on the meta device, without values: {_some(self._left)}")


def _fits(row: Any, tensor: torch.Tensor) -> bool:
    return isinstance(row, TensorRow) and row.kind == "strided" and row.shape == tuple(tensor.shape)


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
