"""The model object as bytes: pickled with its tensors replaced by their names, its classes by their source.

Reading them back runs code, hence only for a file that the user trusts; the caller asks first.
"""

from __future__ import annotations

import contextlib
import copy
import io
import operator
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import nn

from hypertuner.checkpoint.recipe.rebuild import Rebuilder
from hypertuner.checkpoint.recipe.recording import Recording, UnrecordableError
from hypertuner.frameworks.torch.modules import Model, parts_of, unwrap
from hypertuner.frameworks.torch.state import State

# What pickling a model raises, from its own __getstate__ and __reduce__ too.
_REFUSALS = (
    pickle.PicklingError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    UnrecordableError,
)

_NO_REFERENCE = {str, int, float, bool, bytes, dict, OrderedDict, list, tuple, set, type(None)}

_Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


class ObjectError(Exception):
    """The model object cannot be pickled; the message says why."""


def dump(model: Model, state: State, recording: Recording) -> tuple[bytes, dict[str, torch.Tensor]]:
    """(the object as bytes, its tensors that the state leaves out). ObjectError when it cannot be pickled."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, model, state, recording)
    try:
        pickler.dump(model)
    except _REFUSALS as error:
        raise ObjectError(str(error) or type(error).__name__) from error
    return buffer.getvalue(), pickler.extra


def load(
    data: bytes,
    tensor: Callable[[str, str], torch.Tensor],
    rebuilder: Rebuilder,
) -> Any:
    """The object back; `tensor(part, name)` gives its tensors. Runs what the bytes say: only for trusted files."""
    return _Unpickler(io.BytesIO(data), tensor, rebuilder).load()


class _Pickler(pickle.Pickler):
    def __init__(self, buffer: io.BytesIO, model: Model, state: State, recording: Recording) -> None:
        super().__init__(buffer, protocol=4)
        self.extra: dict[str, torch.Tensor] = {}
        self._state = state
        self._recording = recording
        self._own_names: dict[int, str] = {}
        self._keep: list[Any] = []
        self._references: dict[Any, tuple[Any, ...] | None] = {}
        self._paths: dict[int, str] = {}
        self._hints: dict[int, str] = {}
        for prefix, module in parts_of(model):
            for path, child in module.named_modules():
                self._paths[id(child)] = f"{prefix}{path}." if path else prefix
            for name, tensor in module.named_buffers(remove_duplicate=False):
                self._hints.setdefault(id(tensor), prefix + name)

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) in _NO_REFERENCE:  # nearly all that is asked, and training waits
            return None
        if isinstance(obj, torch.Tensor):
            return self._tensor(obj)
        if isinstance(obj, (type, FunctionType)):
            if obj not in self._references:
                found = self._recording.reference(obj)
                self._references[obj] = ("code", *found) if found else None
            return self._references[obj]
        if isinstance(obj, torch.jit.ScriptModule):
            return ("script", _script_bytes(obj), self._paths.get(id(obj), ""))
        return None

    def reducer_override(self, obj: Any) -> Any:
        reduced: _Reduced
        if type(obj) is OrderedDict and not obj and not vars(obj):
            reduced = (OrderedDict, ())  # as it says itself, but slowly; a module has a dozen of them
        elif type(obj) not in _NO_REFERENCE and isinstance(obj, nn.Module) and (inner := unwrap(obj)) is not obj:
            reduced = (operator.getitem, ([inner], 0))
        else:
            return NotImplemented
        return reduced

    def _tensor(self, tensor: torch.Tensor) -> Any:
        if type(tensor) not in (torch.Tensor, nn.Parameter):
            return None
        self._keep.append(tensor)  # an id names an object only while it lives
        part, name = "state_dict", self._state.name_of(tensor)
        if name is None:
            part, name = "module_tensors", self._own_names.get(id(tensor))
            if name is None:
                name = self._hints.get(id(tensor), "tensor")
                name = name if name not in self.extra else f"{name}#{len(self.extra)}"
                self._own_names[id(tensor)] = name
                self.extra[name] = tensor
        notes = {key: value for key, value in vars(tensor).items() if isinstance(value, (bool, int, float, str))}
        is_parameter = type(tensor) is nn.Parameter or isinstance(tensor, nn.Parameter)
        return ("tensor", part, name, is_parameter, tensor.requires_grad and tensor.is_leaf, notes)


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        buffer: io.BytesIO,
        tensor: Callable[[str, str], torch.Tensor],
        rebuilder: Rebuilder,
    ) -> None:
        super().__init__(buffer)
        self._read = tensor
        self._rebuilder = rebuilder
        self._made: dict[tuple[str, str], torch.Tensor] = {}

    def persistent_load(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind == "tensor":
            return self._tensor(*rest)
        if kind == "code":
            return self._rebuilder.resolve(*rest)
        if kind == "script":
            return self._script(*rest)
        raise pickle.UnpicklingError(f"unknown reference {kind!r}: saved by a newer hypertuner?")

    def _tensor(self, part: str, name: str, is_parameter: bool, requires_grad: bool, notes: dict[str, Any]) -> Any:
        made = self._made.get((part, name))
        if made is None:
            made = self._read(part, name)
            if is_parameter:
                made = nn.Parameter(made, requires_grad)
            elif requires_grad:
                made.requires_grad_()
            for key, value in notes.items():
                setattr(made, key, value)
            self._made[part, name] = made
        return made

    def _script(self, data: bytes, prefix: str) -> Any:
        with _no_deprecations():
            script = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]  # untyped in torch
        for tensors in (script.named_parameters(), script.named_buffers()):
            for name, tensor in tensors:
                tensor.data = self._read("state_dict", prefix + name)
        return script


@contextlib.contextmanager
def _no_deprecations() -> Iterator[None]:
    """That TorchScript is on its way out is for whoever scripts a module to know, not for whoever saves one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _script_bytes(script: torch.jit.ScriptModule) -> bytes:
    """A TorchScript module without its weights, which the state holds already."""
    bare = copy.deepcopy(script)
    for tensor in (*bare.parameters(), *bare.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype)
    buffer = io.BytesIO()
    with _no_deprecations():
        torch.jit.save(bare, buffer)
    return buffer.getvalue()
