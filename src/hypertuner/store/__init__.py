"""The run store: folders of plain files, which are the truth. No lock, server or database."""

from hypertuner.store.run import Attempt, CheckpointFile, Run, RunState
from hypertuner.store.storage import Storage

__all__ = ["Attempt", "CheckpointFile", "Run", "RunState", "Storage"]
