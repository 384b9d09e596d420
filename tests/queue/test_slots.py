"""What a queue gives its runs of a machine: as many slots as there are, each GPU once, none that a stranger holds.

There is no GPU where these tests run: the list of them is made up here, as `hypertuner.store.gpus` gives it, which is
tested against the driver's library by itself.
"""

from __future__ import annotations

import random

import pytest

from hypertuner.errors import QueueError
from hypertuner.queue import slots
from hypertuner.queue.slots import Share, Slots, Taken
from hypertuner.store.gpus import Gpu, Holder

GB = 10**9


@pytest.fixture
def gpus(monkeypatch):
    """`gpus(2, {0: [holder]})` makes a machine with two GPUs, the first of them held."""

    def made(count: int, held=None) -> None:
        found = tuple(
            Gpu(number, f"GPU-{number}", "H100", 80 * GB, 0, 0.0, tuple((held or {}).get(number, ())))
            for number in range(count)
        )
        monkeypatch.setattr(slots, "list_gpus", lambda: found)

    return made


def test_a_machine_without_gpus_has_one_slot_unless_told_otherwise(gpus):
    gpus(0)
    assert Slots().count == 1
    assert Slots(4).count == 4


def test_each_gpu_is_a_slot_and_is_given_by_its_uuid(gpus):
    gpus(2)
    place = Slots()
    first = place.share(0, [])
    second = place.share(0, [Taken(1, first.gpus)])
    assert (first, second) == (Share(1, ("GPU-0",)), Share(1, ("GPU-1",)))
    assert place.share(0, [Taken(1, first.gpus), Taken(1, second.gpus)]) == "all slots are taken"


def test_runs_that_share_gpus_are_spread_over_them(gpus):
    gpus(2)
    place = Slots(per_gpu=2)
    taken: list[Taken] = []
    for _ in range(4):
        share = place.share(0, taken)
        taken.append(Taken(share.slots, share.gpus))
    assert [one.gpus for one in taken] == [("GPU-0",), ("GPU-1",), ("GPU-0",), ("GPU-1",)]


def test_a_run_of_several_processes_gets_a_gpu_for_each(gpus):
    gpus(4)
    assert Slots().share(3, [Taken(1, ("GPU-1",))]) == Share(3, ("GPU-0", "GPU-2", "GPU-3"))


def test_a_run_that_wants_more_than_there_is_gets_all_there_is_once_it_is_free(gpus):
    gpus(0)
    place = Slots(2)
    assert place.share(8, [Taken(1)]) == "all slots are taken"
    assert place.share(8, []) == Share(2)


def test_a_gpu_that_a_stranger_holds_is_passed_over_and_named(gpus):
    gpus(2, {0: [Holder(4242, 30 * GB, "python train.py", "alice")]})
    place = Slots()
    assert place.share(0, []) == Share(1, ("GPU-1",))
    why = place.share(0, [Taken(1, ("GPU-1",))])
    assert why == "GPU 0 (GPU-0) is held by process 4242 (python train.py, alice)"


def test_a_stranger_with_next_to_nothing_does_not_hold_a_gpu(gpus):
    gpus(1, {0: [Holder(4242, 10_000_000, "Xorg", "root")]})
    assert Slots().share(0, []) == Share(1, ("GPU-0",))


def test_what_a_run_of_ours_holds_is_no_stranger(gpus):
    gpus(1, {0: [Holder(77, 30 * GB, "python", "me")]})
    assert Slots(per_gpu=2).share(0, [Taken(1, ("GPU-0",), frozenset({77}))]) == Share(1, ("GPU-0",))


def test_in_a_container_whose_driver_tells_pids_of_the_host_runs_may_still_share_a_gpu(gpus):
    gpus(1, {0: [Holder(4_000_000_001, 30 * GB, "", "")]})
    assert Slots(per_gpu=2).share(0, [Taken(1, ("GPU-0",))]) == Share(1, ("GPU-0",))
    assert isinstance(Slots(per_gpu=2).share(0, []), str)


@pytest.mark.parametrize(("count", "per_gpu"), [(3, 1), (5, 2)])
def test_more_slots_than_the_gpus_take_are_refused_with_what_to_write(gpus, count, per_gpu):
    gpus(2)
    with pytest.raises(QueueError, match="--per-gpu"):
        Slots(count, per_gpu)


def test_in_ten_thousand_schedules_no_gpu_is_given_twice(gpus):
    chance = random.Random(7)
    for _ in range(100):
        gpus(chance.randint(1, 8))
        place = Slots(per_gpu=chance.randint(1, 3))
        taken: list[Taken] = []
        for _ in range(100):
            if taken and chance.random() < 0.4:
                taken.pop(chance.randrange(len(taken)))
            share = place.share(chance.choice((0, 0, 1, 2, 4)), taken)
            if isinstance(share, Share):
                taken.append(Taken(share.slots, share.gpus))
            used = [gpu for one in taken for gpu in one.gpus]
            assert all(used.count(gpu) <= place.per_gpu for gpu in used)
            assert sum(one.slots for one in taken) <= place.count
