"""What the other ranks add to a checkpoint of rank 0: their random states and data positions, without a collective.

A rank that calls `save()` leaves its state on the board and goes on. Rank 0 takes what is there, and waits a little,
never longer than `_PATIENCE_S`, for ranks that may still come: `if rank == 0: saver.save()` is as welcome as a save on
every rank, and what a checkpoint lacks is said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypertuner.store import board, ranks
from hypertuner.store.active import ActiveRun
from hypertuner.store.said import say

_PATIENCE_S = 5.0
_MISSES = 2  # a rank that did not come so often is not waited for again
_KEPT = 4  # states that rank 0 never took


@dataclass
class _Account:
    """What one process knows of the saves of its run so far."""

    saves: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    misses: Counter[int] = field(default_factory=Counter)
    said: set[tuple[int, ...]] = field(default_factory=set)


def hand_over(active: ActiveRun, at: str, state: bytes) -> None:
    """Leave this rank's state for the save that rank 0 makes `at` the same point; waits for nobody."""
    account = _account(active)
    account.saves[at] += 1
    key = _key(active, at, account, ranks.rank())
    board.tell(key, state, everywhere=False)
    account.told.append(key)
    for old in account.told[:-_KEPT]:
        board.forget(old)
    del account.told[:-_KEPT]


def collect(active: ActiveRun, at: str) -> list[bytes | None]:
    """The states of ranks 1, 2, … for a save `at` a point, None for a rank that did not call `save()` there."""
    everybody = range(1, ranks.world_size())
    if not everybody or not board.reaches_all():
        return [None for _ in everybody]
    account = _account(active)
    account.saves[at] += 1
    keys = {rank: _key(active, at, account, rank) for rank in everybody}
    awaited = [rank for rank in everybody if account.misses[rank] < _MISSES]
    found = board.wait([keys[rank] for rank in awaited], _PATIENCE_S)
    found |= board.wait([key for key in keys.values() if key not in found], 0)
    for rank, key in keys.items():
        if key in found:
            account.misses[rank] = 0
            board.forget(key)
        else:
            account.misses[rank] += 1
    missing = tuple(rank for rank, key in keys.items() if key not in found)
    if missing and missing not in account.said:
        account.said.add(missing)
        numbers = f"rank{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"
        say(
            f"{numbers} did not call save() when rank 0 did: random states and data positions of {numbers} are not in "
            "the checkpoint, so that a resumed run does not go on exactly there.\n"
            "  Call saver.save() on every rank: only rank 0 writes."
        )
    return [found.get(key) for key in keys.values()]


def _account(active: ActiveRun) -> _Account:
    account = active.claims.setdefault("peers", _Account())
    assert isinstance(account, _Account)
    return account


def _key(active: ActiveRun, at: str, account: _Account, rank: int) -> str:
    # Counted apart for each point: a save more on one rank alone does not shift the others.
    return active.key(f"state/{rank}/{at}/{account.saves[at]}")
