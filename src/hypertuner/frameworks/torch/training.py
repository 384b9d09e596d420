"""Training state: optimizer, scheduler, scaler, averages, data position and random states, saved and restored.

Two ways back. *Resume*: everything as it was. *Fork*: by the rules of `forking`, where fresh settings win.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from hypertuner.errors import CheckpointError, MismatchError
from hypertuner.frameworks.torch import forking, modules, randomness
from hypertuner.frameworks.torch.state import is_plain
from hypertuner.frameworks.torch.taken import TakenOver

ORDER = ("optimizer", "scheduler", "scaler", "ema", "dataloader", "extra")
"""What a Saver may be given; the optimizer comes before the scheduler that sets its rates."""


def settings(parts: Mapping[str, Any]) -> dict[str, Any]:
    """How the optimizers and schedulers are set up, to be asked before anything moves them: a fork compares it."""
    return forking.settings(dict(_named(parts)))


def capture(
    parts: Mapping[str, Any], model: modules.Model, first: Mapping[str, Any], others: Sequence[bytes | None] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(training state that safe loading accepts, parts of it that it refuses).

    `first` is what `settings` gave; `others` what `rank_state` gave on ranks 1, 2, …: None for one that is not known,
    whose place stays empty.
    """
    names = _parameter_names(model)
    ranks = [{"random": randomness.capture()}, *({} if state is None else _rank_state(state) for state in others)]
    saved: dict[str, Any] = {"kinds": {}, "names": {}, "settings": dict(first), "ranks": ranks}
    odd: dict[str, Any] = {}
    for name, part in _named(parts):
        state = _state_of(name, part)
        saved["kinds"][name] = type(part).__name__
        if isinstance(part, TakenOver):
            saved["kinds"][name] = part.kind
            saved["names"][name] = part.names
            saved["ranks"] = []  # this process's random states are not that training's
        if isinstance(part, torch.optim.Optimizer):
            saved["names"][name] = forking.names_in(part, names)
        if is_plain(state):
            saved[name] = state
        else:
            odd[name] = state
    return saved, odd


def rank_state(parts: Mapping[str, Any]) -> bytes:
    """Random states and data position of this rank, as bytes that safe loading accepts."""
    loaders = {name: _state_of(name, part) for name, part in _named(parts) if name.startswith("dataloader")}
    state = {"random": randomness.capture(), "loaders": {name: own for name, own in loaders.items() if is_plain(own)}}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _rank_state(state: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True)
    return loaded


def of_rank(saved: Mapping[str, Any], rank: int) -> Mapping[str, Any]:
    """The training state as this rank restores it: with its own data position, where the checkpoint has it."""
    ranks = saved.get("ranks") or []
    return {**saved, **(ranks[rank].get("loaders", {}) if rank < len(ranks) else {})}


def restore(
    parts: Mapping[str, Any],
    model: modules.Model,
    saved: Mapping[str, Any],
    odd: Mapping[str, Any] | None,
    *,
    fork: bool,
    reshaped: Collection[str] = (),
) -> tuple[list[str], list[str]]:
    """Put a checkpoint's training state into `parts`; (what was restored, what was not and why).

    A fork leaves out the state of parameters that are `reshaped`.

    `odd` is None when the file holds parts that only trust may read, and it is not trusted.
    Raises: CheckpointError naming what the checkpoint lacks; MismatchError for what does not fit.
    """
    done: list[str] = []
    left: list[str] = []
    fresh = dict(_named(parts))
    states = {name: state for name, state in {**(odd or {}), **saved}.items() if name in fresh}
    rules = forking.Fork(fresh, states, _parameter_names(model), saved, reshaped) if fork else None
    # Asked before anything is restored, which may look like a change.
    alike = {name for name in states if rules is not None and rules.is_set_up_alike(name)}
    for name, part in fresh.items():
        if name not in states:
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
        state = states[name]
        try:
            if rules is None or name in alike:
                _load(name, part, state)
            elif not _is_kind(part, saved["kinds"].get(name)) and name.partition(".")[0] != "extra":
                kind = saved["kinds"].get(name) or "another kind"
                left.append(f"{name}: its state is that of {kind}, this is {type(part).__name__}")
                continue
            else:
                left += _fork(rules, name, part, state)
        except (ValueError, KeyError, RuntimeError, TypeError, IndexError) as error:
            raise MismatchError(
                f"The {name} state of the checkpoint does not fit this {type(part).__name__}: {error}"
            ) from error
        done.append(name)
    left += [f"{name}: not given to this Saver" for name in saved.get("kinds", {}) if name not in fresh]
    return done, left


def _fork(rules: forking.Fork, name: str, part: Any, state: Any) -> list[str]:
    """Give one part its parent's state by the rules of a fork; what was left, in words."""
    if isinstance(part, torch.optim.Optimizer):
        return rules.optimizer(name, state)
    if forking.is_scheduler(name):
        rules.scheduler(name, state)
    elif name.startswith("scaler"):
        part.load_state_dict(forking.scaler_state(part, state))
    elif name.startswith("ema") and isinstance(part, torch.nn.Module):
        own = forking.load_what_fits(part, state)
        return [f"{name}: {len(own)} tensors that the parent's has not, or in another shape"] if own else []
    else:
        _load(name, part, state)
    return []


def restore_randomness(saved: Mapping[str, Any], rank: int, world_size: int = 1) -> list[str]:
    """Set the random states of this rank; what is not exact on any rank, in words."""
    ranks = saved.get("ranks") or []
    if not ranks:
        return ["random state: the checkpoint has none"]
    if rank < len(ranks) and ranks[rank]:
        notes = randomness.restore(ranks[rank]["random"])
    else:
        notes = randomness.restore(ranks[0]["random"])
        # Not the same draws as rank 0: dropout and augmentation of two ranks would be copies of each other.
        seed = torch.initial_seed() + rank
        torch.manual_seed(seed)
        random.seed(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(seed % 2**32)
    if len(ranks) != world_size:
        notes.append(
            f"the split of the data: {_processes(len(ranks))} saved it, {world_size} go on, so that from here on "
            "the numbers are not those of a training that was never interrupted"
        )
    if unknown := [number for number in range(world_size) if number >= len(ranks) or not ranks[number]]:
        numbers = f"rank{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown))}"
        why = "" if len(ranks) < world_size else " (save() was not called there)"
        notes.append(f"random state of {numbers}{why}: seeded anew, data position as rank 0's")
    return notes


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _is_kind(part: Any, kind: str | None) -> bool:
    """Whether a part is of the saved kind; of one that another program saved, 'Adam or AdamW' may be all it tells."""
    return type(part).__name__ in (kind or "").split(" or ")


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
