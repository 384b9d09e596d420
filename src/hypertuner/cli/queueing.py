"""`hypertuner run … --queue`: runs that wait, one for each combination of the values that were typed."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hypertuner import settings
from hypertuner.checkpoint import reference
from hypertuner.cli import given
from hypertuner.cli.run import Plan, Wanted, plan
from hypertuner.cli.terminal import count_text, plain, say, value_text
from hypertuner.errors import ConfigError
from hypertuner.index.selection import select
from hypertuner.index.times import duration_s
from hypertuner.queue import combining, launch, make, private
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Queue, Terms
from hypertuner.store import Run, RunState, Storage
from hypertuner.store.names import is_name

_SHOWN = 8


def queue_runs(
    script: Path | None,
    words: Sequence[str],
    after_dashes: Sequence[str],
    wanted: Wanted,
    terms: Terms,
    *,
    seeds: int | None,
    system: bool,
    storage: Storage,
) -> list[Run]:
    """Make the runs that the command line describes, and let them wait.

    Raises: GivenError; QueueError; what making a run raises: those that were made by then wait.
    """
    begins = wanted.fork or wanted.start_from
    how = "fork" if wanted.fork else "start from"
    ahead = _run_ahead(begins, storage)
    if ahead is not None:
        terms = dataclasses.replace(terms, after=tuple(dict.fromkeys((*terms.after, ahead.name))))
    plans = [plan(model, script, words, after_dashes, wanted) for model in _models(script, wanted, storage)]
    try:
        orders = [(one, config) for one in plans for config in _configs(one, seeds)]
    except ConfigError as error:
        raise given.GivenError(str(error)) from None
    if not orders:
        raise given.GivenError(f"No run matches {wanted.like!r}: there is nothing to queue.")
    if len(orders) > combining.MOST_RUNS:
        raise given.GivenError(f"That makes {len(orders):,} runs; at most {combining.MOST_RUNS:,} are queued at once.")
    varied = _varied(plans, seeds)
    if len(orders) > 1:
        times = " × ".join(f"{key} {', '.join(map(value_text, values))}" for key, values in varied.items())
        likes = f", like {count_text(len(plans), 'run')} that there are" if len(plans) > 1 else ""
        say(f"{count_text(len(orders), 'run')}{likes}{': ' + times if times else ''}")
    study = f"{orders[0][0].script.stem}-{time.strftime('%Y%m%d-%H%M%S')}" if len(orders) > 1 else None
    queue = Queue(storage)
    environment = os.environ if system else {**os.environ, settings.SYSTEM_EVERY_S.variable: "0"}
    names = [f"{wanted.name}-{number}" if len(orders) > 1 else f"{wanted.name}" for number in range(1, len(orders) + 1)]
    # What is sure to go wrong goes wrong before a run is made.
    for other in terms.after:
        storage.open(other)
    for one in plans:
        private.keep(storage.path, environment, one.arguments)
    for name in names if wanted.name else ():
        storage.check_is_free(name)
    made = []
    for number, (one, config) in enumerate(orders, start=1):
        processes = one.processes
        if processes is None:
            processes = launch.processes_of(one.like) if one.like is not None else 0
        run = make.make_run(
            one.script,
            config,
            one.arguments,
            name=names[number - 1] if wanted.name else None,
            parent=begins if ahead is None else None,
            how=how,
            asked=dict.fromkeys([*one.asked, *(["seed"] if seeds else [])]),
            storage=storage,
            folder=one.folder,
            processes=processes,
            study=study,
        )
        queue.add(
            run,
            one.arguments,
            terms,
            begins_from=begins if ahead is not None else None,
            begins_how=how,
            environment=environment,
        )
        made.append(run)
        if number <= _SHOWN:
            told = " ".join(f"{key}={value_text(config[key])}" for key in {**one.asked, **varied})
            like = f"  like {one.like.name}" if one.like is not None and len(plans) > 1 else ""
            say(f"queued {run.name}{f'  {plain(told)}' if told else ''}{like}")
    if len(made) > _SHOWN:
        say(f"… and {len(made) - _SHOWN} more: hypertuner queue ls")
    say_who_drains(queue)
    return made


def terms(
    *,
    priority: int | None,
    after: Sequence[str],
    retries: int | None,
    retry: str | None,
    time_limit: str | None,
    live_code: bool,
) -> Terms:
    """The terms that the command line asks for. Raises: GivenError."""
    limit_s = None
    if time_limit is not None and (limit_s := duration_s(time_limit)) is None:
        raise given.GivenError(f"--time-limit {time_limit}: that is no time. Write 90s, 30m, 2h, 1d or 1h30m.")
    if retry not in (None, "infrastructure", "any"):
        raise given.GivenError(f"--retry {retry}: either infrastructure or any.")
    return Terms(
        priority=priority or 0,
        after=tuple(after),
        retries=combining.RETRIES if retries is None else retries,
        retry_on=retry or "infrastructure",
        time_limit_s=limit_s,
        live_code=live_code,
    )


def say_who_drains(queue: Queue) -> None:
    """Say what starts the runs that wait, or how to have them started."""
    drains = drained_by(queue)
    if drains is None:
        say("Nothing drains this queue yet. Start it: hypertuner queue   (--detach lets it outlive this terminal)")
    elif queue.is_paused:
        say("The queue is paused. Let it go on: hypertuner queue resume")


def _models(script: Path | None, wanted: Wanted, storage: Storage) -> Sequence[Run | None]:
    """The runs whose configs are taken over, one after the other; [None] when there is none."""
    if wanted.like:
        return [storage.open(wanted.like)] if is_name(wanted.like) else select([wanted.like], storage)
    parent = wanted.fork or wanted.start_from
    if parent and script is None:
        return [_run_ahead(parent, storage) or reference.resolve(parent, storage).run]
    return [None]


def _run_ahead(parent: str | None, storage: Storage) -> Run | None:
    """The run whose checkpoint is named, when it has yet to make that: it waits or runs."""
    name = (parent or "").partition("@")[0]
    run = Run(storage.path / name) if is_name(name) else None
    return run if run is not None and run.state() in (RunState.queued, RunState.running) else None


def _configs(one: Plan, seeds: int | None) -> Iterator[dict[str, Any]]:
    """The config of each run of a plan: the values that come first change last."""
    return combining.combinations(one.config, _several(one), seeds)


def _several(one: Plan) -> dict[str, Sequence[Any]]:
    return {key: value.values for key, value in one.config.items() if isinstance(value, given.Several)}


def _varied(plans: Sequence[Plan], seeds: int | None) -> dict[str, Sequence[Any]]:
    varied: dict[str, Sequence[Any]] = {}
    for one in plans[:1]:
        varied = _several(one)
        if seeds:
            varied["seed"] = combining.seeds_of(one.config, seeds)
    return varied
