"""Guards for a run that begins from a parent's weights, or is resumed: it trains from them, or it stops.

Two things would train from scratch in silence: an optimizer step before the weights were put into the model, and
something that overwrites them afterwards. Both are looked for at the first optimizer step, in the hook that torch
calls before any optimizer's step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hypertuner.errors import CheckpointError
from hypertuner.store import current

_SAMPLES = 16
_hook: Any = None


def watch() -> None:
    """Check, at the first optimizer step of every run with a parent, that its weights are in the model."""
    global _hook
    if _hook is None:
        _hook = register_optimizer_step_pre_hook(_before_step)


class Fingerprint:
    """A few values of each parameter that came from the parent, to see whether they are still there."""

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self._parameters = dict(parameters)
        self._values = {name: _sample(tensor) for name, tensor in self._parameters.items()}

    def overwritten(self) -> list[str]:
        """Names whose values changed; a move to another device or dtype is no change."""
        changed = []
        for name, tensor in self._parameters.items():
            now = _sample(tensor)
            before = self._values[name].to(now.dtype)
            if before.shape != now.shape or not torch.equal(before.nan_to_num(), now.nan_to_num()):
                changed.append(name)
        return changed


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    step = max(1, flat.numel() // _SAMPLES)
    return flat[::step][:_SAMPLES].to("cpu", copy=True)


def _before_step(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    active = current.run()
    if active.begins_from is None or active.claims.get("parent checked") or not active.restores:
        return
    if not active.parent_is_loaded:
        raise CheckpointError(
            f"This run {active.begins_from}, but its first optimizer step comes before any Saver took the "
            "weights: it would train from scratch.\n"
            "  Make the Saver before the training loop, right after the model: "
            "saver = hypertuner.Saver(net)."
        )
    fingerprint = active.claims.get("parent fingerprint")
    if isinstance(fingerprint, Fingerprint) and (changed := fingerprint.overwritten()):
        raise CheckpointError(
            f"This run {active.begins_from}, but its weights were overwritten before the first optimizer step: "
            f"{', '.join(changed[:4])}{f' and {len(changed) - 4} more' if len(changed) > 4 else ''}.\n"
            "  Something initialises or loads the model after the Saver is made: move that line above "
            "saver = hypertuner.Saver(net)."
        )
    active.claims["parent checked"] = True
    active.claims.pop("parent fingerprint", None)
