"""Two processes on one run: each keeps what it wrote, and model.pt belongs to the newest attempt."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.conftest import script_environment
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify
from hypertuner.checkpoint.saves import Saves
from hypertuner.store import Run, current

NEWER = """
import torch, hypertuner
from torch import nn
net = nn.Linear(3, 3)
nn.init.constant_(net.weight, 2)
hypertuner.Logger().log({"loss": 2.0}, 2)
hypertuner.Saver(net).save(step=2)
"""
STARTED = """
import hypertuner
hypertuner.Logger().log({"loss": 2.0}, 2)
"""


def older(value=1):
    net = nn.Linear(3, 3)
    nn.init.constant_(net.weight, value)
    return net


@pytest.mark.parametrize("background", [False, True])
def test_an_older_attempt_keeps_its_files_and_its_save_raises(storage, run_script, background):
    with hypertuner.new_run(name="r"):
        saver, logger = hypertuner.Saver(older(), background=background), hypertuner.Logger()
        logger.log({"loss": 1.0}, 1)
        mine = saver.save(step=1).wait().path
        run_script(NEWER, env={"HYPERTUNER_RUN": "r", "HYPERTUNER_ATTEMPT": None})
        with pytest.raises(hypertuner.CheckpointError) as caught:
            saver.save(step=3).wait()
        assert "attempt 2 owns it, this is attempt 1" in str(caught.value)
        assert "Stop one of the two" in str(caught.value)
        logger.log({"loss": 3.0}, 3)
    run = Run(storage / "r")
    verify(mine)
    assert torch.load(mine)["run"]["step"] == 1
    assert torch.load(run.layout.model)["run"]["step"] == 2
    assert hypertuner.load("r").weight[0, 0] == 2
    assert [record.step for record in run.logged()] == [2]
    assert [record.step for record in run.attempts()[0].logged()] == [1, 3]


def is_refused(save):
    with pytest.raises(hypertuner.CheckpointError, match="attempt 2 owns it"):
        save()


@pytest.mark.parametrize("told", ["at once", "by wait", "by the next save", "at the end"])
@pytest.mark.parametrize("newer", [NEWER, STARTED], ids=["it saves", "it has only started"])
def test_an_attempt_that_is_overtaken_while_it_writes_does_not_move_the_model(storage, run_script, capsys, newer, told):
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(older(), background=told != "at once")
        saver.save(step=1).wait()
        overtaken, moved = False, []

        def plan(operation):
            nonlocal overtaken
            if overtaken and operation.path.endswith("model.pt"):
                moved.append(operation)
            if operation.name == "fsync" and not overtaken and "checkpoints" in operation.path:
                overtaken = True
                run_script(newer, env={"HYPERTUNER_RUN": "r", "HYPERTUNER_ATTEMPT": None})

        files.fault_plan = plan
        try:
            if told == "at once":
                is_refused(lambda: saver.save(step=9))
            else:
                saved = saver.save(step=9)
                Saves.of(current.run()).drain()
            if told == "by wait":
                is_refused(saved.wait)
            elif told == "by the next save":
                is_refused(lambda: saver.save(step=10))
        finally:
            files.fault_plan = None
        assert moved == []
    run = Run(storage / "r")
    ended = run.attempts()[0].exit()
    assert ended.state == ("failed" if told == "at the end" else "finished")
    if told == "at the end":
        assert "the save of step 9 of r failed: Run 'r' was started again: attempt 2 owns it" in ended.reason
        assert "failed in the background: Run 'r' was started again" in capsys.readouterr().err
    assert torch.load(run.layout.model)["run"]["step"] == (2 if newer == NEWER else 1)
    # What it had written by then is kept.
    assert [file.step for file in run.attempts()[0].checkpoints()] == [1, 9]


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("at", ["link", "rename", "fsync folder"])
def test_an_attempt_that_is_overtaken_while_it_moves_the_model_gives_it_back(storage, run_script, at, background):
    with hypertuner.new_run(name="r"):
        saver = hypertuner.Saver(older(), background=background)
        saver.save(step=1).wait()
        overtaken = False

        def plan(operation):
            nonlocal overtaken
            path = Path(operation.path)
            if not overtaken and operation.name == at and storage / "r" in (path, path.parent):
                overtaken = True
                run_script(NEWER, env={"HYPERTUNER_RUN": "r", "HYPERTUNER_ATTEMPT": None})

        files.fault_plan = plan
        try:
            is_refused(lambda: saver.save(step=9).wait())
        finally:
            files.fault_plan = None
        assert torch.load(storage / "r" / "model.pt")["run"]["step"] == 2
        is_refused(lambda: saver.save(step=10).wait())
    run = Run(storage / "r")
    assert torch.load(run.layout.model)["run"]["step"] == 2
    assert [file.step for file in run.attempts()[0].checkpoints()][-1] == 9


LOOP = """
import time, torch, hypertuner
from pathlib import Path
from torch import nn

net = nn.Linear(30, 30)
saver = hypertuner.Saver(net, background={background})
step, until = {first}, time.monotonic() + 20
while time.monotonic() < until and not Path("stop").exists():
    nn.init.constant_(net.weight, step)
    try:
        saver.save(step=step){wait}
    except hypertuner.CheckpointError as error:
        print("lost:", str(error).splitlines()[0], flush=True)
        break
    print("kept", step, flush=True)
    step += 1
"""


@pytest.mark.parametrize(
    ("background", "wait"), [(False, ""), (True, ".wait()"), (True, "")], ids=["durable", "waited for", "background"]
)
def test_of_two_processes_that_train_one_run_the_older_is_told_and_the_newer_has_the_model(
    storage, tmp_path, background, wait
):
    environment = script_environment({"HYPERTUNER_RUN": "r", "HYPERTUNER_ATTEMPT": None})

    def start(first):
        script = tmp_path / f"from_{first}.py"
        script.write_text(LOOP.format(first=first, background=background, wait=wait))
        return subprocess.Popen(
            [sys.executable, str(script)], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )

    one = start(1000)
    assert one.stdout.readline() == "kept 1000\n"
    two = start(5000)
    said = one.communicate(timeout=60)[0].splitlines()
    assert said[-1] == "lost: Run 'r' was started again: attempt 2 owns it, this is attempt 1."
    time.sleep(0.2)
    (tmp_path / "stop").touch()
    kept = [int(line.split()[1]) for line in two.communicate(timeout=60)[0].splitlines()]
    assert one.returncode == two.returncode == 0
    assert kept == list(range(5000, 5000 + len(kept)))
    run = Run(storage / "r")
    loaded = torch.load(run.layout.model)
    assert loaded["run"]["step"] == kept[-1]
    for number, attempt in enumerate(run.attempts()):
        for file in attempt.checkpoints():
            verify(file.path)
            weights = torch.load(file.path)["state_dict"]["weight"]
            assert torch.equal(weights, torch.full((30, 30), float(file.step)))
            assert (file.step >= 5000) == (number == 1)


def test_attempts_started_at_one_moment_get_numbers_of_their_own(tmp_path, storage):
    with hypertuner.new_run(name="r"):
        hypertuner.Logger().log({"x": 1})
    script = tmp_path / "race.py"
    script.write_text(
        "import sys, time, hypertuner\n"
        "from hypertuner.store import current\n"
        "while time.time() < float(sys.argv[1]): pass\n"
        "print(current.run().attempt().number)\n"
    )
    import os

    environment = {
        **os.environ,
        "HYPERTUNER_RUN": "r",
        "PYTHONPATH": os.path.dirname(os.path.dirname(hypertuner.__file__)),
    }
    environment.pop("HYPERTUNER_ATTEMPT", None)
    processes = [
        subprocess.Popen([sys.executable, str(script), str(time.time() + 1.5)], env=environment, stdout=subprocess.PIPE)
        for _ in range(5)
    ]
    numbers = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert len(set(numbers)) == 5
    assert all(attempt.started.attempt == attempt.number for attempt in Run(storage / "r").attempts())
    assert current.run() is not None
