"""Reads, quickly, a pickle that this very process has just made: into the stubs that `pickles` makes of any.

Python's own reader does the work, ten times as fast, and nothing is imported or called by its name all the same. But it
is no reader for files: it takes whatever time and memory a pickle asks for.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import Any

from hypertuner.checkpoint.format import pickles, stubs
from hypertuner.checkpoint.format.stubs import Global, ImpossibleTensorError


def root_of(data: bytes, where: str) -> Any:
    """What `pickles.read` gives as the root, with an OrderedDict where it gives a dict.

    Raises: CorruptFileError, as it does.
    """
    try:
        return _Reader(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, AttributeError, TypeError, ImpossibleTensorError):
        # Holds what the stubs are no place for: state, items of objects.
        return pickles.read(data, where, most_operations=pickles.MOST_OPERATIONS_OF_OURS).root


class _Called(Global):
    """A name that may be called: what `stubs` says that the call stands for."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return stubs.call(self, arguments)


def _bytes(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict  # takes the state that torch gives it
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        return _Called(module, name)

    def persistent_load(self, tag: Any) -> Any:
        return stubs.persistent(tag)
