"""The bridge to a framework, as the floors above see it: a model in, a file out, and back.

`adapter_of` gives the adapter of a model or of a file; each framework's own code is imported only then.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from hypertuner.checkpoint.format.archive import Archive
from hypertuner.checkpoint.report import LoadReport
from hypertuner.errors import MissingExtraError


class Adapter(Protocol):
    """What every framework's bridge can do."""

    name: str

    def check(self, model: Any) -> Any:
        """The model without wrappers. TypeError for what is no model of this framework."""
        ...

    def find(self, scopes: list[Mapping[str, Any]]) -> Any:
        """The one model that a script trains, or None; CheckpointError when there are several."""
        ...

    def write(self, file: io.RawIOBase, model: Any, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write a complete checkpoint file but for its index; what the index needs to know besides."""
        ...

    def read(self, archive: Archive, *, trusted: bool, device: Any = None, weights: bool = False) -> Any:
        """The model object; with `weights`, the tensors by name. UnsafeFileError when it needs trust."""
        ...

    def fill(self, model: Any, archive: Archive, *, strict: bool, trusted: bool) -> LoadReport:
        """Put a file's weights into a model. MismatchError, with nothing changed, when they do not fit."""
        ...

    def guard(self, active: Any, filled: Any, report: LoadReport | None) -> None:
        """Stop a run with a parent that would train without its weights; `filled` is the model that has them."""
        ...


def torch_adapter() -> Adapter:
    """The bridge to PyTorch. MissingExtraError when torch is not installed."""
    try:
        from hypertuner.frameworks.torch.adapter import TorchAdapter
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("PyTorch", "torch", "Saving and loading models") from error
    return TorchAdapter()


def loaded_adapters() -> list[Adapter]:
    """The adapters of the frameworks that this process has imported already."""
    return [torch_adapter()] if "torch" in sys.modules else []
