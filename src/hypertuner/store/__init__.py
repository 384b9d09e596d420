"""The run store: folders of plain files, which are the truth. No lock, server or database."""

from hypertuner.store.attempt import Attempt, CheckpointFile, RunState
from hypertuner.store.run import Run
from hypertuner.store.storage import Storage

__all__ = ["Attempt", "CheckpointFile", "Run", "RunState", "Storage"]
