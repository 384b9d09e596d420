"""What a model holds, as tensors that can be written: named, on the CPU, sharing what they share.

Storages and ties are kept: two tensors that share memory in the model share it in the file. A small view of a
big storage takes along only the part that is seen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from hypertuner.errors import CheckpointError
from hypertuner.frameworks.torch.modules import Model, clean_name, clean_names, is_named_tensors, parts_of
from hypertuner.frameworks.torch.staging import Stage

# Saved whole when at least this share of a storage is seen: cutting a piece out costs a copy.
_WHOLE_ABOVE = 0.5
_PLAIN = (torch.Tensor, nn.Parameter)
_LAZY = (UninitializedParameter, UninitializedBuffer)
_SCALARS = {type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.Size, torch.device}


class State:
    """A model's state: `tensors` and plain values by name, `odd` values that safe loading would refuse."""

    def __init__(self, model: Model) -> None:
        self.values: OrderedDict[str, Any] = OrderedDict()
        self.odd: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.names: dict[int, str] = {}
        """id of a parameter or buffer of the model → its name in `values`."""
        if is_named_tensors(model):
            self.values.update(model)
            self.versions.update(versions_of(model))
            self.names.update((id(tensor), name) for name, tensor in model.items())
        for prefix, module in parts_of(model):
            self._add(prefix, module)
        _check(self.values)
        set_versions(self.values, self.versions)
        for prefix, module in parts_of(model):
            self._name(prefix, module)

    def _add(self, prefix: str, module: nn.Module) -> None:
        renames = clean_names(module)
        state = module.state_dict()
        for name, value in state.items():
            name = prefix + clean_name(name, renames)
            if is_plain(value):
                self.values[name] = value
            else:
                self.odd[name] = value
        for path, version in versions_of(state).items():
            self.versions[(prefix + clean_name(f"{path}.", renames)).rstrip(".")] = version

    def _name(self, prefix: str, module: nn.Module) -> None:
        renames = clean_names(module)
        for tensors in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
            for name, tensor in tensors:
                name = prefix + clean_name(name, renames)
                saved = self.values.get(name)
                if isinstance(saved, torch.Tensor) and _same(saved, tensor):
                    self.names.setdefault(id(tensor), name)

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
    if saved.layout != own.layout or saved.dtype != own.dtype or saved.shape != own.shape:
        return False
    if saved.layout != torch.strided or saved.is_quantized:
        return saved is own or saved.layout == own.layout
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


def on_cpu(values: Any, stage: Stage, *, copy: bool) -> Any:
    """The same tree of containers with every tensor detached and on the CPU, sharing storage as before.

    With `copy`, nothing that happens to the tensors later reaches it. Without, CPU tensors are copied only where they
    are small views of big storages, or storages seen as two dtypes. Values of other devices are there after
    `stage.finish()`.
    """
    tensors: list[torch.Tensor] = []
    _collect(values, tensors)
    placed = _Placing(stage, copy).place(tensors)
    stage.start(clone=copy)
    return _replace(values, placed)


def _collect(value: Any, found: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            _collect(item, found)


def _replace(value: Any, placed: Mapping[int, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return placed[id(value)]
    if isinstance(value, Mapping):
        items = [(key, _replace(item, placed)) for key, item in value.items()]
        if not isinstance(value, OrderedDict):
            return dict(items)
        replaced = OrderedDict(items)
        vars(replaced).update(vars(value))
        return replaced
    if type(value) in (list, tuple, set):
        return type(value)(_replace(item, placed) for item in value)
    return value


class _Placing:
    """Where each tensor of a capture goes, by its id."""

    def __init__(self, stage: Stage, copy: bool) -> None:
        self._stage = stage
        self._copy = copy
        self._placed: dict[int, torch.Tensor] = {}

    def place(self, tensors: list[torch.Tensor]) -> dict[int, torch.Tensor]:
        groups: dict[tuple[torch.device, int], list[torch.Tensor]] = {}
        for tensor in tensors:
            if tensor.layout != torch.strided or tensor.is_quantized or type(tensor) not in _PLAIN:
                self._placed[id(tensor)] = self._alone(tensor.detach())
            elif tensor.is_conj() or tensor.is_neg():
                self._placed[id(tensor)] = self._alone(tensor.detach().resolve_conj().resolve_neg())
            else:
                storage = tensor.untyped_storage()
                where = storage.data_ptr() if storage.nbytes() else id(tensor)
                groups.setdefault((tensor.device, where), []).append(tensor)
        for group in groups.values():
            if len(group) == 1 or len({tensor.dtype for tensor in group}) == 1:
                self._group(group)
                continue
            by_dtype: dict[torch.dtype, list[torch.Tensor]] = {}
            for tensor in group:
                by_dtype.setdefault(tensor.dtype, []).append(tensor)
            for number, views in enumerate(by_dtype.values()):
                # torch.save refuses one storage under two dtypes: all but the first get a storage of their own.
                self._group(views, apart=number > 0)
        return self._placed

    def _alone(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to("cpu", copy=True) if self._copy else tensor.cpu()

    def _group(self, views: list[torch.Tensor], *, apart: bool = False) -> None:
        """Place the views of one storage; `apart`, in a storage that nothing else has."""
        first = views[0]
        storage = first.untyped_storage()
        if first.device.type == "cpu" and not apart and _is_mostly_seen(views, storage):
            if self._copy:
                copied = self._stage.copy(storage)
                for view in views:
                    self._placed[id(view)] = _view(copied, view, view.storage_offset())
            else:
                for view in views:
                    self._placed[id(view)] = view.detach()
            return
        copies = {}
        for start, end in _pieces(views):
            flat = torch.as_strided(first.detach(), (end - start,), (1,), start)
            copies[start, end] = self._stage.fetch(flat).untyped_storage()
        for view in views:
            offset = int(view.storage_offset())
            start, end = next((piece for piece in copies if piece[0] <= offset < piece[1]), (0, 0))
            if start == end:
                self._placed[id(view)] = view.detach().to("cpu", copy=True)
            else:
                self._placed[id(view)] = _view(copies[start, end], view, offset - start)


def _view(storage: torch.UntypedStorage, like: torch.Tensor, offset: Any) -> torch.Tensor:
    return torch.empty(0, dtype=like.dtype).set_(storage, offset, like.shape, like.stride())


def _is_mostly_seen(views: list[torch.Tensor], storage: torch.UntypedStorage) -> bool:
    """Whether the views see so much of their storage that it is saved whole."""
    first, nbytes = views[0], storage.nbytes()
    if first.is_contiguous() and first.nbytes >= _WHOLE_ABOVE * nbytes:
        return True
    seen = sum(end - start for start, end in _pieces(views))
    return seen * first.element_size() >= _WHOLE_ABOVE * nbytes


def _pieces(views: list[torch.Tensor]) -> list[tuple[int, int]]:
    """Disjoint ranges of elements of one storage that the views see, joined where they overlap."""
    ranges = []
    for view in views:
        if view.numel():
            start = int(view.storage_offset())
            reach = sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True))
            ranges.append((start, start + reach + 1))
    pieces: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if pieces and start < pieces[-1][1]:
            pieces[-1] = (pieces[-1][0], max(end, pieces[-1][1]))
        else:
            pieces.append((start, end))
    return pieces
