"""Room on the disk: what a storage could do without, and doing without it. All that goes is in the trash afterwards."""

from __future__ import annotations

import importlib.util

from hypertuner.checkpoint import cleaning
from hypertuner.server.contract.acting import ActionDone, Failed
from hypertuner.server.contract.models import CleaningPlan, Dispensable
from hypertuner.server.weights import child
from hypertuner.store import Storage

_MOST_ITEMS = 5000
_UNITS = ("B", "kB", "MB", "GB", "TB")


def plan(storage: Storage, most_bytes: int | None) -> CleaningPlan:
    """What would go; nothing is touched. Without `most_bytes`, how much there is."""
    if most_bytes is None:
        total = cleaning.storage_bytes(storage)
        return CleaningPlan(
            storage_bytes=total,
            most_bytes=total,
            frees_bytes=0,
            items=[],
            message=f"The storage takes {_size(total)}, without its trash.",
        )
    found = _plan(storage, most_bytes)
    return CleaningPlan(
        storage_bytes=found.before,
        most_bytes=most_bytes,
        frees_bytes=found.before - found.after,
        items=[
            Dispensable(run=item.run.name, what=_what(item), nbytes=item.nbytes) for item in found.gone[:_MOST_ITEMS]
        ],
        message=_message(found, most_bytes),
    )


def clean(storage: Storage, most_bytes: int) -> ActionDone:
    """Do it. What is needed, pinned, starred or running stays."""
    found = _plan(storage, most_bytes)
    problems = cleaning.carry_out(storage, found, lambda path: _thin(str(path)))
    names = list(dict.fromkeys(item.run.name for item in found.gone))
    told = (
        f"{_size(found.before - found.after)} of {len(names)} run{'' if len(names) == 1 else 's'} went into the trash."
    )
    return ActionDone(
        done=names,
        failed=[Failed(name="", message=problem.partition("\n")[0]) for problem in problems],
        undo=None,
        message=told if names else "Nothing had to go.",
    )


def _thin(path: str) -> None:
    child.ask("thin", path=path)


def _plan(storage: Storage, most_bytes: int) -> cleaning.Plan:
    return cleaning.plan(storage, most_bytes, can_thin=importlib.util.find_spec("torch") is not None)


def _what(item: cleaning.Dispensable) -> str:
    named = "" if item.path == item.run.folder else f": {item.path.name}"
    return f"{item.kind}{named}"


def _message(found: cleaning.Plan, most_bytes: int) -> str:
    if not found.gone:
        if found.before <= most_bytes:
            return f"Nothing has to go: the storage takes {_size(found.before)}."
        return f"Nothing may go: all {_size(found.before)} are pinned, starred, running or needed."
    told = f"{_size(found.before - found.after)} would go into the trash, least worth first; {_size(found.after)} stay."
    return told if found.after <= most_bytes else f"{told} No more may go."


def _size(nbytes: float) -> str:
    for unit in _UNITS[:-1]:
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} {_UNITS[-1]}"
