"""What a model holds, by name, as a checkpoint can hold it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from hypertuner.errors import CheckpointError
from hypertuner.frameworks.torch.modules import Model, clean_name, clean_names, is_named_tensors, parts_of

_PLAIN = (torch.Tensor, nn.Parameter)
_LAZY = (UninitializedParameter, UninitializedBuffer)
_SCALARS = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.Size, torch.device}


class State:
    """A model's state: `tensors` and plain values by name, `odd` values that safe loading would refuse."""

    def __init__(self, model: Model) -> None:
        self.values: OrderedDict[str, Any] = OrderedDict()
        self.odd: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._named: list[Any] = []  # an id names an object only while it lives
        self._parts = list(parts_of(model))
        if is_named_tensors(model):
            self.values.update(model)
            self.versions.update(versions_of(model))
        for prefix, module in self._parts:
            self._add(prefix, module)
        _check(self.values)
        set_versions(self.values, self.versions)

    def name_of(self, tensor: torch.Tensor) -> str | None:
        """The name in `values` of a parameter or buffer of the model; None of one that they leave out."""
        name = self._names.get(id(tensor))
        if name is None and self._parts:
            for prefix, module in self._parts:
                self._name(prefix, module)
            self._parts = []
            name = self._names.get(id(tensor))
        return name

    def _add(self, prefix: str, module: nn.Module) -> None:
        renames = clean_names(module)
        state = _state_of(module)
        self._named.append(state)
        for name, value in state.items():
            name = prefix + clean_name(name, renames)
            if isinstance(value, torch.Tensor) and not isinstance(value, _LAZY):
                self._names.setdefault(id(value), name)
                value = value.detach()
            if is_plain(value):
                self.values[name] = value
            else:
                self.odd[name] = value
        for path, version in versions_of(state).items():
            self.versions[(prefix + clean_name(f"{path}.", renames)).rstrip(".")] = version

    def _name(self, prefix: str, module: nn.Module) -> None:
        """What a hook, or a module's own `state_dict`, gave as another object over the same memory."""
        renames = clean_names(module)
        for tensors in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
            for name, tensor in tensors:
                name = prefix + clean_name(name, renames)
                saved = self.values.get(name)
                if isinstance(saved, torch.Tensor) and _same(saved, tensor):
                    self._names.setdefault(id(tensor), name)

    @classmethod
    def names_of(cls, model: Model) -> dict[str, Any]:
        """What a model's state holds now, by the names that a file uses; lazy and meta tensors included."""
        if is_named_tensors(model):
            return dict(model)
        values = {}
        for prefix, module in parts_of(model):
            renames = clean_names(module)
            values.update({prefix + clean_name(name, renames): value for name, value in module.state_dict().items()})
        return values


def _state_of(module: nn.Module) -> Mapping[str, Any]:
    """A module's state with its own parameters in it, which are known by what they are; detached where it makes its
    state in a way of its own that knows no other."""
    try:
        return module.state_dict(keep_vars=True)
    except (TypeError, RuntimeError):
        return module.state_dict()


def versions_of(state: Any) -> dict[str, int]:
    """Versions of a state_dict's modules by their path, which torch keeps in an attribute of the dict."""
    entries = getattr(state, "_metadata", None) or {}
    return {path: entry["version"] for path, entry in entries.items() if isinstance(entry.get("version"), int)}


def set_versions(state: OrderedDict[str, Any], versions: Mapping[str, int]) -> None:
    """Give a state_dict the versions that its modules ask for when they load it."""
    entries = OrderedDict((path, {"version": version}) for path, version in versions.items())
    state._metadata = entries  # type: ignore[attr-defined]  # where torch keeps it


def _same(saved: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a state_dict's entry is the module's own tensor, not something a hook made of it."""
    if saved.dtype != own.dtype or saved.layout != own.layout or saved.shape != own.shape:
        return False
    if saved.layout != torch.strided or saved.is_quantized:
        return True
    if type(saved) in _PLAIN and type(own) in _PLAIN and saved.device == own.device:
        return saved.is_set_to(own)
    return saved.data_ptr() == own.data_ptr() and saved.stride() == own.stride()


def _check(values: Mapping[str, Any]) -> None:
    lazy = [name for name, value in values.items() if type(value) not in _PLAIN and isinstance(value, _LAZY)]
    if lazy:
        raise CheckpointError(
            f"Cannot save: {lazy[0]!r} is a lazy parameter without a shape yet"
            f"{f' (and {len(lazy) - 1} more)' if len(lazy) > 1 else ''}.\n"
            "  Run one batch through the model before saving it."
        )
    meta = [name for name, value in values.items() if isinstance(value, torch.Tensor) and value.is_meta]
    if meta:
        raise CheckpointError(
            f"Cannot save: {meta[0]!r} is on the meta device, where tensors have no values"
            f"{f' (and {len(meta) - 1} more)' if len(meta) > 1 else ''}.\n"
            "  Give it values first: model.to_empty(device=…) and load or initialise it."
        )


def is_plain(value: Any) -> bool:
    """Whether `torch.load` with its safe defaults accepts a value: tensors, numbers, text and containers of them."""
    if type(value) in _PLAIN or type(value) in _SCALARS:
        return True
    if isinstance(value, torch.Tensor):
        return isinstance(value, _LAZY)
    if type(value) in (dict, OrderedDict):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if type(value) in (list, tuple, set):
        return all(map(is_plain, value))
    return False
