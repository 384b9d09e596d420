"""Which of several processes of one training this is: rank 0 writes, all restore.

torchrun and its kin say so in the environment; a process group that was set up by hand is asked.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType


def rank() -> int:
    """This process's number among those that train together; 0 when it trains alone."""
    group = _process_group()
    if group is not None:
        return int(group.get_rank())
    text = os.environ.get("RANK", "")
    return int(text) if text.isdecimal() else 0


def world_size() -> int:
    """How many processes train together; 1 when this one trains alone."""
    group = _process_group()
    if group is not None:
        return int(group.get_world_size())
    text = os.environ.get("WORLD_SIZE", "")
    return int(text) if text.isdecimal() else 1


def _process_group() -> ModuleType | None:
    # By its name: a script that trains in several processes has imported it, and nobody else pays for it.
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed
    return None
