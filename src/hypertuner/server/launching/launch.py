"""Making the runs that were asked for, and letting them wait: as drafts, in the queue, or before all that waits."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from hypertuner.errors import ConfigError
from hypertuner.queue import combining, make
from hypertuner.queue.turn import drained_by
from hypertuner.queue.waiting import Queue, Terms
from hypertuner.server.contract.acting import LaunchAsked, Launched
from hypertuner.server.launching.asked import Order, check_name_is_no_file
from hypertuner.server.launching.checking import check
from hypertuner.store import Run, Storage


def launch(asked: LaunchAsked, order: Order, storage: Storage) -> Launched:
    """Make the runs.

    Raises: ConfigError; RunExistsError; what making a run raises: those that were made by then wait.
    """
    check(asked, order, storage)
    if order.parent is not None:
        check_name_is_no_file(order.parent.reference)
    configs = list(combining.combinations(order.config | _seed(asked, order), order.several, _seeds(asked)))
    names = _names(asked, len(configs))
    study = f"{order.script.path.stem}-{time.strftime('%Y%m%d-%H%M%S')}" if len(configs) > 1 else None
    queue = Queue(storage)
    terms = _terms(asked, order, queue)
    ahead = order.parent if order.parent is not None and order.parent.saved is None else None
    begins = order.parent.reference if order.parent is not None else None
    made: list[Run] = []
    for name, config in zip(names, configs, strict=True):
        run = make.make_run(
            order.script.path,
            config,
            order.arguments,
            name=name,
            parent=begins if ahead is None else None,
            how=order.how,
            asked=order.by_hand,
            storage=storage,
            folder=order.folder,
            processes=order.processes,
            study=study,
        )
        if asked.tags:
            run.write_notes(replace(run.notes(), tags=tuple(dict.fromkeys(asked.tags))))
        if asked.mode != "draft":
            queue.add(
                run,
                order.arguments,
                terms,
                begins_from=begins if ahead is not None else None,
                begins_how=order.how,
            )
        made.append(run)
    return Launched(runs=[run.name for run in made], message=_said(asked, made, queue))


def _seeds(asked: LaunchAsked) -> int | None:
    return asked.seeds if asked.seeds > 1 else None


def _seed(asked: LaunchAsked, order: Order) -> dict[str, Any]:
    """Several seeds are counted up from the one that the script would take by itself."""
    if asked.seeds == 1 or combining.SEED in order.config or combining.SEED not in order.whole:
        return {}
    return {combining.SEED: order.whole[combining.SEED]}


def _names(asked: LaunchAsked, count: int) -> list[str | None]:
    if not asked.name:
        return [None] * count
    return [asked.name] if count == 1 else [f"{asked.name}-{number}" for number in range(1, count + 1)]


def _terms(asked: LaunchAsked, order: Order, queue: Queue) -> Terms:
    priority = asked.priority
    if asked.mode == "now":
        priority = max([priority, *(entry.queued.priority + 1 for entry in queue.waiting())])
    after = (order.parent.run.name,) if order.parent is not None and order.parent.saved is None else ()
    return Terms(priority=priority, after=after, retries=combining.RETRIES)


def _said(asked: LaunchAsked, made: list[Run], queue: Queue) -> str:
    one = len(made) == 1
    what = made[0].name if one else f"{len(made)} runs"
    if asked.mode == "draft":
        return f"{what} {'is' if one else 'are'} saved as draft{'' if one else 's'}: nothing runs yet."
    told = f"{what} {'is' if one else 'are'} in the queue"
    if queue.is_paused:
        return f"{told}, which is paused: nothing new starts until it goes on."
    if drained_by(queue) is None:
        return f"{told}, which nothing drains now: nothing starts until something does."
    return f"{told}, before all others." if asked.mode == "now" else f"{told}."


def requeue(run: Run, storage: Storage, script_changed: bool) -> None:
    """Let a draft wait. With a source that is not as it was, the script as it is now is what runs."""
    record = run.record()
    if record is None:
        raise ConfigError(f"Run {run.name!r} has no script to start.\n  Open it where its code is.")
    arguments = make.arguments_of(run)
    terms = Terms(retries=combining.RETRIES, live_code=script_changed)
    Queue(storage).add(run, arguments, terms)


def again(order: Order, run: Run, storage: Storage) -> Run:
    """A new run like one that has ended, waiting."""
    config = run.config()
    made = make.make_run(
        order.script.path,
        config,
        order.arguments,
        asked=tuple(order.by_hand) or (record.asked if (record := run.record()) else ()),
        storage=storage,
        folder=order.folder,
        processes=order.processes,
    )
    Queue(storage).add(made, order.arguments, Terms(retries=combining.RETRIES))
    return made
