"""What torch's rebuilding functions mean, without calling them: which row of the table a call stands for.

Owns the stubs that a pickle is read into, and the walk over them that finds the tensors and gives them their names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hypertuner.checkpoint.format.table import ITEM_BYTES, MOST_DIMENSIONS, MOST_TENSORS, TensorRow
from hypertuner.errors import CorruptFileError

MOST_REPEATS = 300_000  # of a walk that sees shared containers under each of their names
MOST_LEVELS = 1000  # of containers in containers; what lies deeper is no weight of a model
MOST_NAME_BYTES = 64 * 1024 * 1024

STORAGE_DTYPES: Mapping[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "untyped",  # counts bytes; the tensor's own record names its dtype
}


class ImpossibleTensorError(Exception):
    """A tensor described as no tensor can be."""


class Global:
    """The name of something that running the pickle would import."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.module}.{self.name}>"


class Object:
    """A record of a call that running the pickle would make, and of what would be put into its result."""

    __slots__ = ("arguments", "callee", "elements", "entries", "state")

    def __init__(self, callee: Any, arguments: tuple[Any, ...], elements: list[Any] | None = None) -> None:
        self.callee = callee
        self.arguments = arguments
        self.state: Any = None
        self.entries: dict[Any, Any] | None = None
        self.elements = elements


_CONTAINERS = (dict, OrderedDict, list, tuple, Object)


class Storage(NamedTuple):
    """A storage that the file holds: `numel` elements of `dtype` in the member `data/<key>`."""

    dtype: str
    key: str
    location: str
    numel: int


def call(callee: Global, arguments: tuple[Any, ...]) -> Any:
    """What a call of a global stands for: a tensor's row, a plain container, or an Object that only records it.

    Raises: ImpossibleTensorError.
    """
    known = _CALLS.get((callee.module, callee.name))
    if known is not None:
        result = known(callee, arguments)
        if result is not None:
            return result
    elif callee.module == "torch._utils" and callee.name.startswith("_rebuild_"):
        return _other(arguments)
    return Object(callee, arguments)


def persistent(tag: object) -> Any:
    """The stub for a storage that lies beside the pickle.

    Raises: ImpossibleTensorError.
    """
    if type(tag) is tuple and len(tag) >= 5 and tag[0] == "storage":
        _, kind, key, location, count = tag[:5]
        if isinstance(kind, Global) and type(key) is str and type(location) is str and type(count) is int:
            dtype = STORAGE_DTYPES.get(kind.name, "")
            if count >= 0:
                return Storage(dtype, key, location, count)
        raise ImpossibleTensorError("a storage that is not described as torch does")
    if type(tag) is tuple and len(tag) >= 2 and tag[0] == "module":  # torch before 1.6: a class and its source
        return tag[1]
    return Object("persistent", (tag,))


def _sizes(value: object) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > MOST_DIMENSIONS:
        raise ImpossibleTensorError("a tensor whose shape or stride is no short tuple")
    for size in value:
        _count(size)
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ImpossibleTensorError("a tensor with a size, stride or offset that is no whole number of 0 or more")
    return value


def _dtype(value: object) -> str:
    return value.name if isinstance(value, Global) and value.module == "torch" else "unknown"


def _view(kind: str, arguments: tuple[Any, ...], dtype: str | None = None) -> TensorRow:
    storage, offset, shape, stride = arguments[:4] if len(arguments) >= 4 else (None,) * 4
    if type(storage) is not Storage:
        raise ImpossibleTensorError("a tensor that is a view of no storage")
    shape, stride = _sizes(shape), _sizes(stride)
    if len(shape) != len(stride):
        raise ImpossibleTensorError("a tensor whose shape and stride differ in length")
    dtype = storage.dtype if dtype is None else dtype
    # A type that is new to us is torch's to read.
    return TensorRow(kind if dtype in ITEM_BYTES else "other", storage.key, dtype, shape, stride, _count(offset))


def _tensor_v2(callee: Global, arguments: tuple[Any, ...]) -> TensorRow:
    # The seventh argument says that the bytes are to be conjugated or negated: true of no bytes as they lie.
    return _view("other" if len(arguments) > 6 and arguments[6] else "strided", arguments)


def _tensor_v3(callee: Global, arguments: tuple[Any, ...]) -> TensorRow:
    if len(arguments) < 7:
        raise ImpossibleTensorError("a tensor without a dtype")
    return _view("other" if len(arguments) > 7 and arguments[7] else "strided", arguments, _dtype(arguments[6]))


def _quantized(callee: Global, arguments: tuple[Any, ...]) -> TensorRow:
    return _view("quantized", arguments)


def _sparse(callee: Global, arguments: tuple[Any, ...]) -> TensorRow:
    layout, parts = arguments if len(arguments) == 2 else (None, None)
    if type(parts) is not tuple or len(parts) < 3:
        raise ImpossibleTensorError("a sparse tensor without its parts")
    named = layout.arguments[0] if isinstance(layout, Object) and layout.arguments else None
    kind = {"torch.sparse_coo": "sparse_coo", "torch.sparse_csr": "sparse_csr"}.get(named if type(named) is str else "")
    values, shape = (parts[1], parts[2]) if kind == "sparse_coo" else (parts[2], parts[-1])
    return TensorRow(
        kind or "other", None, values.dtype if type(values) is TensorRow else "unknown", _sizes(shape), (), 0
    )


def _meta(callee: Global, arguments: tuple[Any, ...]) -> TensorRow:
    if len(arguments) < 3:
        raise ImpossibleTensorError("a tensor without a shape")
    return TensorRow("other", None, _dtype(arguments[0]), _sizes(arguments[1]), _sizes(arguments[2]), 0)


def _wrapper(callee: Global, arguments: tuple[Any, ...]) -> TensorRow:
    return _meta(callee, arguments[1:])


def _parameter(callee: Global, arguments: tuple[Any, ...]) -> TensorRow | None:
    return arguments[0] if arguments and type(arguments[0]) is TensorRow else None


def _from_type(callee: Global, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) < 3 or not isinstance(arguments[0], Global) or type(arguments[2]) is not tuple:
        return None
    if arguments[0].name.startswith("_rebuild_from_type"):  # no pickler nests them, and a nest could be deep
        raise ImpossibleTensorError("a tensor that is made of its own making")
    row = call(arguments[0], arguments[2])
    if type(row) is not TensorRow:
        return None
    kind = arguments[1]
    plain = (
        isinstance(kind, Global) and kind.module.startswith("torch") and kind.name in ("Tensor", "Parameter", "Buffer")
    )
    return row if plain else row._replace(kind="other")


def _other(arguments: tuple[Any, ...]) -> TensorRow:
    """A tensor of a sort that only torch reads; what it is made of tells its dtype where anything does."""
    first = arguments[0] if arguments else None
    if type(first) is TensorRow:
        return TensorRow("other", None, first.dtype, first.shape, (), 0)
    return TensorRow("other", None, "unknown", (), (), 0)


def _ordered_dict(callee: Global, arguments: tuple[Any, ...]) -> dict[Any, Any] | None:
    return {} if not arguments else None


def _size(callee: Global, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return arguments[0] if len(arguments) == 1 and type(arguments[0]) is tuple else None


def _empty_bytes(callee: Global, arguments: tuple[Any, ...]) -> bytes | None:
    return b"" if not arguments else None


_Meaning = Callable[[Global, tuple[Any, ...]], Any]
_CALLS: dict[tuple[str, str], _Meaning] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _size,
    ("__builtin__", "bytes"): _empty_bytes,
    ("builtins", "bytes"): _empty_bytes,
    ("torch._utils", "_rebuild_tensor"): _tensor_v2,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_qtensor"): _quantized,
    ("torch._utils", "_rebuild_sparse_tensor"): _sparse,
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _meta,
    ("torch._utils", "_rebuild_wrapper_subclass"): _wrapper,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type"): _from_type,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
}


def tensors_in(root: Any, where: str) -> dict[str, dict[str, TensorRow]]:
    """The tensors under `root` by part and name.

    A part is a key of the document `root`; a name is the path below it, joined with '.'. Tensors that lie directly
    in the document are the part 'state_dict' where no part holds any (a plain state_dict, or a whole module), else
    the part ''. Of a module, the names are those that its state_dict() would have.

    Raises: CorruptFileError where that takes more than bearable.
    """
    try:
        return _by_part(root, _walk(root, once=False))
    except _TooMuchError:
        pass
    # Objects that know one another are a maze: there, what was seen under one name is not looked for under others.
    try:
        return _by_part(root, _walk(root, once=True))
    except _TooMuchError:
        raise CorruptFileError(
            f"{where}: it names more than {MOST_TENSORS:,} tensors, or takes more than {MOST_NAME_BYTES:,} bytes to "
            "name them, which no real model does.\n  Do not use it unless you know what wrote it, and why.",
            path=Path(where),
        ) from None


class _TooMuchError(Exception):
    """The walk over the containers has passed one of its bounds."""


def _by_part(root: Any, found: Iterator[tuple[list[str], TensorRow]]) -> dict[str, dict[str, TensorRow]]:
    parts: dict[str, dict[str, TensorRow]] = {}
    loose: dict[str, TensorRow] = {}
    for count, (path, row) in enumerate(found):
        if count >= MOST_TENSORS:
            raise _TooMuchError
        is_part = type(root) is dict and len(path) > 1
        rows = parts.setdefault(path[0], {}) if is_part else loose
        name = ".".join(path[1:] if is_part else path)
        free, number = name, 1
        while free in rows:  # {"a": {"b": t}, "a.b": u}: none may hide the other
            number += 1
            free = f"{name}#{number}"
        rows[free] = row
    if loose:
        parts["" if parts else "state_dict"] = loose
    return parts


def _walk(root: Any, *, once: bool) -> Iterator[tuple[list[str], TensorRow]]:
    """Every tensor with its path, under each of its names or, with `once`, under its container's first."""
    if type(root) is TensorRow:
        yield ["tensor"], root
        return
    path: list[str] = []
    around: set[int] = {id(root)}
    seen: set[int] = {id(root)}
    levels: list[tuple[int, Iterator[tuple[str, Any]]]] = [(id(root), _children(root))]
    repeats = name_bytes = length = 0
    while levels:
        identity, children = levels[-1]
        for name, value in children:
            if type(value) is TensorRow:
                name_bytes += length + len(path) + len(name)
                yield _as_in_state_dict([*path, name]), value
            elif type(value) in _CONTAINERS and value and id(value) not in (seen if once else around):
                if len(levels) < MOST_LEVELS:
                    if id(value) in seen:
                        repeats += 8 if type(value) is Object else 1 + len(value)
                    path.append(name)
                    length += len(name)
                    around.add(id(value))
                    seen.add(id(value))
                    levels.append((id(value), _children(value)))
                    break
                if not once:
                    raise _TooMuchError
        else:
            levels.pop()
            around.discard(identity)
            if path:
                length -= len(path.pop())
        if name_bytes > MOST_NAME_BYTES or repeats > MOST_REPEATS:
            raise _TooMuchError


def _as_in_state_dict(path: list[str]) -> list[str]:
    """A path without the steps that lead into a module: its state, '', and the dicts there."""
    if "" not in path:
        return path
    inside = ("_modules", "_parameters", "_buffers")
    return [part for before, part in zip(["-", *path], path, strict=False) if part and (before or part not in inside)]


def _children(container: Any) -> Iterator[tuple[str, Any]]:
    if type(container) in (dict, OrderedDict):
        for key, value in container.items():
            yield _named(key), value
    elif type(container) in (list, tuple):
        for place, value in enumerate(container):
            yield str(place), value
    elif type(container) is Object:
        yield "", container.state
        for held in (container.entries, container.elements):
            if held is not None:
                yield from _children(held)
        yield from _children(container.arguments)


def _named(key: object) -> str:
    """A short name for a key; a tuple of plain values is spelled out."""
    if type(key) is str:
        return key
    value = key.arguments[0] if type(key) is Object and key.callee == "key" else key
    if type(value) is tuple and len(value) <= 8:
        return ",".join(_named(item) for item in value if type(item) in (str, int))
    if type(value) is int and value.bit_length() < 256:
        return repr(value)
    return str(value)[:200] if value is None or type(value) in (bytes, bool, float) else "?"
