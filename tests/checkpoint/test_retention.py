"""What of a run's checkpoints stays after a save, and what of them goes."""

from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint import offer, pins
from hypertuner.checkpoint.format.archive import inspect, verify
from hypertuner.checkpoint.reference import resolve
from hypertuner.checkpoint.retention import Keep, positions, trail_of
from hypertuner.store import CheckpointFile, Run, Storage, current


def steps(storage, name="r"):
    return [file.step for file in Storage(storage).open(name).checkpoints()]


def whole(storage, name="r"):
    """The steps whose checkpoints have their training state."""
    files_ = Storage(storage).open(name).checkpoints()
    return [file.step for file in files_ if "training" in torch.load(file.path)]


def train(losses, *, name="r", metric="val_loss", optimizer=True, pin=(), **keep):
    """Save once a value; the weights at step n are n."""
    net = nn.Linear(4, 3)
    with hypertuner.new_run(name=name):
        adam = torch.optim.Adam(net.parameters()) if optimizer else None
        saver = hypertuner.Saver(net, optimizer=adam, **keep)
        for step, value in enumerate(losses):
            nn.init.constant_(net.weight, step)
            if adam is not None:
                net(torch.zeros(4)).sum().backward()
                adam.step()
                nn.init.constant_(net.weight, step)
            saver.save(step=step, metrics={metric: value})
            if step in pin:
                pins.pin(resolve(f"{name}@{step}"))
    return saver


def in_a_new_attempt(name, work):
    """Run `work` as the run's next start."""
    before = current._process_run
    current._process_run = None
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HYPERTUNER_RUN", name)
            work()
    finally:
        current._process_run = before


# --- last, best, every


def test_keep_last_keeps_the_newest(storage):
    train([0.0] * 5, metric="x", keep_last=3, keep_trail=0)
    assert steps(storage) == [2, 3, 4]


def test_keep_best_keeps_the_best_beside_the_newest(storage):
    train([5, 1, 3, 2, 4], keep_best=2, keep_trail=0)
    assert steps(storage) == [1, 3, 4]
    assert torch.load(storage / "r" / "model.pt")["run"]["step"] == 1


def test_where_more_is_better_the_highest_stays(storage):
    train([5, 1, 3, 2, 4], metric="score", monitor="score", mode="max", keep_trail=0)
    assert steps(storage) == [0, 4]
    assert torch.load(storage / "r" / "model.pt")["run"]["step"] == 0


def test_of_equals_the_newer_is_the_best(storage):
    train([1, 1, 2, 2], keep_trail=0)
    assert steps(storage) == [1, 3]
    assert torch.load(storage / "r" / "model.pt")["run"]["step"] == 1


@pytest.mark.parametrize(("losses", "kept"), [([math.nan, 2, math.nan], [1, 2]), ([math.nan] * 3, [2])])
def test_nan_is_never_the_best(storage, losses, kept):
    train(losses, keep_trail=0)
    assert steps(storage) == kept


def test_an_infinite_loss_is_a_loss(storage):
    train([math.inf, math.inf, math.nan], keep_trail=0)
    assert steps(storage) == [1, 2]


def test_keep_best_0_keeps_none_but_the_one_that_model_pt_points_at(storage):
    train([1, 2, 3, 4], keep_best=0, keep_trail=0)
    assert steps(storage) == [0, 3]
    assert (storage / "r" / "model.pt").samefile(resolve("r@0").path)


def test_keep_every_keeps_multiples_whole(storage):
    train([1.0] * 8, metric="x", keep_every=3, keep_trail=0)
    assert steps(storage) == whole(storage) == [0, 3, 6, 7]


@pytest.mark.parametrize(
    "wrong", [{"keep_last": 0}, {"keep_best": -1}, {"keep_every": 0}, {"keep_every": 1.5}, {"keep_trail": -1}]
)
def test_a_number_that_makes_no_sense_is_refused_before_anything_is_written(storage, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        hypertuner.Saver(nn.Linear(1, 1), **wrong)
    assert not storage.exists()


def test_what_was_saved_just_now_stays_also_where_steps_go_back(storage):
    net = nn.Linear(1, 1)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, keep_trail=0)
        saver.save(step=100)
        for step in (1, 2):
            assert saver.save(step=step).path.exists()


def test_a_script_that_counts_no_steps_keeps_its_newest_checkpoint(storage):
    """A name that retention had set free was given again, and sorted before what was older."""
    net = nn.Linear(1, 1)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, keep_trail=0)
        for value in range(5):
            nn.init.constant_(net.weight, value)
            assert saver.save().path.exists()
            assert torch.load(storage / "r" / "model.pt")["state_dict"]["weight"] == value
    assert len(steps(storage)) == 1
    assert hypertuner.load("r@last").weight == 4


# --- the trail


def saved_at(where):
    return {CheckpointFile(Path(f"step-{step:08d}.pt"), 1, step, 0): 1 for step in where}


@given(
    strides=st.lists(st.integers(1, 50), min_size=1, max_size=300),
    most=st.integers(0, 12),
)
def test_after_any_number_of_saves_the_trail_is_short_and_reaches_back_to_the_first(strides, most):
    there, now = [0], 0
    for stride in strides:
        now += stride
        where = positions(list(saved_at([*there, now])))
        trail = trail_of(where, saved_at(there), most=most, most_bytes=10**9)
        there = sorted([file.step for file in trail] + [now])
        assert len(trail) <= most
        if most:
            assert 0 in there


@given(saves=st.integers(20, 1500), most=st.integers(2, 12), stride=st.integers(1, 1000))
def test_ages_of_the_trail_are_spread_logarithmically(saves, most, stride):
    there = [0]
    for number in range(1, saves):
        where = positions(list(saved_at([*there, number * stride])))
        there = sorted(file.step for file in trail_of(where, saved_at(there), most=most, most_bytes=10**9))
        there.append(number * stride)
    ages = sorted(there[-1] - step for step in there)
    logarithms = [math.log(1 + age / stride) for age in ages]
    widest = max(later - earlier for earlier, later in itertools.pairwise(logarithms))
    assert len(ages) - 1 == min(most, saves - 1)
    assert widest <= 2 * max(logarithms[-1] / most, math.log(2))


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=20), most_bytes=st.integers(0, 300))
def test_the_trail_never_takes_more_than_its_bytes(sizes, most_bytes):
    nbytes = dict(zip(saved_at(range(len(sizes))), sizes, strict=True))
    where = {**positions(list(nbytes)), **positions(list(saved_at([len(sizes)])))}
    trail = trail_of(where, nbytes, most=8, most_bytes=most_bytes)
    assert sum(nbytes[file] for file in trail) <= most_bytes
    assert len(trail) <= 8


def test_saves_of_one_step_are_as_far_apart_as_they_are_many():
    there = [CheckpointFile(Path(f"step-0.{repeat}.pt"), 1, 0, repeat) for repeat in range(40)]
    where = positions(there)
    assert sorted(where, key=where.__getitem__) == there
    trail = trail_of(where, dict.fromkeys(there[:-1], 1), most=4, most_bytes=10**9)
    assert there[0] in trail
    assert len(trail) == 4


def test_a_trail_of_weights_stays_behind_the_newest_and_the_best(storage):
    train([1.0] + [2.0] * 39)
    kept = steps(storage)
    assert len(kept) == 10
    assert whole(storage) == [0, 39]  # the best, the newest
    ages = [39 - step for step in kept[1:-1]][::-1]
    assert ages[0] <= 3
    assert ages[-1] >= 30
    for step in kept:
        assert verify(resolve(f"r@{step}").path).level == "every bit"
        assert hypertuner.load(f"r@{step}").weight[0, 0] == step
    assert torch.load(storage / "r" / "model.pt")["run"]["step"] == 0


def test_keep_trail_0_keeps_no_trail(storage):
    train([1.0] * 6, metric="x", keep_trail=0)
    assert steps(storage) == [5]


def test_the_trail_of_a_model_without_training_state_is_left_as_it_was_written(storage):
    train([1.0] * 4, metric="x", optimizer=False)
    assert steps(storage) == [0, 1, 2, 3]
    assert not any(inspect(file.path).extra.get("thinned") for file in Storage(storage).open("r").checkpoints())


def test_a_large_model_has_a_shorter_trail_or_none(storage, monkeypatch):
    train([1.0] * 8, metric="x", optimizer=False, name="one")
    one = resolve("one@0").path.stat().st_size
    monkeypatch.setenv("HYPERTUNER_TRAIL_BYTES", str(int(2.5 * one)))
    train([1.0] * 8, metric="x", optimizer=False, name="two")
    assert steps(storage, "two")[0] == 0
    assert len(steps(storage, "two")) == 3
    monkeypatch.setenv("HYPERTUNER_TRAIL_BYTES", str(one // 2))
    train([1.0] * 8, metric="x", optimizer=False, name="none")
    assert steps(storage, "none") == [7]


def test_a_file_that_cannot_be_thinned_stays_whole_and_the_save_is_a_save(storage, capsys):
    def refuse(operation):
        if operation.name == "rename" and "step-" in operation.path:
            raise OSError(5, "Input/output error", operation.path)

    files.fault_plan = refuse
    try:
        train([1.0] * 3, metric="x")
    finally:
        files.fault_plan = None
    assert whole(storage) == [0, 1, 2]
    assert "stays as it is" in capsys.readouterr().err
    train([1.0] * 3, metric="x", name="next")
    assert whole(storage, "next") == [2]


# --- pins


def test_a_pinned_checkpoint_stays_whole_in_this_attempt_and_the_next(storage):
    train([1.0] * 6, metric="x", pin={1}, keep_trail=0)
    assert steps(storage) == whole(storage) == [1, 5]
    run = Storage(storage).open("r")
    assert run.notes().pins == ("1/step-00000001",)
    pins.pin(resolve("r@5"))

    def again():
        net = nn.Linear(4, 3)
        saver = hypertuner.Saver(net, optimizer=torch.optim.Adam(net.parameters()), keep_trail=0)
        for step in (6, 7):
            saver.save(step=step)
            if step == 6:
                pins.pin(resolve("r@6"))

    in_a_new_attempt("r", again)
    assert steps(storage) == whole(storage) == [1, 5, 6, 7]


def test_of_two_saves_of_one_step_the_pinned_one_stays(storage):
    net = nn.Linear(1, 1)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, keep_trail=0)
        for value in range(4):
            nn.init.constant_(net.weight, value)
            saver.save(step=7)
            if value == 1:
                pins.pin(resolve("r@7"))
        run = Storage(storage).open("r")
        assert run.notes().pins == ("1/step-00000007.1",)
        assert [file.repeat for file in run.checkpoints()] == [1, 3]
        pins.pin(resolve(run.checkpoints()[0].path), off=True)
        saver.save(step=8)
        assert [file.path.name for file in run.checkpoints()] == ["step-00000008.pt"]


def test_a_pin_of_the_run_pins_what_it_offers(storage):
    train([1, 2, 3, 0.5], keep_trail=0)
    run, file = pins.pin(resolve("r"))
    assert (run.name, file.step) == ("r", 3)


def test_with_notes_that_cannot_be_read_everything_stays(storage, capsys):
    train([1.0] * 2, metric="x", keep_trail=0)
    (storage / "r" / "notes.json").write_text("{")

    def again():
        net = nn.Linear(4, 3)
        saver = hypertuner.Saver(net, keep_trail=0)
        for step in (2, 3, 4):
            saver.save(step=step)

    in_a_new_attempt("r", again)
    assert steps(storage) == [1, 2, 3, 4]
    assert "which of them are pinned" in capsys.readouterr().err


def test_what_is_no_checkpoint_of_a_run_cannot_be_pinned(storage, tmp_path):
    train([1.0])
    torch.save({"x": torch.ones(1)}, tmp_path / "mine.pt")
    with pytest.raises(hypertuner.CheckpointError, match="no checkpoint of a run"):
        pins.pin(resolve(tmp_path / "mine.pt"))


# --- what others hold


def test_an_earlier_attempts_checkpoints_are_never_touched(storage):
    train([1.0] * 4, keep_last=3, keep_trail=2)
    before = {file.path: file.path.stat().st_ino for file in Storage(storage).open("r").checkpoints()}
    in_a_new_attempt("r", lambda: hypertuner.Saver(nn.Linear(4, 3), keep_trail=0).save(step=50))
    for path, inode in before.items():
        assert path.stat().st_ino == inode


def test_a_child_keeps_what_it_began_from_through_retention_thinning_and_rm(storage):
    net = nn.Linear(4, 3)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, optimizer=torch.optim.Adam(net.parameters()))
        nn.init.constant_(net.weight, 42)
        saver.save(step=1)
        with hypertuner.new_run(name="child", parent="r@1", how="fork") as _:
            hypertuner.Saver(child := nn.Linear(4, 3), optimizer=torch.optim.Adam(child.parameters())).save(step=1)
        assert child.weight[0, 0] == 42
        saver.save(step=2)
    assert "training" not in torch.load(resolve("r@1").path)
    held = Storage(storage).open("child").layout.parent
    assert "training" in torch.load(held)
    Storage(storage).delete(Run(storage / "r"))
    verify(held)
    again = nn.Linear(4, 3)
    hypertuner.load(held, into=again)
    assert again.weight[0, 0] == 42


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_model_pt_is_the_best_or_the_newest_wherever_retention_is_stopped(storage, links, monkeypatch):
    """At every operation of a save, retention's too; on a file system without hard links also."""
    if not links:
        import errno
        import os

        def no_links(*_):
            raise OSError(errno.ENOTSUP, "no links here")

        monkeypatch.setattr(os, "link", no_links)
    net = nn.Linear(4, 3)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, optimizer=torch.optim.Adam(net.parameters()), monitor="val_loss", keep_trail=4)
        for step in range(6):
            saver.save(step=step, metrics={"val_loss": abs(step - 2)})
        stopped = set()
        for number in range(1, 45):
            count = 0

            def stop(operation, at=number):
                nonlocal count
                count += 1
                if count == at:
                    stopped.add(operation.name)
                    raise KeyboardInterrupt

            files.fault_plan = stop
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    saver.save(step=5 + number, metrics={"val_loss": number})
            finally:
                files.fault_plan = None
            assert torch.load(storage / "r" / "model.pt")["run"]["step"] == 2
            assert resolve("r@best").path.name == "step-00000002.pt"
            assert "training" in torch.load(storage / "r" / "model.pt")
            for file in Storage(storage).open("r").checkpoints():
                assert hypertuner.inspect(file.path).run["step"] == file.step
        assert stopped >= {"open", "write", "fsync", "rename", "fsync folder", "unlink"}  # thinning renames


def test_keep_is_checked():
    assert Keep() == Keep(1, 1, None, 8)
    with pytest.raises(ValueError, match="keep_trail"):
        Keep(trail=True)


def test_a_thinned_twin_is_the_same_checkpoint_and_another_save_of_the_step_is_not(storage, tmp_path):
    train([1.0] * 2, metric="x", keep_last=2)
    path = resolve("r@0").path
    twin = tmp_path / "twin.pt"
    twin.write_bytes(path.read_bytes())
    assert offer.is_same(path, twin)
    from hypertuner.frameworks.adapter import torch_adapter

    torch_adapter().thin(twin)
    assert twin.stat().st_size < path.stat().st_size
    assert offer.is_same(path, twin)
    assert not offer.is_same(resolve("r@1").path, twin)
