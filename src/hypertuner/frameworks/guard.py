"""Watching a run that begins from a parent's weights, or is resumed, from before its first optimizer step."""

from __future__ import annotations

from hypertuner.errors import HypertunerError
from hypertuner.frameworks.adapter import torch_adapter
from hypertuner.store import current
from hypertuner.store.active import ActiveRun


def guard_parent(active: ActiveRun | None = None) -> None:
    """Watch the run (the current one when None) if it begins from a parent or is resumed; nothing happens otherwise."""
    try:
        active = active or current.run()
        begins_from = active.begins_from
    except HypertunerError:
        return  # `import hypertuner` raises nothing: the call that needs the run will say what is wrong with it
    if begins_from is not None and active.restores:
        torch_adapter().guard(active, None, None)
