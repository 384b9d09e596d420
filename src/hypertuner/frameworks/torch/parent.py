"""Guards for a run that begins from a parent's weights, or is resumed: it trains from them, or it stops.

Two things would train from scratch in silence: an optimizer step before the weights were put into the model, and
something that overwrites them afterwards. Both are looked for at the first optimizer step, in the hook that torch
calls before any optimizer's step. A rank that finds one stops the others too: alone it would leave them waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from hypertuner.errors import CheckpointError
from hypertuner.store import board, current, ranks
from hypertuner.store.active import ActiveRun
from hypertuner.store.together import FAILED

_SAMPLES = 16
_WORD = "begins"
_PATIENCE_S = 10.0
_hook: Any = None
_count_hook: Any = None
_steps = 0


def watch() -> None:
    """Check, at the first optimizer step of every run with a parent, that its weights are in the model."""
    global _hook
    if _hook is None:
        _hook = register_optimizer_step_pre_hook(_before_step)


def until_first_step(act: Callable[[], object]) -> Callable[[], None]:
    """`act` for as long as no optimizer has stepped from now on; afterwards a call does nothing."""
    global _count_hook
    if _count_hook is None:
        # It stays: a hook that takes itself away breaks the loop over the hooks that torch is in.
        _count_hook = register_optimizer_step_pre_hook(_count_step)
    before = _steps

    def until_then() -> None:
        if _steps == before:
            act()

    return until_then


def _count_step(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    global _steps
    _steps += 1


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
    begins = active.begins_from
    if begins is None or active.claims.get("parent checked") or not active.restores:
        return
    if problem := _problem(active, begins):
        board.tell(active.together.key(f"{_WORD}/{ranks.rank()}"), b"!" + problem.encode())
        raise CheckpointError(problem)
    if ranks.world_size() > 1:
        say_loaded(active)
        _check_others(active)
    active.claims["parent checked"] = True
    active.claims.pop("parent fingerprint", None)


def _problem(active: ActiveRun, begins: str) -> str | None:
    if not active.parent_is_loaded:
        where = f" On rank {ranks.rank()}:" if ranks.world_size() > 1 else ""
        on_all = ", on every rank (only rank 0 writes)" if ranks.world_size() > 1 else ""
        return (
            f"This run {begins}, but its first optimizer step comes before any Saver took the "
            f"weights: it would train from scratch.\n {where} Make the Saver before the training loop, right after "
            f"the model{on_all}: saver = hypertuner.Saver(net)."
        )
    fingerprint = active.claims.get("parent fingerprint")
    if isinstance(fingerprint, Fingerprint) and (changed := fingerprint.overwritten()):
        return (
            f"This run {begins}, but its weights were overwritten before the first optimizer step: "
            f"{', '.join(changed[:4])}{f' and {len(changed) - 4} more' if len(changed) > 4 else ''}.\n"
            "  Something initialises or loads the model after the Saver is made: move that line above "
            "saver = hypertuner.Saver(net)."
        )
    return None


def say_loaded(active: ActiveRun) -> None:
    """Let the other ranks know that this one begins from the checkpoint."""
    if ranks.world_size() > 1:
        board.tell(active.together.key(f"{_WORD}/{ranks.rank()}"), b"loaded")


def _check_others(active: ActiveRun) -> None:
    """CheckpointError when another rank found that it begins from nothing; a rank that says nothing is passed over.

    No barrier: in a training that shares gradients every rank has made its Saver, or found that it has none, by the
    time of the first step; where ranks step apart, one does not wait long for the others.
    """
    keys = {active.together.key(f"{_WORD}/{rank}"): rank for rank in range(ranks.world_size()) if rank != ranks.rank()}
    for key, word in board.wait(keys, _PATIENCE_S).items():
        if word.startswith(b"!"):
            # The launcher stops all when the first is gone: let the one that knows why say so.
            board.wait([active.together.key(f"{FAILED}/{keys[key]}")], _PATIENCE_S)
            raise CheckpointError(f"Rank {keys[key]} stopped this training: {word[1:].decode(errors='replace')}")
