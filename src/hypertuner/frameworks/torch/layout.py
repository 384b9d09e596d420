"""The layout of the file that torch.save would write, without the bytes of the storages."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from hypertuner.checkpoint.format.image import Image
from hypertuner.checkpoint.format.streaming import LayoutError

_STORAGES = (torch.storage.TypedStorage, torch.UntypedStorage)


def layout(document: Any) -> tuple[Image, dict[str, torch.UntypedStorage]]:
    """The file that `torch.save(document)` writes, with gaps, and the storage whose bytes belong into each, by its key.

    Raises: LayoutError where this torch does not tell, or the document holds what it cannot lay out (quantised
    tensors); what pickling raises.
    """
    skip_data = getattr(torch.serialization, "skip_data", None)
    if skip_data is None:
        raise LayoutError(f"torch {torch.__version__} cannot leave out the data")
    image = Image()
    found: dict[str, torch.UntypedStorage] = {}
    with _refusals(), skip_data():
        torch.save(document, image, pickle_module=_watching(found))  # type: ignore[arg-type]  # it writes and seeks
    if any(storage.device.type != "cpu" for storage in found.values()):
        raise LayoutError("a storage is not on the CPU")
    return image, found


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        # torch says no in as many ways; what is wrong with the document itself, plain torch.save says again.
        raise LayoutError(str(error)) from error


def _watching(found: dict[str, torch.UntypedStorage]) -> ModuleType:
    """The pickle module for torch.save, which notes the storage behind every key that torch gives.

    torch makes its pickler a subclass of the module's, with a `persistent_id` that names storages.
    """

    class Pickler(pickle.Pickler):
        def __init_subclass__(cls, **keywords: Any) -> None:
            super().__init_subclass__(**keywords)
            named = cls.persistent_id

            def persistent_id(self: Any, thing: Any) -> Any:
                if not isinstance(thing, _STORAGES):  # nearly all that is asked
                    return None
                name = named(self, thing)
                if isinstance(name, tuple) and name[0] == "storage":
                    storage = thing._untyped_storage if isinstance(thing, torch.storage.TypedStorage) else thing
                    found.setdefault(name[2], storage)
                return name

            cls.persistent_id = persistent_id  # type: ignore[method-assign]  # the one place where torch can be asked

    module = ModuleType("pickle")
    module.__dict__.update({name: value for name, value in vars(pickle).items() if not name.startswith("__")})
    module.__dict__["Pickler"] = Pickler
    return module
