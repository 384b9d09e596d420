"""Saves in the background: training goes on, nothing is lost, and what goes wrong is told."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import threading
from decimal import Decimal

import pytest
import torch
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify
from hypertuner.store import Run, RunState


def net_of(value):
    net = nn.Linear(40, 30)
    nn.init.constant_(net.weight, value)
    return net


def weight(path):
    verify(path)
    found = torch.load(path)["state_dict"]["weight"]
    assert torch.equal(found, found[0, 0].expand_as(found))
    return float(found[0, 0])


class Gate:
    """Holds every save in the background before its first byte, until it is opened.

    A run does not end while a save waits: a test opens the gate before anything in it may fail.
    """

    def __init__(self, monkeypatch):
        self.opened = threading.Event()
        self.reached = threading.Semaphore(0)
        main = threading.get_ident()

        def plan(operation):
            if threading.get_ident() != main and operation.name == "open" and ".draft-" in operation.path:
                self.reached.release()
                assert self.opened.wait(60)

        monkeypatch.setattr(files, "fault_plan", plan)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


def test_the_model_of_the_call_is_saved_whatever_training_does_meanwhile(storage, gate):
    net = net_of(1)
    optimizer = torch.optim.AdamW(net.parameters())
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, optimizer=optimizer, background=True)
        net(torch.ones(1, 40)).sum().backward()
        optimizer.step()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        moment = optimizer.state[net.weight]["exp_avg"].clone()
        saved = saver.save(step=1)
        was_durable = saved.is_durable
        nn.init.constant_(net.weight, 5)
        optimizer.step()
        gate.opened.set()
        assert not was_durable
        assert saved.wait() is saved
        assert saved.is_durable
    found = torch.load(saved.path)
    for name, value in before.items():
        assert torch.equal(found["state_dict"][name], value)
    assert torch.equal(found["training"]["optimizer"]["state"][0]["exp_avg"], moment)
    assert found["training"]["optimizer"]["state"][0]["step"] == 1
    assert found["run"]["step"] == 1


class Seeing(nn.Linear):
    """Keeps a list of its own in its state."""

    def __init__(self, seen):
        super().__init__(3, 2)
        self.seen = seen

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


@pytest.mark.parametrize("odd", [1, Decimal(1)], ids=["plain", "odd"])
def test_python_values_are_those_of_the_call_too(storage, gate, odd):
    """Lists and dicts that training goes on to change, in the model's state, the training state and the config."""
    seen, losses, last, metrics = [1], {"all": [0.5], "by": {"val": [0.1]}}, [odd], {"acc": 0.5}
    with hypertuner.new_run(name="r", rates=[0.1, 0.2]) as args:
        net = Seeing(seen)
        saver = hypertuner.Saver(net, extra={"losses": losses, "last": last}, background=True)
        saved = saver.save(step=1, metrics=metrics)
        seen.append(2)
        losses["all"].append(9.0)
        losses["by"]["val"][0] = 9.0
        losses["by"]["test"] = [9.0]
        last.append(odd)
        metrics["acc"] = 9.0
        args.rates.append(9.0)
        gate.opened.set()
        saved.wait()
    found = torch.load(saved.path)
    assert found["state_dict"]["_extra_state"] == [1]
    training = found["training"] if type(odd) is int else pickle.loads(found["opaque"])["training"]
    assert training["extra"] == {"losses": {"all": [0.5], "by": {"val": [0.1]}}, "last": [odd]}
    assert found["run"]["metrics"] == {"acc": 0.5}
    assert found["hyperparameters"]["rates"] == [0.1, 0.2]
    index = hypertuner.inspect(saved.path)
    assert index.metrics == {"acc": 0.5}
    assert index.hyperparameters["rates"] == [0.1, 0.2]


CONSTANTS = """
import threading, torch, hypertuner
from torch import nn
from hypertuner import files

SCALE = {"by": [2.0]}

class Scaled(nn.Linear):
    def forward(self, x):
        return x * SCALE["by"][-1]

opened, main = threading.Event(), threading.get_ident()

def hold(operation):
    if threading.get_ident() != main:
        assert opened.wait(60)

saver = hypertuner.Saver(Scaled(1, 1), background=True)
hypertuner.Logger().log({"loss": 1.0}, 1)
files.fault_plan = hold
saver.save(step=1)
SCALE["by"].append(9.0)
opened.set()
"""


def test_what_the_models_code_needs_is_that_of_the_call_too(storage, run_script):
    """Its source, of which a script that has ended tells nothing any more, and values that change later."""
    run_script(CONSTANTS, env={"HYPERTUNER_RUN": "r"})
    assert hypertuner.load("r")(torch.ones(1)) == 2.0


def test_a_run_ends_when_everything_is_durable(storage):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True, keep_last=9, keep_best=0)
        for step in range(9):
            nn.init.constant_(net.weight, step)
            saver.save(step=step)
    run = Run(storage / "r")
    assert run.state() == RunState.finished
    found = {file.step: weight(file.path) for file in run.checkpoints()}
    assert found == {step: float(step) for step in range(9)}
    assert weight(run.layout.model) == 8


def test_two_may_be_under_way_and_the_third_waits(storage, gate):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True)
        saver.save(step=0)
        saver.save(step=1)
        third = threading.Thread(target=lambda: saver.save(step=2))
        third.start()
        third.join(0.2)
        waited = third.is_alive()
        gate.opened.set()
        assert waited
        third.join(60)
        assert not third.is_alive()
    assert Run(storage / "r").checkpoints()[-1].step == 2


def test_skip_leaves_the_third_out_and_says_so_once(storage, gate, capsys):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background="skip", keep_last=9, keep_best=0)
        saved = [saver.save(step=step) for step in range(4)]
        gate.opened.set()
        assert [checkpoint.path is None for checkpoint in saved] == [False, False, True, True]
        assert saved[2].wait().is_durable is False
    assert [file.step for file in Run(storage / "r").checkpoints()] == [0, 1]
    assert capsys.readouterr().err.count("left out") == 1


def test_coalesce_lets_the_newest_take_the_place_of_the_one_that_waits(storage, gate):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background="coalesce", keep_last=9, keep_best=0)
        saver.save(step=0)
        assert gate.reached.acquire(timeout=60)
        saved = []
        for step in (1, 2, 3):
            nn.init.constant_(net.weight, step)
            saved.append(saver.save(step=step))
        gate.opened.set()
        saved[0].wait()  # durable is the one that took its place
        assert weight(saved[2].path) == 3
        assert not saved[0].is_durable
    assert [file.step for file in Run(storage / "r").checkpoints()] == [0, 3]


def test_a_step_that_is_saved_twice_while_the_first_is_under_way_gets_a_file_of_its_own(storage, gate):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True, keep_last=9, keep_best=0)
        one = saver.save(step=7)
        two = saver.save(step=7)
        gate.opened.set()
    assert one.path != two.path
    assert one.is_durable
    assert two.is_durable


def failing(code, name="fsync"):
    left = [1]

    def plan(operation):
        if operation.name == name and "checkpoints" in operation.path and left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code), operation.path)

    return plan


def test_an_error_is_raised_by_the_next_save_once_and_then_saving_goes_on(storage, monkeypatch, capsys):
    net = net_of(3)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True)
        saver.save(step=0).wait()
        monkeypatch.setattr(files, "fault_plan", failing(errno.ENOSPC))
        saver.save(step=1)
        hypertuner.checkpoint.saves.Saves.of(hypertuner.store.current.run()).drain()
        with pytest.raises(hypertuner.StorageFullError, match="the disk is full"):
            saver.save(step=2)
        saver.save(step=3)
    assert "the save of step 1 of r failed in the background" in capsys.readouterr().err
    run = Run(storage / "r")
    assert run.state() == RunState.finished
    assert [file.step for file in run.checkpoints()] == [0, 3]


@pytest.mark.parametrize("operation", ["fsync", "fsync folder"])
def test_wait_raises_the_error_and_then_nobody_else_does(storage, monkeypatch, operation):
    net = net_of(3)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True)
        saver.save(step=0).wait()
        monkeypatch.setattr(files, "fault_plan", failing(errno.ENOSPC, operation))
        saved = saver.save(step=1)
        with pytest.raises(hypertuner.StorageFullError):
            saved.wait()
        assert not saved.is_durable
        saver.save(step=2)
    assert Run(storage / "r").state() == RunState.finished


def test_a_last_save_that_fails_makes_the_run_failed_and_is_said(storage, monkeypatch, capsys):
    net = net_of(3)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True)
        saver.save(step=0).wait()
        monkeypatch.setattr(files, "fault_plan", failing(errno.ENOSPC))
        saver.save(step=1)
    run = Run(storage / "r")
    assert run.state() == RunState.failed
    assert "the save of step 1 of r failed" in run.newest_attempt().exit().reason
    assert "the disk is full" in capsys.readouterr().err
    assert weight(run.layout.model) == 3


SCRIPT = """
import os, signal, sys, time, torch, hypertuner
from torch import nn

signal.signal(signal.SIGINT, signal.default_int_handler)  # what was started in the background inherits "ignored"
net = nn.Linear(400, 300)
saver = hypertuner.Saver(net, background=True)
for step in range(3):
    nn.init.constant_(net.weight, step)
    saver.save(step=step)
print("all captured", flush=True)
END
"""


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("pass", RunState.finished),
        ("sys.exit(0)", RunState.finished),
        ("raise ValueError('x')", RunState.failed),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", RunState.stopped),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", RunState.stopped),
    ],
)
def test_however_a_script_ends_its_last_save_is_durable_first(storage, run_script, end, state):
    run_script(SCRIPT.replace("END", end), check=False, env={"HYPERTUNER_RUN": "r"})
    run = Run(storage / "r")
    assert run.state() == state
    assert weight(run.layout.model) == 2
    assert not list(run.folder.rglob(".draft-*"))


def test_a_killed_script_leaves_whole_checkpoints_only(storage, run_script):
    run_script(SCRIPT.replace("END", "os.kill(os.getpid(), signal.SIGKILL)"), check=False, env={"HYPERTUNER_RUN": "r"})
    run = Run(storage / "r")
    assert run.state() == RunState.crashed
    for file in run.checkpoints():
        assert weight(file.path) == file.step


def test_a_forked_worker_does_not_wait_for_saves_of_its_parent(storage, run_script):
    said = run_script(
        SCRIPT.replace(
            "END",
            """
from torch.utils.data import DataLoader
for _ in range(3):
    saver.save(step=9)
    assert len(list(DataLoader(list(range(8)), num_workers=2))) == 8
""",
        ),
        env={"HYPERTUNER_RUN": "r"},
        timeout=100,
    )
    assert "all captured" in said.stdout
    assert Run(storage / "r").state() == RunState.finished


def test_memory_is_kept_from_save_to_save(storage):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True)
        stages = []
        for step in range(3):
            saver.save(step=step).wait()
            (stage,) = saver._adapter._staging._free
            stages.append((stage, [slab.memory for slab in stage.plain._slabs]))
        assert stages[0] == stages[1] == stages[2]
        assert stages[0][1]


def test_what_saving_cost_is_said_when_it_was_much(storage, monkeypatch, capsys):
    monkeypatch.setattr("hypertuner.checkpoint.saves._DEAR_S", 0.0)
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(net_of(0)).save(step=0)
    said = capsys.readouterr().err
    assert "% of the run's time" in said
    assert "background=True" in said


@pytest.mark.parametrize("wrong", ["sometimes", 3, None])
def test_another_word_for_background_is_refused(wrong):
    with pytest.raises(ValueError, match="'wait', 'skip' or 'coalesce'"):
        hypertuner.Saver(net_of(0), background=wrong)


def test_a_signal_that_saves_while_a_save_is_handed_over_does_not_hang(storage, gate):
    net = net_of(0)
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(net, background=True)
        before = signal.signal(signal.SIGALRM, lambda *_: gate.opened.set() or saver.save(step=9))
        try:
            saver.save(step=0)
            saver.save(step=1)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            saver.save(step=2)  # waits, and is interrupted by the signal
        finally:
            signal.signal(signal.SIGALRM, before)
    assert Run(storage / "r").state() == RunState.finished


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(2, 3), nn.ReLU()),
        {"G": nn.Linear(2, 3), "D": nn.Linear(3, 1)},
        {"w": torch.ones(3), "none": torch.empty(0)},
        nn.Sequential(nn.LazyLinear(3)),
    ],
    ids=["module", "parts", "tensors", "lazy"],
)
def test_every_kind_of_model_is_saved_in_the_background(storage, model):
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(model, background=True)
        if isinstance(model, nn.Sequential):
            model(torch.ones(1, 2))
        assert saver.save(step=0).wait().is_durable
