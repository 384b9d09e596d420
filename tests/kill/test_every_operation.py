"""SIGKILL at every operation of every kind of save: no torn file, no lost commit, nothing to clean up."""

from __future__ import annotations

import os
import random
import signal

import pytest
from tests.kill.saving import (
    KINDS,
    disarm,
    forget,
    kill_at,
    nothing_is_lost,
    saved,
    the_next_attempt_goes_on,
)

from hypertuner.store import Run, RunState

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL and fork"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # that torch will drop quantised tensors
]


def die_everywhere(storage, kind, every):
    """Kill the saves of a kind at each operation; each `every`-th time the run is started again. How often it died."""
    number = 0
    while True:
        number += 1
        told = saved(kind, kill_at(number), disarm)
        nothing_is_lost(storage, kind, told)
        if not told.was_killed:
            return number - 1
        if kind.before and kind.how != "resume":
            # In the last operations it has said goodbye already.
            assert Run(storage / "r").state() in (RunState.crashed, RunState.finished)
        if number % every == 0:
            the_next_attempt_goes_on(storage, kind)
        forget(storage)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kill_at_any_operation_leaves_the_previous_checkpoint_or_the_new_one(storage, kind):
    assert die_everywhere(storage, kind, every=5) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_whoever_goes_on_after_a_kill_finds_everything(storage, kind):
    assert die_everywhere(storage, kind, every=1) >= 10


def die_after(seconds):
    """What makes a process die a while later, wherever it is: the kernel ends it, as by SIGKILL."""

    def arm():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return arm


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_kills_at_random_moments_lose_nothing(storage):
    chance, number, killed = random.Random(4), 0, 0
    while killed < 1000:
        number += 1
        kind = KINDS[number % len(KINDS)]
        told = saved(kind, die_after(chance.uniform(0.0001, 0.012)))
        nothing_is_lost(storage, kind, told)
        killed += told.was_killed
        if number % 20 == 0:
            the_next_attempt_goes_on(storage, kind)
        forget(storage)
