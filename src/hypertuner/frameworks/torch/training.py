"""Training state: optimizer, scheduler, scaler, averages, data position and random states, saved and restored.

Two ways back. *Resume*: everything as it was. *Fork*: the fresh optimizer and scheduler keep their settings, and
only state and counters come from the checkpoint; optimizer state is matched by the names of the parameters, a
scheduler is stepped to the saved count, so that its rate is the one that its own settings give there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hypertuner.errors import CheckpointError, MismatchError
from hypertuner.frameworks.torch import modules, randomness
from hypertuner.frameworks.torch.state import is_plain

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class TakenOver:
    """Training state that another program saved, to be kept as it is."""

    def __init__(self, state: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        self._state = dict(state)
        self.kind = _optimizer_kind(state)
        self.names = _names_by_shape(state, weights)

    def state_dict(self) -> dict[str, Any]:
        """As it was saved."""
        return self._state


ORDER = ("optimizer", "scheduler", "scaler", "ema", "dataloader", "extra")
"""What a Saver may be given; the optimizer comes before the scheduler that sets its rates."""


def capture(parts: Mapping[str, Any], model: modules.Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """(training state that safe loading accepts, parts of it that it refuses)."""
    names = _parameter_names(model)
    saved: dict[str, Any] = {"kinds": {}, "names": {}, "ranks": [{"random": randomness.capture()}]}
    odd: dict[str, Any] = {}
    for name, part in _named(parts):
        state = _state_of(name, part)
        saved["kinds"][name] = type(part).__name__
        if isinstance(part, TakenOver):
            saved["kinds"][name] = part.kind
            saved["names"][name] = part.names
            saved["ranks"] = []  # this process's random states are not that training's
        if isinstance(part, torch.optim.Optimizer):
            saved["names"][name] = [[names.get(id(p), "") for p in group["params"]] for group in part.param_groups]
        if is_plain(state):
            saved[name] = state
        else:
            odd[name] = state
    return saved, odd


def restore(
    parts: Mapping[str, Any],
    model: modules.Model,
    saved: Mapping[str, Any],
    odd: Mapping[str, Any] | None,
    *,
    fork: bool,
) -> tuple[list[str], list[str]]:
    """Put a checkpoint's training state into `parts`; (what was restored, what was not and why).

    `odd` is None when the file holds parts that only trust may read, and it is not trusted.
    Raises: CheckpointError naming what the checkpoint lacks; MismatchError for what does not fit.
    """
    done: list[str] = []
    left: list[str] = []
    for name, part in _named(parts):
        state = saved.get(name) if name in saved else (odd or {}).get(name)
        if state is None and name not in saved:
            if odd is None and name in saved.get("kinds", {}):
                raise CheckpointError(f"The {name} state in the checkpoint holds objects: reading it needs trust=True.")
            if fork:
                left.append(f"{name}: the checkpoint has none, it starts anew")
                continue
            held = ", ".join(sorted(saved.get("kinds", {}))) or "only the model"
            raise CheckpointError(
                f"The checkpoint has no {name} state to resume (it holds {held}).\n"
                f"  Save it: Saver(model, {name.partition('.')[0]}=…). Or start a new run from the weights: --from."
            )
        try:
            if fork and isinstance(part, torch.optim.Optimizer):
                left += _fork_optimizer(name, part, model, state, saved)
            elif fork and _is_scheduler(part):
                _fork_scheduler(name, part, state, saved)
            else:
                _load(name, part, state)
        except (ValueError, KeyError, RuntimeError, TypeError, IndexError) as error:
            raise MismatchError(
                f"The {name} state of the checkpoint does not fit this {type(part).__name__}: {error}"
            ) from error
        done.append(name)
    for name in saved.get("kinds", {}):
        if name not in dict(_named(parts)):
            left.append(f"{name}: not given to this Saver, it starts anew")
    return done, left


def restore_randomness(saved: Mapping[str, Any], rank: int) -> list[str]:
    """Set the random states of this rank; what is not exact, in words."""
    ranks = saved.get("ranks") or []
    if rank < len(ranks) and ranks[rank]:
        return randomness.restore(ranks[rank]["random"])
    if not ranks:
        return ["random state: the checkpoint has none"]
    notes = randomness.restore(ranks[0]["random"])
    torch.manual_seed(torch.initial_seed() + 1 + rank)
    return [*notes, f"random state of rank {rank}: the checkpoint has none, seeded anew"]


def _named(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, part), with the parts of a dict of optimizers named 'optimizer.G'."""
    for name in ORDER:
        part = parts.get(name)
        if part is None:
            continue
        if name != "extra" and isinstance(part, Mapping):
            yield from ((f"{name}.{key}", item) for key, item in part.items())
        else:
            yield name, part


def _state_of(name: str, part: Any) -> Any:
    if name == "extra" and isinstance(part, Mapping):
        return {key: item.state_dict() if hasattr(item, "state_dict") else item for key, item in part.items()}
    if hasattr(part, "state_dict"):
        return part.state_dict()
    if name.startswith("dataloader"):
        return {"generators": {key: g.get_state() for key, g in _generators(part).items()}}
    raise TypeError(
        f"Saver({name.partition('.')[0]}=…) takes an object with state_dict() and load_state_dict(), "
        f"got {type(part).__name__}."
    )


def _load(name: str, part: Any, state: Any) -> None:
    if name == "extra" and isinstance(part, Mapping):
        for key, item in list(part.items()):
            if key not in state:
                raise KeyError(f"it has no {key!r}")
            if hasattr(item, "load_state_dict"):
                item.load_state_dict(state[key])
            else:
                part[key] = state[key]  # type: ignore[index]  # whoever wants it back gives a dict
    elif hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
        if name.startswith("dataloader"):
            # Loaders make their iterator late, and draw a seed for it. Asked for its state, this one makes it now,
            # before the random states are restored: the loop then draws what it would have drawn.
            part.state_dict()
    else:
        for key, generator in _generators(part).items():
            if key in state["generators"]:
                generator.set_state(state["generators"][key])


def _generators(loader: Any) -> dict[str, torch.Generator]:
    """The random generators of a loader that keeps no state of its own."""
    sampler = getattr(loader, "sampler", None)
    found = {"loader": getattr(loader, "generator", None), "sampler": getattr(sampler, "generator", None)}
    return {key: generator for key, generator in found.items() if isinstance(generator, torch.Generator)}


def _parameter_names(model: modules.Model) -> dict[int, str]:
    names: dict[int, str] = {}
    for prefix, module in modules.parts_of(model):
        renames = modules.clean_names(module)
        for name, parameter in module.named_parameters():
            names[id(parameter)] = prefix + modules.clean_name(name, renames)
    return names


def _fork_optimizer(
    name: str, optimizer: torch.optim.Optimizer, model: modules.Model, state: Any, saved: Mapping[str, Any]
) -> list[str]:
    """Give each parameter the state that its namesake had; what was dropped, in words."""
    kind = saved["kinds"].get(name) or "another optimizer"
    if type(optimizer).__name__ not in kind.split(" or "):
        return [f"{name}: its state is that of {kind}, this is {type(optimizer).__name__}"]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    if not any(saved["names"].get(name, [])):
        return [f"{name}: the checkpoint does not tell which parameter its state belongs to, it starts anew"]
    saved_names = [parameter for group in saved["names"].get(name, []) for parameter in group]
    by_name = {
        key: state["state"][number]
        for key, number in zip(saved_names, numbers, strict=False)
        if number in state["state"]
    }
    own = optimizer.state_dict()
    names = _parameter_names(model)
    kept: dict[int, Any] = {}
    dropped: list[str] = []
    taken: set[str] = set()
    for group, fresh in zip(own["param_groups"], optimizer.param_groups, strict=True):
        for number, parameter in zip(group["params"], fresh["params"], strict=True):
            key = names.get(id(parameter), "")
            if not key or key not in by_name:
                continue
            taken.add(key)
            if _fits(by_name[key], parameter):
                kept[number] = by_name[key]
            else:
                dropped.append(f"{key} (another shape)")
    dropped += [f"{key} (no such parameter here)" for key in by_name if key not in taken]
    optimizer.load_state_dict({"state": kept, "param_groups": own["param_groups"]})
    if not dropped:
        return []
    more = f" and {len(dropped) - 4} more" if len(dropped) > 4 else ""
    return [f"{name} state of {', '.join(dropped[:4])}{more}"]


def _fits(state: Mapping[str, Any], parameter: torch.Tensor) -> bool:
    return all(
        value.shape in (parameter.shape, torch.Size([])) or value.numel() <= 1
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


def _optimizer_kind(state: Mapping[str, Any]) -> str:
    """The class of torch's optimizers that saves such a state; '' where it is of another."""
    groups = state.get("param_groups")
    if not isinstance(groups, list) or not groups or not isinstance(groups[0], Mapping):
        return ""
    group = groups[0]
    if {"betas", "amsgrad"} <= group.keys():
        # Until torch 2.7 nothing in a state told the two apart.
        decoupled = group.get("decoupled_weight_decay")
        return "Adam or AdamW" if decoupled is None else "AdamW" if decoupled else "Adam"
    for key, kind in (("nesterov", "SGD"), ("centered", "RMSprop"), ("rho", "Adadelta"), ("lr_decay", "Adagrad")):
        if key in group:
            return kind
    return ""


def _names_by_shape(state: Mapping[str, Any], weights: Mapping[str, Any]) -> list[list[str]]:
    """The name of each parameter of an optimizer's state, where order and shapes leave no doubt; [] else."""
    groups, kept = state.get("param_groups"), state.get("state")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(kept, Mapping):
        return []
    names = []
    seen: set[int] = set()
    for name, value in weights.items():
        is_parameter = isinstance(value, torch.Tensor) and value.is_floating_point()
        if is_parameter and not name.endswith(_BUFFERS) and (not value.numel() or value.data_ptr() not in seen):
            seen.add(value.data_ptr())
            names.append(name)
    numbers = groups[0].get("params", [])
    if len(names) != len(numbers):
        return []
    for name, number in zip(names, numbers, strict=True):
        shapes = {tensor.shape for tensor in kept.get(number, {}).values() if isinstance(tensor, torch.Tensor)}
        if weights[name].shape not in shapes:
            return []
    return [names]


def _is_scheduler(part: Any) -> bool:
    return isinstance(part, torch.optim.lr_scheduler.LRScheduler)


def _fork_scheduler(name: str, scheduler: Any, state: Any, saved: Mapping[str, Any]) -> None:
    """Bring a fresh scheduler to the saved count, by its own settings; a rate that depends on more is refused."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        _fork_plateau(name, scheduler, state, saved)
        return
    count = state.get("last_epoch")
    if not isinstance(count, int):
        raise CheckpointError(
            f"Cannot fork with this {type(scheduler).__name__}: it was stepped to {count!r}, which is no whole number, "
            "so its rate cannot be computed anew.\n  Start from the weights instead: --from."
        )
    with warnings.catch_warnings():
        # "step() before optimizer.step()" is what this is.
        warnings.simplefilter("ignore", UserWarning)
        try:
            while scheduler.last_epoch < count:
                scheduler.step()
        except ValueError as error:  # OneCycleLR past its end
            raise CheckpointError(
                f"Cannot fork with this {type(scheduler).__name__}: the parent was at step {count}, and {error}\n"
                "  Give the schedule more steps, or start from the weights instead: --from."
            ) from error


def _fork_plateau(name: str, scheduler: Any, state: Any, saved: Mapping[str, Any]) -> None:
    key = name.replace("scheduler", "optimizer", 1)
    groups = (saved.get(key) or {}).get("param_groups", [])
    started = saved.get("first_rates", {}).get(key)
    fresh = [group["lr"] for group in scheduler.optimizer.param_groups]
    if not groups or started != fresh:
        raise CheckpointError(
            f"Cannot fork with ReduceLROnPlateau and a changed learning rate ({started} → {fresh}): how often it was "
            "reduced depends on the metrics of the parent, not on a count.\n  Start from the weights instead: --from."
        )
    scheduler.load_state_dict(state)
    for group, before in zip(scheduler.optimizer.param_groups, groups, strict=True):
        group["lr"] = before["lr"]
