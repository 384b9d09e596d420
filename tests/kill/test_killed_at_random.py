"""SIGKILL at every operation of a save, and at random moments: no torn file, no lost commit, nothing to clean up."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify
from hypertuner.checkpoint.reference import resolve
from hypertuner.store import Run, RunState

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL and fork")


def in_a_child(work):
    """Run `work` in a forked process; the signal that ended it, 0 when none did."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads: the child uses none
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kill_at(number):
    """Die at the `number`-th operation from here on; the list of operations is for who does not."""
    count = 0

    def plan(operation):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    files.fault_plan = plan


def saves(name, number, *, earlier):
    """In a child: a run with `earlier` saves, the last of which was acknowledged, then one that is killed."""

    def work():
        net = nn.Linear(20, 10)
        with hypertuner.new_run(name=name):
            saver = hypertuner.Saver(net, keep_last=1)
            for step in range(earlier):
                nn.init.constant_(net.weight, step)
                saver.save(step=step)
            nn.init.constant_(net.weight, earlier)
            kill_at(number)
            saver.save(step=earlier)
            files.fault_plan = None

    return in_a_child(work)


def whole(path):
    """The step of a checkpoint whose weights are those of that step."""
    verify(path)
    loaded = torch.load(path)
    step = loaded["run"]["step"]
    assert torch.equal(loaded["state_dict"]["weight"], torch.full((10, 20), float(step)))
    return step


def save_again(folder, step):
    """The run's next attempt, as a started script makes it."""

    def work():
        os.environ["HYPERTUNER_RUN"] = str(folder)
        from hypertuner.store import current

        current._process_run = None
        net = nn.Linear(20, 10)
        nn.init.constant_(net.weight, step)
        hypertuner.Saver(net).save(step=step)

    assert in_a_child(work) == 0


def test_a_kill_at_any_operation_of_a_save_leaves_the_old_model_or_the_new_one(storage):
    number, outcomes = 0, set()
    while True:
        number += 1
        name = f"r{number}"
        signalled = saves(name, number, earlier=1)
        run = Run(storage / name)
        offered = whole(resolve(name).path)
        last = whole(resolve(f"{name}@last").path)
        assert last in (0, 1)
        assert offered == last
        assert hypertuner.load(name).weight[0, 0] == last
        # Opening it repaired it: torch.load of the plain path gives the same.
        assert whole(run.layout.model) == last
        for path in run.folder.rglob("*.pt"):
            whole(path)
        if not signalled:
            break
        outcomes.add(last)
        assert run.state() == RunState.crashed
        if number % 5 == 0:
            save_again(run.folder, 9)
            assert not list(run.folder.rglob(".draft-*"))
            assert whole(run.layout.model) == 9
    assert number > 8
    assert outcomes == {0, 1}


def test_a_kill_at_any_operation_of_the_first_save_leaves_nothing_to_clean_by_hand(storage):
    for number in range(1, 200, 4):
        name = f"r{number}"
        signalled = saves(name, number, earlier=0)
        run = Run(storage / name)
        for path in run.folder.rglob("*.pt"):
            if not path.name.startswith("."):
                whole(path)
        for path in (run.folder / "source").rglob("*.py"):
            compile(path.read_bytes(), str(path), "exec")
        table = hypertuner.runs()
        assert all(row.note == "" for row in table)
        if not signalled:
            break
        if number % 8 == 1:
            save_again(run.folder, 9)
            assert whole(run.layout.model) == 9
            assert not list(run.folder.rglob(".draft-*"))
    assert number > 30


def test_a_model_that_could_not_be_repaired_is_read_all_the_same(storage, monkeypatch):
    saved = saves("r", 10**6, earlier=2)
    assert saved == 0
    run = Run(storage / "r")
    run.layout.model.unlink()

    def refuse(operation):
        raise PermissionError(13, "Permission denied", operation.path)

    monkeypatch.setattr(files, "fault_plan", refuse)
    assert whole(resolve("r").path) == 2
    assert not run.layout.model.exists()


def test_a_model_that_somebody_put_there_is_left_alone(storage):
    assert saves("r", 10**6, earlier=2) == 0
    run = Run(storage / "r")
    run.layout.model.unlink()
    torch.save({"mine": torch.ones(1)}, run.layout.model)
    assert hypertuner.load("r", weights=True).keys() == {"mine"}
    assert torch.load(run.layout.model).keys() == {"mine"}


LOOP = """
import torch, hypertuner
from torch import nn

net = nn.Linear(20, 10)
saver = hypertuner.Saver(net)
for step in range(100000):
    nn.init.constant_(net.weight, step)
    saver.save(step=step)
    print(step, flush=True)
"""


def kill_in_a_loop(tmp_path, storage, times, seed):
    """Each round is a new attempt of one run, killed some milliseconds after its first save."""
    script = tmp_path / "loop.py"
    script.write_text(LOOP)
    random_ = random.Random(seed)
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(hypertuner.__file__))}
    environment["HYPERTUNER_RUN"] = "r"
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, str(script)], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        first = process.stdout.readline()
        assert first == b"0\n", process.communicate()
        time.sleep(random_.uniform(0, 0.08))
        process.kill()
        rest, _ = process.communicate()
        # A line that was cut short acknowledges nothing.
        said = [int(line) for line in (first + rest).split(b"\n")[:-1]]
        run = Run(storage / "r")
        last = whole(resolve("r@last").path)
        assert last in (said[-1], said[-1] + 1)
        assert whole(resolve("r").path) == last == whole(run.layout.model)
        assert hypertuner.load("r").weight[0, 0] == last
        for path in run.folder.rglob("step-*.pt"):
            whole(path)
        assert run.state() == RunState.crashed
        assert len(list(run.folder.rglob(".draft-*"))) <= 2  # of the process killed just now


def test_kills_at_random_moments(tmp_path, storage):
    kill_in_a_loop(tmp_path, storage, 3, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_kills_at_random_moments(tmp_path, storage):
    kill_in_a_loop(tmp_path, storage, 60, seed=2)
