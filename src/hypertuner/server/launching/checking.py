"""Whether new runs may be made as they are asked for: types of settings, near names, how many, the parent's fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from hypertuner.errors import ConfigError, HypertunerError, did_you_mean, first_line
from hypertuner.index.difference import ABSENT, changes
from hypertuner.queue import combining
from hypertuner.server.contract.acting import ConfigProblem, FitReport, LaunchAsked, LaunchChecked
from hypertuner.server.launching.asked import Order
from hypertuner.server.launching.fitting import fit
from hypertuner.server.launching.scripts import reads_of
from hypertuner.server.launching.trying import Trial, Trials
from hypertuner.server.weights.checkpoints import Checkpoints
from hypertuner.store import Storage
from hypertuner.store.care import check_tag

_LONGEST_KEY = 200
_LONGEST_VALUE = 100_000
_LARGEST = 2**64


def checked(
    asked: LaunchAsked, order: Order, storage: Storage, checkpoints: Checkpoints, trials: Trials | None
) -> LaunchChecked:
    """What would be launched, and what is wrong with it. `trials` make the script's model, for who may run it."""
    problems = [*_problems(asked, order, storage)]
    _, unread = reads_of(order.rows)
    whole = order.whole
    changed = {
        key: None if pair.a is ABSENT else pair.a
        for key, pair in changes(order.like or {}, {**(order.like or {}), **order.config}).items()
    }
    changed |= {key: (order.like or {}).get(key) for key in order.several} if order.like is not None else {}
    return LaunchChecked(
        runs=combining.count(order.several, asked.seeds),
        problems=problems,
        changed=changed if order.like is not None else {},
        never_read=sorted(key for key in {**order.config, **order.several} if key in unread),
        fit=_fit(order, whole, checkpoints, trials),
    )


def refused(error: HypertunerError) -> LaunchChecked:
    """The answer where it cannot be made out what is asked for."""
    key = getattr(error, "key", None) or ""
    problem = ConfigProblem(key=key, message=str(error), is_warning=False)
    return LaunchChecked(runs=0, problems=[problem], changed={}, never_read=[], fit=None)


def check(asked: LaunchAsked, order: Order, storage: Storage) -> None:
    """Raises: ConfigError for the first thing that is wrong."""
    for problem in _problems(asked, order, storage):
        if not problem.is_warning:
            raise ConfigError(problem.message, key=problem.key or None)


def _fit(order: Order, whole: dict[str, Any], checkpoints: Checkpoints, trials: Trials | None) -> FitReport | None:
    parent = order.parent
    if parent is None:
        return None
    if parent.saved is None:
        message = f"Not known yet: {parent.run.name} has yet to save it. The new run waits for that."
        return FitReport(fits="unknown", tensors=0, fitting=0, mismatched=[], message=message)
    trial = Trial(order.script.path, _first(order), order.arguments, order.folder)
    return fit(
        parent.saved,
        parent.run.effective_config(),
        whole,
        order.rows,
        checkpoints,
        partial(trials.shapes, trial) if trials is not None else None,
    )


def _first(order: Order) -> dict[str, Any]:
    """The config of the first of the runs."""
    return {**order.config, **{key: values[0] for key, values in order.several.items() if values}}


def _problems(asked: LaunchAsked, order: Order, storage: Storage) -> Iterator[ConfigProblem]:
    yield from _of_keys(order)
    for key, values in order.several.items():
        if not values:
            yield _error(key, "It has no value: give at least one, or take it out of the list.")
        if len({json.dumps(value, sort_keys=True, default=str) for value in values}) < len(values):
            yield _warning(key, "The same value stands there more than once: those runs will be alike.")
    runs = combining.count(order.several, asked.seeds)
    if runs > combining.MOST_RUNS:
        yield _error("", f"That makes {runs:,} runs; at most {combining.MOST_RUNS:,} are queued at once.")
    if asked.seeds > 1:
        yield from _of_seeds(asked, order)
    yield from _of_names(asked, order, storage, runs)
    if order.parent is not None:
        yield from _of_parent(asked, order)


def _of_keys(order: Order) -> Iterator[ConfigProblem]:
    declared = order.declared.by_key
    owns = order.declared.by in ("Args", "dataclass", "argparse")
    for key, value in [*order.config.items(), *((k, v) for k, values in order.several.items() for v in values)]:
        if not key or len(key) > _LONGEST_KEY or not key.isprintable() or key.startswith("-") or "=" in key:
            yield _error(key[:_LONGEST_KEY], "That cannot be the name of a setting.")
            continue
        if (fault := _fault(value)) is not None:
            yield _error(key, fault)
            continue
        setting = declared.get(key) or declared.get(key.replace("-", "_"))
        if setting is None:
            if owns and not any(key.startswith(f"{other}.") for other in declared):
                near = did_you_mean(key, declared)
                message = f"{order.script.name} does not declare it.{near}"
                # Without an Args the config is handed over as options, of which argparse refuses what it does not know.
                is_refused = order.declared.by == "argparse" and not order.declared.makes_args
                yield _error(key, message) if is_refused else _warning(key, message)
            continue
        try:
            setting.kind.read_json(value)
        except (ValueError, TypeError):
            yield _error(key, f"It is {json.dumps(value, default=str)[:80]}, and {setting.kind} is expected.")
    for setting in order.declared.settings:
        if setting.is_required and setting.key not in order.config and setting.key not in order.several:
            yield _error(setting.key, "It has no default: give it a value.")


def _fault(value: Any) -> str | None:
    """What is wrong with a value, whatever its setting."""
    if isinstance(value, int) and not -_LARGEST // 2 <= value < _LARGEST:
        return "A whole number of more than 64 bits cannot be kept in a config."
    if len(json.dumps(value, default=str)) > _LONGEST_VALUE:
        return f"A value takes at most {_LONGEST_VALUE:,} signs."
    return None


def _of_seeds(asked: LaunchAsked, order: Order) -> Iterator[ConfigProblem]:
    seed = combining.SEED
    if seed in order.several:
        yield _error(seed, "It is a list already: either that, or several seeds.")
        return
    try:
        combining.seeds_of(order.whole, asked.seeds)
    except ConfigError:
        yield _error(
            seed, f"Several seeds are counted up from the seed, and {order.whole.get(seed)!r} is no whole number."
        )
    declared = order.declared.by_key
    if declared and seed not in declared and order.declared.by != "runs":
        yield _warning(seed, f"{order.script.name} declares no setting called seed: these runs may be alike.")


def _of_names(asked: LaunchAsked, order: Order, storage: Storage, runs: int) -> Iterator[ConfigProblem]:
    names = [asked.name] if asked.name and runs == 1 else [f"{asked.name}-{n}" for n in range(1, min(runs, 1000) + 1)]
    try:
        for name in names if asked.name else ():
            storage.check_is_free(name)
    except HypertunerError as error:
        yield _error("name", first_line(error).replace(str(storage.path), "the storage"))
    try:
        for tag in asked.tags:
            check_tag(tag)
    except ConfigError as error:
        yield _error("tags", str(error))


def _of_parent(asked: LaunchAsked, order: Order) -> Iterator[ConfigProblem]:
    parent = order.parent
    assert parent is not None
    if parent.saved is None:
        if asked.mode == "draft":
            yield _error("parent", f"{parent.run.name} has yet to save it: queue the new run, which then waits for it.")
        return
    if parent.saved.problem is not None:
        yield _error("parent", f"The checkpoint cannot be read: {parent.saved.problem}")
    elif asked.how == "fork" and parent.saved.about is not None and parent.saved.about.is_thinned:
        yield _error("parent", "Its training state was taken out to save room: take its weights instead of a fork.")
    elif asked.how == "fork" and parent.saved.about is not None and not parent.saved.about.has_training:
        yield _warning("parent", "It holds no optimizer state: a fork takes no more than its weights would.")


def _error(key: str, message: str) -> ConfigProblem:
    return ConfigProblem(key=key, message=message, is_warning=False)


def _warning(key: str, message: str) -> ConfigProblem:
    return ConfigProblem(key=key, message=message, is_warning=True)
