"""The bridge to a framework, as the floors above see it: a model in, a file out, and back.

`torch_adapter` gives PyTorch's; `loaded_adapters` those whose framework the process has imported. The code of a bridge
is imported only then.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hypertuner import files
from hypertuner.checkpoint.format.archive import Archive, Verify
from hypertuner.checkpoint.report import LoadReport
from hypertuner.checkpoint.selection import EVERYTHING, Selection
from hypertuner.errors import MissingExtraError
from hypertuner.frameworks.restored import Restored


class Captured(Protocol):
    """What a checkpoint will hold; `release` it once."""

    def about(self) -> dict[str, Any]:
        """What the index says of it besides what the bytes say."""
        ...

    def write(self, file: files.NewFile, header: Mapping[str, Any], key: bytes | None) -> None:
        """Write a complete checkpoint file, with its index and seal; `key` leaves the user's mark."""
        ...

    def release(self) -> None:
        """Give its memory back."""
        ...


class Adapter(Protocol):
    """What every framework's bridge can do."""

    name: str

    def take(self, model: Any, scopes: Sequence[Mapping[str, Any]] = ()) -> Any:
        """The model without wrappers; without one, the one model that the scopes hold, or None.

        TypeError for what is no model of this framework; CheckpointError when the scopes hold several.
        """
        ...

    def settings(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """How the parts of the training state are set up; asked before anything moves them, for a later fork."""
        ...

    def prepare(self, model: Any) -> None:
        """Have memory ready for the first capture that copies, without keeping the script waiting."""
        ...

    def capture(
        self,
        model: Any,
        document: Mapping[str, Any],
        training: Mapping[str, Any],
        first_settings: Mapping[str, Any],
        others: Sequence[bytes | None] = (),
        *,
        copy: bool = False,
    ) -> Captured:
        """What a checkpoint holds, as it is now; with `copy`, whatever training changes from here on.

        `first_settings` is what `settings` gave when the Saver was made, `others` what `rank_state` gave on ranks
        1, 2, …; None for one that is not known.
        """
        ...

    def rank_state(self, training: Mapping[str, Any]) -> bytes:
        """What differs between the ranks of one training: random states and data position of this one."""
        ...

    def read(
        self,
        archive: Archive,
        *,
        trusted: bool,
        device: Any = None,
        weights: bool = False,
        selection: Selection = EVERYTHING,
        verify: Verify = "index",
        pin_memory: bool = False,
    ) -> Any:
        """The model object; with `weights`, the tensors by name, those selected. UnsafeFileError when it needs trust.

        `verify` says how much is checked first: CorruptFileError.
        """
        ...

    def fill(
        self,
        model: Any,
        archive: Archive,
        *,
        strict: bool,
        trusted: bool,
        selection: Selection = EVERYTHING,
        verify: Verify = "index",
        device: Any = None,
    ) -> LoadReport:
        """Put a file's weights, or those selected, into a model. MismatchError, with nothing changed, for a misfit.

        `device` is where a model goes that has no memory yet.
        """
        ...

    def restore(
        self, model: Any, training: Mapping[str, Any], archive: Archive, *, fork: bool, trusted: bool
    ) -> Restored:
        """Put a checkpoint into a model and its training state: all as it was, or by the rules of a fork.

        CorruptFileError, with nothing changed, unless every byte of the file is as it was written.
        """
        ...

    def thin(self, path: Path) -> None:
        """Take the training state out of a checkpoint file, atomically; all else stays as it was, its trust too.

        CorruptFileError, with the file as it was, for one that is damaged; nothing happens to one without any.
        """
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
