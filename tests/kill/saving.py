"""Every kind of save, run in a forked process that may die, and what must be true of the storage afterwards.

A checkpoint of step n holds n in every value, so that a file tells by itself whether it is whole and of one step.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import torch
from torch import nn

import hypertuner
from hypertuner import files
from hypertuner.checkpoint.format.archive import verify
from hypertuner.checkpoint.reference import resolve
from hypertuner.store import Run, current

RUN = "r"
PARENT = "p"


class Parts:
    """A model and what trains it, all of one step."""

    def __init__(self, kind: Kind) -> None:
        self.options: dict = dict(kind.options)
        self.net: nn.Module | None = None
        self.optimizer = None
        self.model: object
        self._is_quantised = kind.model == "quantised"
        if kind.model in ("large", "quantised"):
            count = 900_000 if kind.model == "large" else 300
            self.model = self.tensors = {"weight": torch.zeros(count)}
        else:
            self.model = self.net = nn.Linear(20, 10)
        if kind.trains:
            assert self.net is not None
            self.optimizer = torch.optim.AdamW(self.net.parameters())
            scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 10)
            self.counts = {"count": 0, "odd": Decimal(0)} if kind.is_odd else {"count": 0}
            self.options |= {"optimizer": self.optimizer, "scheduler": scheduler, "extra": self.counts}

    def become(self, step: int) -> None:
        """Hold `step` in every value."""
        with torch.no_grad():
            if self.net is None:
                self.tensors["weight"].fill_(step)
                if self._is_quantised:
                    self.tensors["quantised"] = quantised(step)
                return
            for parameter in self.net.parameters():
                parameter.fill_(step)
                parameter.grad = torch.zeros_like(parameter)
            if self.optimizer is not None:
                if not self.optimizer.state:
                    self.optimizer.step()
                    for parameter in self.net.parameters():
                        parameter.fill_(step)
                for state in self.optimizer.state.values():
                    for tensor in state.values():
                        tensor.fill_(step)
                for name, value in self.counts.items():
                    self.counts[name] = type(value)(step)

    def are(self, step: int) -> bool:
        """Whether every value is that of `step`."""
        if self.net is None:
            return bool((self.tensors["weight"] == step).all())
        tensors = list(self.net.parameters())
        if self.optimizer is not None:
            tensors += [tensor for state in self.optimizer.state.values() for tensor in state.values()]
            if any(value != step for value in self.counts.values()):
                return False
        return all(bool((tensor == step).all()) for tensor in tensors)


def quantised(step: int) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch will drop them
        return torch.quantize_per_tensor(torch.full((50,), float(step)), 1.0, 0, torch.quint8)


@dataclass(frozen=True)
class Kind:
    """One kind of save: what is saved, and how."""

    name: str
    before: tuple[int, ...] = (0,)
    """Steps that are saved and acknowledged first."""
    then: tuple[int, ...] = (1,)
    """Steps whose saves may die."""
    model: str = ""
    trains: bool = False
    is_odd: bool = False
    options: dict = field(default_factory=dict)
    how: str = ""
    """How the run goes on from its parent, which saved step 5; or 'resume': the saves that may die are a second
    attempt's."""
    logs: bool = False

    def score(self, step: int) -> float:
        """What is logged as accuracy: rising, unless the kind is about which one is best."""
        if "monitor" not in self.options:
            return float(step)
        return float(-step if self.options.get("keep_best") == 2 else step % 3)


KINDS = [
    Kind("first", before=()),
    Kind("next"),
    Kind("same step again", then=(0,)),
    Kind("logged", logs=True),
    Kind("retention of the last", before=(0, 1), then=(2, 3), options={"keep_last": 2, "keep_best": 0}),
    Kind("retention of the best", before=(2, 3), then=(4, 6), options={"monitor": "acc", "mode": "max"}),
    Kind("two best", before=(0, 1, 2), then=(3,), options={"monitor": "acc", "mode": "max", "keep_best": 2}),
    Kind("background", options={"background": True}),
    Kind("two in the background", then=(1, 2), options={"background": True}, trains=True),
    Kind("coalesced", then=(1, 2, 3, 4), options={"background": "coalesce"}),
    Kind("training state", trains=True),
    Kind("odd state", trains=True, is_odd=True),
    Kind("written by torch", model="quantised"),
    Kind("several writes", model="large"),
    Kind("start from", before=(), then=(7, 8), how="start from"),
    Kind("fork", before=(), then=(7, 8), how="fork", trains=True),
    Kind("resumed", before=(0, 1), then=(2, 3), how="resume", trains=True),
    Kind("thinned and removed", before=(0, 1, 2), trains=True, then=(3,), options={"keep_trail": 1}),
    Kind(
        "thinned and removed in the background",
        before=(0, 1, 2),
        then=(3,),
        trains=True,
        options={"keep_trail": 1, "background": True},
    ),
]


def warm_up(storage: Path, home: Path) -> None:
    """Import here what a save imports, seconds' worth, so that forked processes have it."""
    for kind in KINDS[10:12]:
        parts = Parts(kind)
        parts.become(1)
        with hypertuner.new_run("warm"):
            hypertuner.Saver(parts.model, **parts.options).save(step=1)
        step_of(resolve("warm").path)
        hypertuner.load("warm")
        hypertuner.runs()
        forget(storage)
    forget(home)


class Told:
    """What a child process says while it can: which saves it began, and which were acknowledged."""

    def __init__(self, begun: list[int], kept: list[int], was_killed: bool) -> None:
        self.begun = begun
        self.kept = kept
        self.was_killed = was_killed


def in_a_child(work: Callable[[Callable[[str], None]], None]) -> tuple[list[str], int]:
    """Run `work` in a forked process; the lines it said, and the signal that ended it (0: none did)."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking a process with threads: the child uses none
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            work(lambda line: (os.write(writer, f"{line}\n".encode()), None)[1])
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, said
    # A line that was cut short says nothing.
    return said.decode().split("\n")[:-1], os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def saved(kind: Kind, arm: Callable[[], None], disarm: Callable[[], None] = lambda: None) -> Told:
    """The saves of a kind in a forked process; `arm` is called in it when those begin that may die."""

    def work(say: Callable[[str], None]) -> None:
        parts = Parts(kind)
        if kind.how in ("start from", "fork"):
            with hypertuner.new_run(PARENT):
                parts.become(5)
                hypertuner.Saver(parts.model, **parts.options).save(step=5)
            parts = Parts(kind)
            arm()
            with hypertuner.new_run(RUN, parent=PARENT, how=kind.how):
                save(kind, parts, kind.then, say)
        elif kind.how == "resume":
            with hypertuner.new_run(RUN):
                save(kind, parts, kind.before, say)
            parts = Parts(kind)
            arm()
            with hypertuner.new_run(RUN, resume=True):
                save(kind, parts, kind.then, say)
        else:
            with hypertuner.new_run(RUN):
                if not kind.before:
                    arm()
                saver = save(kind, parts, kind.before, say)
                arm()
                save(kind, parts, kind.then, say, saver)
        disarm()

    lines, number = in_a_child(work)
    assert number in (0, signal.SIGKILL, signal.SIGALRM)
    words = [line.split() for line in lines]
    return Told(
        [int(step) for word, step in words if word == "begun"],
        [int(step) for word, step in words if word == "kept"],
        bool(number),
    )


def save(kind: Kind, parts: Parts, steps: tuple[int, ...], say: Callable[[str], None], saver=None):
    """Save each step, and say so; in the background all are begun before the first is waited for."""
    saver = saver or hypertuner.Saver(parts.model, **parts.options)
    made = []
    for step in steps:
        parts.become(step)
        if kind.logs:
            hypertuner.Logger().log({"loss": float(step)}, step)
        say(f"begun {step}")
        made.append(saver.save(step=step, metrics={"acc": kind.score(step)}))
        parts.become(100)  # whatever training does next reaches no save
        if not kind.options.get("background"):
            say(f"kept {step}")
    if kind.options.get("background"):
        for checkpoint in made:
            checkpoint.wait()
            if checkpoint.is_durable:
                say(f"kept {checkpoint.step}")
    return saver


def step_of(path: Path) -> int:
    """The step of a checkpoint that is whole, and all of one step."""
    assert verify(path).level == "every bit"
    loaded = torch.load(path)
    step = loaded["run"]["step"]
    values = list(loaded["state_dict"].values())
    if "training" in loaded:
        training = loaded["training"]
        values += [tensor for state in training["optimizer"]["state"].values() for tensor in state.values()]
        extra = training["extra"] if "extra" in training else pickle.loads(loaded["opaque"])["training"]["extra"]
        assert set(map(int, extra.values())) == {step}, (path, step, extra)
    for value in values:
        plain = value.dequantize() if value.is_quantized else value
        assert torch.equal(plain, torch.full_like(plain, float(step))), (path, step)
    return step


def files_are_whole(storage: Path) -> None:
    """No file under a name of ours is torn."""
    for path in storage.rglob("*.pt"):
        if not path.name.startswith(".draft-"):
            step_of(path)


def nothing_is_lost(storage: Path, kind: Kind, told: Told) -> None:
    """What was acknowledged is there, whole, under every name that should lead to it."""
    files_are_whole(storage)
    assert all(row.note == "" for row in hypertuner.runs())
    if kind.how in ("start from", "fork"):
        assert step_of(resolve(PARENT).path) == 5
    try:
        last = step_of(resolve(f"{RUN}@last").path)
        offered = step_of(resolve(RUN).path)
    except (hypertuner.RunNotFoundError, hypertuner.CheckpointNotFoundError):
        assert told.kept == []
        return
    known = {step for step in told.begun if not told.kept or step >= told.kept[-1]}
    assert last in known, (last, told.begun, told.kept)
    if "monitor" in kind.options:
        known = {step for step in told.begun if step <= last}
        best = max(known, key=lambda step: (kind.score(step), step))
        assert offered == best == step_of(resolve(f"{RUN}@best").path)
    else:
        assert offered == last
    # Resolving repaired it: torch.load of the plain path gives the same.
    run = Run(storage / RUN)
    assert step_of(run.layout.model) == offered
    assert kind.trains or kind.model or hypertuner.load(RUN).weight[0, 0] == offered
    if kind.logs and told.kept:
        logged = [record.step for record in run.logged()]
        assert logged == list(range(len(logged)))
        assert logged[-1] >= last


def the_next_attempt_goes_on(storage: Path, kind: Kind) -> None:
    """A script that is started again goes on from the newest checkpoint, where that has all it needs, and saves.

    Nothing is left to clean.
    """

    def work(say: Callable[[str], None]) -> None:
        try:
            last = step_of(resolve(f"{RUN}@last").path)
        except (hypertuner.RunNotFoundError, hypertuner.CheckpointNotFoundError):
            last = None
        parts = Parts(kind)
        os.environ["HYPERTUNER_RUN"] = RUN
        current._process_run = None
        saver = hypertuner.Saver(parts.model, **parts.options)
        if last is not None and kind.trains:
            saver.resume()
            assert saver.next_step == last + 1
            assert parts.are(last)
        parts.become(9)
        saver.save(step=9, metrics={"acc": 9.0}).wait()

    assert in_a_child(work)[1] == 0
    assert step_of(Run(storage / RUN).layout.model) == 9
    assert list(storage.rglob(".draft-*")) == []


def forget(storage: Path) -> None:
    """Begin anew."""
    shutil.rmtree(storage, ignore_errors=True)


def kill_at(number: int) -> Callable[[], None]:
    """What makes a process die at its `number`-th operation from then on."""

    def arm() -> None:
        count = 0

        def plan(operation: files.Operation) -> None:
            nonlocal count
            count += 1
            if count >= number:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # another thread was told first

        files.fault_plan = plan

    return arm


@contextlib.contextmanager
def failing_at(number, code):
    """Let the `number`-th operation from here on fail; yields the operations seen, the failed one last."""
    seen = []

    def plan(operation):
        if len(seen) < number:
            seen.append(operation)
            if len(seen) == number:
                raise OSError(code, os.strerror(code), operation.path)

    files.fault_plan = plan
    try:
        yield seen
    finally:
        disarm()


def disarm() -> None:
    files.fault_plan = None


class Half(io.FileIO):
    """A system that takes half of what it is given."""

    def write(self, data):
        view = memoryview(data).cast("B")
        return super().write(view[: max(1, len(view) // 2)])


ShortWrites = type("ShortWrites", (files.NewFile, Half), {})
