"""Reads torch files of other programs without running anything in them: objects come as inert stand-ins.

torch's safe reader takes a class for each name that a file mentions. It is given one made here, which keeps what the
file says of its object and does nothing; NumPy's plain numbers are decoded.
"""

from __future__ import annotations

import _compat_pickle  # part of the standard library, and what torch's reader goes by
import pickle
import struct
from pathlib import Path
from typing import Any

import torch

from hypertuner.checkpoint.format.archive import open_model
from hypertuner.errors import CorruptFileError, UnsafeFileError
from hypertuner.frameworks.torch import reading


class Standin:
    """In the place of an object of a file: what the file says of it, and no code."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Standin:  # noqa: D102  # as object's
        made = super().__new__(cls)
        made.__dict__["arguments"] = arguments
        made.__dict__["state"] = None
        return made

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state


def _standin(name: str) -> type[Standin]:
    module, _, last = name.rpartition(".")
    return type(last, (Standin,), {"__module__": module, "__qualname__": last})


def _encode(text: str, encoding: str) -> bytes:
    """As `_codecs.encode`, by which NumPy's pickles spell bytes."""
    return text.encode("latin1" if encoding == "latin1" else "utf-8")


def _scalar(kind: Any, data: Any = b"") -> Any:
    """A number that NumPy pickled: of its plain kinds only."""
    code = kind.arguments[0] if isinstance(kind, Standin) and kind.arguments else ""
    order = ">" if isinstance(kind.state, tuple) and ">" in kind.state[:2] else "<"
    form = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "b1": "?"} | {
        "u8": "Q", "u4": "I", "u2": "H", "u1": "B",
    }  # fmt: skip
    if code not in form or not isinstance(data, bytes):
        return None
    return struct.unpack(order + form[code], data)[0]


_OURS: dict[str, Any] = {
    "_codecs.encode": _encode,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}


def load(path: Path, trust: bool) -> Any:
    """The document in a torch file, with stand-ins for its objects; with `trust`, with its objects."""
    with open_model(path) as archive:
        if trust:
            return reading.load_objects(archive)
        if archive.kind not in ("torch", "torch-legacy"):
            raise reading.refusal(path, archive.globals)
        names = archive.globals
    here = map(_in_python_3, names)
    allowed: list[Any] = [(_OURS.get(name) or _standin(name), name) for name in here]
    try:
        with torch.serialization.safe_globals(allowed):
            # Mapped: of a large file only what is looked at is read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive.kind == "torch")
    except pickle.UnpicklingError as error:
        raise reading.refusal(path, names) from error
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CorruptFileError(f"{path} cannot be read as a torch file: {first}", path=path) from error


def _in_python_3(name: str) -> str:
    """The name by which torch asks for what a pickle of protocol 2 calls by its name in Python 2."""
    module, _, last = name.rpartition(".")
    if (module, last) in _compat_pickle.NAME_MAPPING:
        return ".".join(_compat_pickle.NAME_MAPPING[module, last])
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{last}"


def refusal(path: Path) -> UnsafeFileError:
    """The refusal of a file whose weights are in objects, with what it would import."""
    with open_model(path) as archive:
        return reading.refusal(path, archive.globals)
