"""Several processes that train one model (gloo, CPU): one run, rank 0 writes, all restore, and nobody waits for ever.

The script is `ddp_train.py`; torchrun starts it, as users do.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY, THREADS, free_port

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")


class Launch:
    """A command that starts several processes; both its streams are read as one."""

    def __init__(self, folder: Path, *command: object, **env: str) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, **THREADS, "PYTHONPATH": str(REPOSITORY / "src"), "TMPDIR": str(folder / "tmp"), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.text = ""

    def read_to(self, pattern: str) -> None:
        """Read on to the line that matches."""
        for line in self.process.stdout:
            self.text += line
            if re.match(pattern, line):
                return
        raise AssertionError(f"no line {pattern!r} in:\n{self.text}")

    def end(self) -> int:
        """Wait for it; its return code."""
        self.text += self.process.stdout.read()
        self.process.stdout.close()
        code = self.process.wait()
        print(self.text)
        return code


@pytest.fixture
def launch(tmp_path) -> Iterator[object]:
    """A function that starts a command in the test's folder; what is left of it is killed when the test ends."""
    from hypertuner.queue.launch import kill

    (tmp_path / "tmp").mkdir()
    shutil.copy(Path(__file__).with_name("ddp_train.py"), tmp_path / "train.py")
    started: list[Launch] = []

    def start(*command: object, **env: str) -> Launch:
        started.append(Launch(tmp_path, *command, **env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            kill(one.process)
            one.end()


def torchrun(launch, processes: int, *words: str, options=(), **env: str) -> Launch:
    return launch(*TORCHRUN, *options, f"--nproc-per-node={processes}", "train.py", *words, **env)


def said_by(text: str, rank: int) -> dict[str, str]:
    """What one rank printed: 'loss 1 0.3' → the number; of what was done twice, the later."""
    found = {}
    for line in text.splitlines():
        if match := re.match(rf"((?:loss|began|run|resumed) {rank}(?: \d+\.\d+)?) (\S+)$", line):
            found[match[1]] = match[2]
    return found


def runs_in(storage: Path) -> list[str]:
    return sorted(path.name for path in storage.iterdir() if path.is_dir())


def ended(storage: Path, run: str, attempt: int = 1) -> dict:
    return json.loads((storage / run / f"attempts/{attempt}/exit.json").read_text())


def test_under_torchrun_all_ranks_are_one_run_that_rank_0_writes(launch, storage, tmp_path):
    import torch

    import hypertuner

    started = torchrun(launch, 2, "epochs=2")
    assert started.end() == 0
    (name,) = runs_in(storage)
    assert said_by(started.text, 0)["run 0"] == said_by(started.text, 1)["run 1"] == name
    assert started.text.count("hypertuner: ") == 1  # rank 1 says nothing, and a destroyed group makes it no rank 0
    assert ended(storage, name)["state"] == "finished"
    lines = (storage / name / "attempts/1/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 6 + 1
    saved = torch.load(storage / name / "model.pt")
    assert list(saved["state_dict"]) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    states = [rank["random"]["torch"] for rank in saved["training"]["ranks"]]
    assert len(states) == 2
    assert not torch.equal(*states)
    assert hypertuner.runs()[name].config["epochs"] == 2


def test_processes_of_a_plain_launcher_are_one_run(launch, storage):
    launcher = """
import os, subprocess, sys
command = [sys.executable, "train.py", "epochs=1"]
ranks = [subprocess.Popen(command, env={**os.environ, "RANK": rank}) for rank in "10"]
sys.exit(max(rank.wait() for rank in ranks))
"""
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = launch(sys.executable, "-c", launcher, **group)
    assert started.end() == 0
    (name,) = runs_in(storage)
    assert said_by(started.text, 1)["run 1"] == name


def test_spawned_processes_are_one_run(launch, storage):
    started = launch(sys.executable, "train.py", "epochs=1", "spawn=2", PORT=str(free_port()))
    assert started.end() == 0
    (name,) = runs_in(storage)
    assert said_by(started.text, 1)["run 1"] == name
    assert ended(storage, name)["state"] == "finished"


def test_a_save_on_rank_0_alone_hangs_nobody_and_says_what_is_missing(launch, storage):
    started = torchrun(launch, 2, "epochs=2", "saves=0")
    assert started.end() == 0
    assert started.text.count("rank 1 did not call save() when rank 0 did") == 1
    resumed = torchrun(launch, 2, HYPERTUNER_RUN=runs_in(storage)[0], HYPERTUNER_RESUME="last")
    assert resumed.end() == 0  # the last save was on all ranks
    assert "not restored" not in resumed.text


@pytest.mark.parametrize("words", [(), ("stateful=true",)], ids=["plain", "stateful"])
@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_at_any_moment_every_rank_goes_on_digit_for_digit(launch, storage, processes, words):
    whole = torchrun(launch, processes, *words, HYPERTUNER_RUN="whole")
    assert whole.end() == 0
    epochs = 48 // processes // 4
    victim = torchrun(launch, processes, *words, "slow=0.05", HYPERTUNER_RUN="victim")
    # Not in the last epoch: on a busy machine what is read was printed a while ago.
    victim.read_to(rf"loss 0 {random.choice((1, 2))}\.{random.randrange(epochs)} ")
    time.sleep(random.random() * 0.04)
    from hypertuner.queue.launch import kill

    kill(victim.process)
    victim.end()
    resumed = torchrun(launch, processes, HYPERTUNER_RUN="victim", HYPERTUNER_RESUME="last")
    assert resumed.end() == 0
    assert "resumes victim@last" in resumed.text
    assert "not restored" not in resumed.text
    for rank in range(processes):
        wanted = {key: value for key, value in said_by(whole.text, rank).items() if key.startswith("loss")}
        got = {**said_by(victim.text, rank), **said_by(resumed.text, rank)}
        assert {key: value for key, value in got.items() if key.startswith("loss")} == wanted
        assert f"loss {rank} 3.{epochs - 1}" in said_by(resumed.text, rank)
    assert len({said_by(resumed.text, rank)[f"began {rank}"] for rank in range(processes)}) == 1


def test_another_number_of_processes_goes_on_and_says_what_is_not_exact(launch, storage):
    assert torchrun(launch, 2, "epochs=1", HYPERTUNER_RUN="r").end() == 0
    config = storage / "r/config.json"
    config.write_text(config.read_text().replace('"epochs": 1', '"epochs": 3'))
    alone = torchrun(launch, 1, HYPERTUNER_RUN="r", HYPERTUNER_RESUME="last")
    assert alone.end() == 0
    assert "not restored: the split of the data: 2 processes saved it, 1 go on" in alone.text
    three = torchrun(launch, 3, HYPERTUNER_RUN="r", HYPERTUNER_RESUME="last")
    assert three.end() == 0
    assert "the split of the data: 1 process saved it, 3 go on" in three.text
    assert "random state of ranks 1, 2: seeded anew" in three.text


def test_resume_asked_for_in_the_script_is_the_same_checkpoint_on_all_ranks(launch, storage):
    first = torchrun(launch, 2, "ask=true", "epochs=2", HYPERTUNER_RUN="r")
    assert first.end() == 0
    again = torchrun(launch, 2, HYPERTUNER_RUN="r")
    assert again.end() == 0
    for rank in (0, 1):
        assert said_by(first.text, rank)[f"resumed {rank}"] == "False"
        assert said_by(again.text, rank)[f"resumed {rank}"] == "True"


def test_every_rank_starts_from_the_parent(launch, storage):
    assert torchrun(launch, 2, "epochs=1", HYPERTUNER_RUN="parent").end() == 0
    child = launch(sys.executable, "-m", "hypertuner", "run", "--nproc", "2", "--from", "parent@last", "train.py")
    assert child.end() == 0
    began = [said_by(child.text, rank)[f"began {rank}"] for rank in (0, 1)]
    assert began[0] == began[1]
    import hypertuner

    weights = hypertuner.load("parent@last", weights=True)
    assert sum(value.double().sum().item() for value in weights.values()) == pytest.approx(float.fromhex(began[0]))


@pytest.mark.parametrize("how", ["start from", "resume"])
def test_a_saver_on_rank_0_alone_is_caught_on_every_rank(launch, storage, how):
    assert torchrun(launch, 2, "epochs=1", HYPERTUNER_RUN="parent").end() == 0
    if how == "resume":
        config = storage / "parent/config.json"
        text = config.read_text().replace('"savers": "all"', '"savers": "0"').replace('"epochs": 1', '"epochs": 3')
        config.write_text(text)
        started = torchrun(launch, 2, HYPERTUNER_RUN="parent", HYPERTUNER_RESUME="last")
        name, attempt = "parent", 2
    else:
        started = launch(
            *(sys.executable, "-m", "hypertuner", "run", "--nproc", "2", "--name", "child", "--from", "parent"),
            *("train.py", "savers=0", "epochs=1"),
        )
        name, attempt = "child", 1
    begun = time.monotonic()
    assert started.end() == 1
    assert time.monotonic() - begun < 60
    assert "CheckpointError: This run" in started.text
    assert "CheckpointError: Rank 1 stopped this training: This run" in started.text
    assert not re.search(r"^loss", started.text, re.MULTILINE)
    end = ended(storage, name, attempt)
    assert end["state"] == "failed"
    assert end["reason"].startswith("rank 1: CheckpointError: This run ")


def test_torchrun_starting_the_processes_again_makes_a_new_attempt_of_the_same_run(launch, storage, tmp_path):
    script = """
import os, sys
import torch.distributed as dist
import hypertuner
from torch import nn
import torch
# torchrun hands the processes that it starts again the store of those before: without a prefix of their own, gloo may
# find the address of a rank that is gone there.
store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)
dist.init_process_group("gloo", store=store, rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
net = nn.Linear(2, 2)
saver = hypertuner.Saver(net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
resumed = saver.resume()
hypertuner.Logger().log({"loss": 1.0})
saver.save(epoch=saver.next_epoch)
dist.barrier()
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and dist.get_rank() == 1:
    raise ValueError("once")
sys.stdout.write(f"resumed {dist.get_rank()} {resumed.epoch if resumed else None}\\n")
dist.barrier()
dist.destroy_process_group()
"""
    (tmp_path / "train.py").write_text(script)
    started = torchrun(launch, 2, options=["--max-restarts=1"])
    assert started.end() == 0
    (name,) = runs_in(storage)
    assert ended(storage, name)["state"] == "failed"
    assert ended(storage, name)["reason"] == "rank 1: ValueError: once"
    assert ended(storage, name, 2)["state"] == "finished"
    assert said_by(started.text, 0)["resumed 0"] == said_by(started.text, 1)["resumed 1"] == "0"
    assert "torchrun started it again" in started.text


def test_a_finished_rank_is_not_aborted_by_the_last_collective_that_gloo_still_lets_go(launch, storage, tmp_path):
    # The thread stands for one of Gloo's that comes late, as they do on a busy machine: it needs Python's lock when
    # torch's own code is done.
    script = """
import atexit, threading
import torch, torch.distributed as dist
import hypertuner
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
torch.set_num_threads(1)
hypertuner.Logger().log({"loss": 1.0})
many, works = torch.ones(1500, 1500), threading.Event()
def let_go():
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as name:
        name.write("pt_gloo_runloop")
    works.set()
    many @ many
@atexit.register
def last():
    threading.Thread(target=let_go, daemon=True).start()
    works.wait()
"""
    (tmp_path / "train.py").write_text(script)
    started = launch(sys.executable, "train.py")
    assert started.end() == 0
    (name,) = runs_in(storage)
    assert ended(storage, name)["state"] == "finished"


def test_the_folder_of_a_run_is_the_same_on_every_rank_before_the_group_is_there(launch, storage, tmp_path):
    script = """
import os, sys, time
from hypertuner.store import current
if os.environ["RANK"] == "0":
    time.sleep(1)
sys.stdout.write(f"run {os.environ['RANK']} {current.run().folder.name}\\n")
"""
    (tmp_path / "train.py").write_text(script)
    started = torchrun(launch, 2)
    assert started.end() == 0
    (name,) = runs_in(storage)
    assert said_by(started.text, 0)["run 0"] == said_by(started.text, 1)["run 1"] == name
    left = list((tmp_path / "tmp").glob("hypertuner-*/*"))
    assert len(left) == 1
    assert torchrun(launch, 2).end() == 0
    assert [path for path in (tmp_path / "tmp").glob("hypertuner-*/*") if path in left] == []


def test_a_rank_that_cannot_hear_rank_0_says_what_to_do(launch, storage, tmp_path):
    script = """
import sys
from hypertuner.store import current
current.run().folder
"""
    (tmp_path / "train.py").write_text(script)
    other_machine = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "1"}
    started = launch(sys.executable, "train.py", **other_machine)
    assert started.end() == 1
    assert "rank 0 runs on another machine" in started.text
    assert "HYPERTUNER_RUN=my-run torchrun" in started.text
    silent = launch(sys.executable, "train.py", RANK="1", WORLD_SIZE="2", HYPERTUNER_RANKS_WAIT_S="0.5")
    assert silent.end() == 1
    assert "did not begin the run" in silent.text
    assert not storage.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_hypertuner_run_stops_all_ranks_and_resume_starts_as_many(launch, storage, number):
    started = launch(
        sys.executable, "-m", "hypertuner", "run", "--nproc", "2", "--name", "r", "train.py", "slow=0.1", "epochs=3"
    )
    started.read_to(r"loss 0 1\.1 ")
    started.process.send_signal(number)
    assert started.end() == 128 + number
    end = ended(storage, "r")
    assert end["state"] == "stopped"
    assert end["reason"] == ("stopped by Ctrl-C" if number == signal.SIGINT else "stopped by SIGTERM")
    resumed = launch(sys.executable, "-m", "hypertuner", "resume", "r")
    assert resumed.end() == 0
    assert {"loss 0 1.0", "loss 0 2.5"} <= said_by(resumed.text, 0).keys()
    assert {"loss 1 1.0", "loss 1 2.5"} <= said_by(resumed.text, 1).keys()
    assert ended(storage, "r", 2)["state"] == "finished"


def test_a_resumed_run_takes_as_many_processes_as_are_asked_for(launch, storage):
    command = ("run", "--nproc", "2", "--name", "r", "train.py", "fail_on=1", "epochs=3")
    assert launch(sys.executable, "-m", "hypertuner", *command).end() == 1
    once = launch(sys.executable, "-m", "hypertuner", "resume", "r", "--nproc", "1")
    assert once.end() == 0  # fail_on=1: there is no rank 1 now, and one process has a process group too
    assert "2 processes saved it, 1 go on" in once.text
    for name in ("exit.json", "script-exit.json"):  # as if both were gone without a word
        (storage / "r/attempts/2" / name).unlink()
    command = ("run", "--nproc", "3", "--name", "r", "--or-resume", "train.py")
    again = launch(sys.executable, "-m", "hypertuner", *command)
    assert again.end() == 0
    assert "done 2" in again.text


def test_a_script_that_spawns_its_processes_is_resumed_as_it_was_started(launch, storage):
    words = ("epochs=3", "spawn=2", "fail_on=0", "how=kill")
    first = launch(sys.executable, "train.py", *words, HYPERTUNER_RUN="r", PORT=str(free_port()))
    assert first.end() == 1
    # Without a failure this time: that is no part of the config that the test is about.
    config = storage / "r/config.json"
    config.write_text(config.read_text().replace('"fail_on": 0', '"fail_on": -1'))
    resumed = launch(sys.executable, "-m", "hypertuner", "resume", "r", "--", "spawn=2", PORT=str(free_port()))
    assert resumed.end() == 0
    assert "resumes r@last" in resumed.text
    assert {"done 0", "done 1"} <= set(resumed.text.splitlines())


@pytest.mark.parametrize(
    ("rank", "how", "reason"),
    [
        (0, "exception", "ValueError: the loss of this rank is no number"),
        (1, "exception", "rank 1: ValueError: the loss of this rank is no number"),
        (0, "kill", "rank 0 was killed"),
        (1, "kill", "another rank "),
    ],
)
def test_a_rank_that_fails_makes_the_run_failed_with_its_reason(launch, storage, rank, how, reason):
    started = launch(
        *(sys.executable, "-m", "hypertuner", "run", "--nproc", "2", "--name", "r", "train.py"),
        *(f"fail_on={rank}", f"how={how}"),
    )
    assert started.end() == 1
    end = ended(storage, "r")
    assert end["state"] == "failed"
    assert end["reason"].startswith(reason)
    assert "r ✗ failed" in started.text
