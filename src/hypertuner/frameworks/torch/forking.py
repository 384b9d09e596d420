"""The rules of a fork: the new run's settings, its parent's state and counters.

An optimizer that was set up exactly as the parent's, with its schedulers, goes on exactly as that one would have.
Otherwise settings are those of the fresh objects: optimizer state is matched by the names of the parameters, and a
scheduler is stepped to the saved count, so that its rate is the one that its own settings give there. A rate that
more than a count decides is refused.
"""

from __future__ import annotations

import copy
import math
import types
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import torch
from torch.optim import lr_scheduler

from hypertuner.errors import CheckpointError
from hypertuner.frameworks.torch.state import is_plain

_INSTEAD = "Start from the weights instead: --from."
_OF_THE_SCALER = ("growth_factor", "backoff_factor", "growth_interval")

Names = Mapping[int, str]
"""id of a parameter → its name in the model."""


def settings(parts: Mapping[str, Any]) -> dict[str, Any]:
    """How each optimizer and scheduler is set up now; one whose set-up cannot be told (a function) is left out."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if isinstance(part, torch.optim.Optimizer):
            found[name] = [_settings_of(group) for group in part.param_groups]
        elif is_scheduler(name) and hasattr(part, "state_dict") and not _holds_function(part):
            found[name] = part.state_dict()
    kept = {name: _plain(value) for name, value in found.items()}
    return {name: value for name, value in kept.items() if is_plain(value)}


def _plain(value: Any) -> Any:
    """A copy that later steps leave as it is; of plain dicts, for MultiStepLR keeps a Counter."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else copy.deepcopy(value)


def is_scheduler(name: str) -> bool:
    """Whether a part of the training state was given as a scheduler."""
    return name.partition(".")[0] == "scheduler"


def _settings_of(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _holds_function(scheduler: Any) -> bool:
    for value in vars(scheduler).values():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, lr_scheduler.LRScheduler):
                if _holds_function(item):
                    return True
            elif isinstance(item, types.FunctionType):
                if not item.__module__.startswith("torch."):
                    return True
            elif callable(item) and not isinstance(item, (type, torch.optim.Optimizer)):
                return True
    return False


class Fork:
    """One fork: the fresh parts and the states that they take over, by name; `reshaped` parameters have none.

    Raises: CheckpointError for a rate that cannot be computed anew.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        states: Mapping[str, Any],
        names: Names,
        saved: Mapping[str, Any],
        reshaped: Collection[str],
    ) -> None:
        self._parts = parts
        self._states = states
        self._reshaped = reshaped
        self._names = names
        self._saved = saved
        self._fresh = settings(parts)

    def is_set_up_alike(self, name: str) -> bool:
        """Whether an optimizer and its schedulers, or the one that `name` schedules, are set up as the parent's."""
        optimizer = self._optimizer_of(name)
        if (
            optimizer is None
        ):  # a scheduler of torch sets the rates of an optimizer: with its state alone they are wrong
            return self._is_alike(name) and not isinstance(self._parts[name], lr_scheduler.LRScheduler)
        return (
            {key for key in self._saved["kinds"] if is_scheduler(key)} == set(filter(is_scheduler, self._parts))
            and self._saved["names"].get(optimizer) == names_in(self._parts[optimizer], self._names)
            and all(map(self._is_alike, (optimizer, *self._schedulers_of(self._parts[optimizer]))))
        )

    def _optimizer_of(self, name: str) -> str | None:
        part = self._parts[name]
        wanted = part if isinstance(part, torch.optim.Optimizer) else getattr(part, "optimizer", None)
        return next((key for key, other in self._parts.items() if wanted is not None and other is wanted), None)

    def _schedulers_of(self, optimizer: Any) -> list[str]:
        return [
            key
            for key, part in self._parts.items()
            if is_scheduler(key) and getattr(part, "optimizer", None) is optimizer
        ]

    def _is_alike(self, name: str) -> bool:
        before = self._saved.get("settings", {})
        return (
            self._saved["kinds"].get(name) == type(self._parts[name]).__name__
            and name in before
            and name in self._fresh
            and _same(before[name], self._fresh[name])
        )

    def optimizer(self, name: str, state: Mapping[str, Any]) -> list[str]:
        """Give each parameter the state that its namesake had; what was dropped, in words."""
        optimizer = self._parts[name]
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        saved_names = [parameter for group in self._saved["names"].get(name, []) for parameter in group]
        if not any(saved_names):
            return [f"{name}: the checkpoint does not tell which parameter its state belongs to, it starts anew"]
        by_name = {
            key: state["state"][number]
            for key, number in zip(saved_names, numbers, strict=True)
            if key and number in state["state"]
        }
        own = optimizer.state_dict()
        kept: dict[int, Any] = {}
        left: list[str] = []
        taken: set[str] = set()
        for group, fresh in zip(own["param_groups"], optimizer.param_groups, strict=True):
            for number, parameter in zip(group["params"], fresh["params"], strict=True):
                key = self._names.get(id(parameter), "")
                if key not in by_name:
                    continue
                taken.add(key)
                if key in self._reshaped:
                    left.append(f"{key} (another shape)")
                else:
                    kept[number] = by_name[key]
        left += [f"{key} (not trained by this optimizer)" for key in by_name if key not in taken]
        optimizer.load_state_dict({"state": kept, "param_groups": own["param_groups"]})
        if not left:
            return []
        more = f" and {len(left) - 4} more" if len(left) > 4 else ""
        return [f"{name} state of {', '.join(left[:4])}{more}"]

    def scheduler(self, name: str, state: Mapping[str, Any]) -> None:
        """Bring a fresh scheduler, and those that share its optimizer, to the saved count by its own settings."""
        scheduler = self._parts[name]
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            self._plateau(name, scheduler, state)
            return
        if not isinstance(scheduler, lr_scheduler.LRScheduler):
            raise CheckpointError(
                f"Cannot fork with a changed {type(scheduler).__name__}: it is no scheduler of torch, so its rate "
                f"cannot be computed anew.\n  {_INSTEAD}"
            )
        together = self._schedulers_of(scheduler.optimizer)
        if name != together[0]:
            return  # stepped with the first
        counts = {key: _count(self._parts[key], self._states[key]) for key in together if key in self._states}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{key} {count}" for key, count in counts.items())
            raise CheckpointError(
                f"Cannot fork with changed schedulers that share an optimizer and were stepped unlike ({said}): the "
                f"order of their steps is not known.\n  {_INSTEAD}"
            )
        self._step_to(counts)

    def _step_to(self, counts: Mapping[str, int | float]) -> None:
        schedulers = [self._parts[key] for key in counts]
        count = next(iter(counts.values()))
        kind = " and ".join(type(scheduler).__name__ for scheduler in schedulers)
        with warnings.catch_warnings():
            # "step() before optimizer.step()" is what this is.
            warnings.simplefilter("ignore", UserWarning)
            try:
                for _ in range(int(count) - _steps(schedulers[0].state_dict())):
                    for scheduler in schedulers:
                        scheduler.step()
                if count != int(count):
                    for scheduler in schedulers:
                        scheduler.step(count)
            except ValueError as error:  # OneCycleLR past its end
                raise CheckpointError(
                    f"Cannot fork with this {kind}: the parent was at step {count}, and {error}\n"
                    f"  Give the schedule more steps. {_INSTEAD}"
                ) from error

    def _plateau(self, name: str, scheduler: lr_scheduler.ReduceLROnPlateau, state: Mapping[str, Any]) -> None:
        """Its own settings, the parent's counters and reduced rates; only if the rates began alike."""
        key = self._optimizer_of(name)
        if key is None:
            raise CheckpointError(
                "Cannot fork with ReduceLROnPlateau without its optimizer, which has the reduced rates.\n"
                f"  Give the Saver both: Saver(model, optimizer=…, scheduler=…). {_INSTEAD}"
            )
        saved_groups = self._states.get(key, {}).get("param_groups", [])
        first = self._saved.get("settings", {}).get(key, [])
        saved_names = self._saved["names"].get(key, [])
        for group in scheduler.optimizer.param_groups:
            own = {self._names.get(id(parameter), "") for parameter in group["params"]}
            at = next((number for number, names in enumerate(saved_names) if own & set(filter(None, names))), None)
            if at is None:
                continue  # new parameters only: nothing of theirs was ever reduced
            began = first[at]["lr"] if at < len(first) else None
            if began is None or not _same(began, group["lr"]):
                raise CheckpointError(
                    f"Cannot fork with ReduceLROnPlateau and a changed learning rate ({began} → {group['lr']}): how "
                    f"often it was reduced depends on the metrics of the parent, not on a count.\n  {_INSTEAD}"
                )
            group["lr"] = copy.deepcopy(saved_groups[at]["lr"])
        if state["mode"] != scheduler.mode:
            raise CheckpointError(
                f"Cannot fork with ReduceLROnPlateau(mode={scheduler.mode!r}): the parent's best value is that of mode "
                f"{state['mode']!r}.\n  {_INSTEAD}"
            )
        counters = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        scheduler.load_state_dict({key: state[key] for key in counters})
        scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]


def scaler_state(scaler: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """The parent's scale and count, under the scaler's own settings."""
    own = scaler.state_dict()
    return {**state, **{key: own[key] for key in _OF_THE_SCALER if key in own}}


def load_what_fits(module: torch.nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Put the tensors that fit into an averaged copy of the model; names of its own that were left."""
    own = module.state_dict()
    fits = {key: value for key, value in state.items() if key in own and _shape(own[key]) == _shape(value)}
    module.load_state_dict(fits, strict=False)
    return [key for key in own if key not in fits]


def names_in(optimizer: torch.optim.Optimizer, names: Names) -> list[list[str]]:
    """The names of an optimizer's parameters, by group; '' for one that is not the model's."""
    return [[names.get(id(parameter), "") for parameter in group["params"]] for group in optimizer.param_groups]


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, torch.Tensor) else None


def _count(scheduler: Any, state: Mapping[str, Any]) -> int | float:
    """How far a scheduler was stepped; a fraction for warm restarts, which may be stepped within an epoch."""
    if any("num_bad_epochs" in inner for inner in _with_inner(state)):
        raise CheckpointError(
            f"Cannot fork with a changed {type(scheduler).__name__} around ReduceLROnPlateau: how often that reduced "
            f"the rate depends on the metrics of the parent, not on a count.\n  {_INSTEAD}"
        )
    count = _steps(state)
    if type(scheduler) is lr_scheduler.CosineAnnealingWarmRestarts and isinstance(count, int):
        return count + math.fmod(state["T_cur"], 1) if state["T_cur"] != int(state["T_cur"]) else count
    if type(count) is not int:
        raise CheckpointError(
            f"Cannot fork with this {type(scheduler).__name__}: it was stepped to {count!r}, which is no whole number, "
            f"so its rate cannot be computed anew.\n  {_INSTEAD}"
        )
    return count


def _steps(state: Mapping[str, Any]) -> int:
    # ChainedScheduler counts nothing itself.
    while "last_epoch" not in state and state.get("_schedulers"):
        state = state["_schedulers"][0]
    return cast(int, state.get("last_epoch"))


def _with_inner(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield state
    for inner in state.get("_schedulers", ()):
        yield from _with_inner(inner)


def _same(one: Any, other: Any) -> bool:
    """Whether two settings are equal; a tensor equals a tensor of the same values."""
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
