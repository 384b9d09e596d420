"""Save every model together with the configuration that made it; start the next run from the best one's weights.

    args = hypertuner.Args(learning_rate=0.1, epochs=10)
    saver = hypertuner.Saver(net)
    logger = hypertuner.Logger()
    logger.log({"loss": loss}, step)
    saver.save()                                  # ./storage/<run>/model.pt
    net = hypertuner.load("brave-otter@best")

Importing it imports neither torch nor numpy: what needs them is imported when it is used.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# Now, not when it is first asked: the storage is found from the folder that hypertuner was imported in, and a script
# (or Hydra) may go elsewhere before its first call.
import hypertuner.settings  # noqa: F401

if TYPE_CHECKING:
    from hypertuner.args import Args, new_run
    from hypertuner.checkpoint.commit import Checkpoint
    from hypertuner.checkpoint.format.archive import inspect
    from hypertuner.checkpoint.report import LoadReport
    from hypertuner.errors import (
        CheckpointError,
        CheckpointNotFoundError,
        ConfigError,
        CorruptFileError,
        HypertunerError,
        MismatchError,
        MissingExtraError,
        QueryError,
        QueueError,
        RunExistsError,
        RunNotFoundError,
        StorageError,
        StorageFullError,
        UnsafeFileError,
    )
    from hypertuner.frameworks.loading import load
    from hypertuner.index.runs import runs
    from hypertuner.logger import Logger
    from hypertuner.saver import Saver
    from hypertuner.store.media import Histogram, Image, Text

__version__ = "2.0.0.dev0"

_HOME = {
    "Args": "args",
    "new_run": "args",
    "Logger": "logger",
    "Saver": "saver",
    "load": "frameworks.loading",
    "Checkpoint": "checkpoint.commit",
    "LoadReport": "checkpoint.report",
    "inspect": "checkpoint.format.archive",
    "runs": "index.runs",
    "Image": "store.media",
    "Text": "store.media",
    "Histogram": "store.media",
    "HypertunerError": "errors",
    "ConfigError": "errors",
    "StorageError": "errors",
    "RunNotFoundError": "errors",
    "RunExistsError": "errors",
    "StorageFullError": "errors",
    "CorruptFileError": "errors",
    "CheckpointError": "errors",
    "CheckpointNotFoundError": "errors",
    "MismatchError": "errors",
    "UnsafeFileError": "errors",
    "QueueError": "errors",
    "QueryError": "errors",
    "MissingExtraError": "errors",
}

__all__ = [
    "Args",
    "Checkpoint",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ConfigError",
    "CorruptFileError",
    "Histogram",
    "HypertunerError",
    "Image",
    "LoadReport",
    "Logger",
    "MismatchError",
    "MissingExtraError",
    "QueryError",
    "QueueError",
    "RunExistsError",
    "RunNotFoundError",
    "Saver",
    "StorageError",
    "StorageFullError",
    "Text",
    "UnsafeFileError",
    "__version__",
    "inspect",
    "load",
    "new_run",
    "runs",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'hypertuner' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hypertuner.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _guard_parent() -> None:
    """Watch a run that begins from a parent's weights from here on: its first step may come before any Saver."""
    if "HYPERTUNER_RUN" in os.environ or any(argument.startswith("--config") for argument in sys.argv):
        from hypertuner.frameworks.guard import guard_parent

        guard_parent()


_guard_parent()
