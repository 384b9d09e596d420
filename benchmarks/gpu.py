"""gpu: a model on a GPU: what training feels of a save, when it is durable, and how weights and numbers get there.

*blocked*: seconds from the call until the GPU has done what the call put into its queue, so that what training does
next begins. Beside ours, the floor (a clone of every tensor), `dcp.async_save` as it is, the same with pinned memory
that is kept (one has to wait for its staging before the optimizer steps, so the wait counts), and `torch.save`.
*durable*: until the file can be relied on. *GPU memory*: what a save takes at its peak, as a share of the model.
*steps*: twenty training steps right after a save begins, over twenty without one. *load*: weights from a file in the
page cache onto the GPU. *log*: how long the script waits for a number that the GPU has still to compute.

1000 MB in 300 tensors. Rounds take turns in one process. Without a GPU there is nothing to measure, which is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import background, children
from benchmarks.background import STEPS, Dcp, Hypertuner, TorchSave, Way
from benchmarks.measurement import OURS, Measurement, median, missing
from benchmarks.options import Options

NAME = "gpu"
TENSORS = 300
MEGABYTES = 1000
BLOCKED = f"blocked, {MEGABYTES} MB in {TENSORS} tensors"
LOAD = f"load {MEGABYTES} MB onto the GPU"
LOG = "log() of a number that is not computed yet"
CLONE, PINNED, SAFETENSORS = "clone of every tensor", "dcp.async_save, pinned", "safetensors load_file"


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """A child for each question."""
    if not children.call("benchmarks.gpu:is_there", folder / "asked"):
        yield missing(NAME, BLOCKED, OURS, "s", "no GPU here")
        return
    rounds = options.rounds(tiny=1, quick=3, normal=7)
    about = {"megabytes": MEGABYTES, "tensors": TENSORS}
    found = children.call("benchmarks.gpu:saves", folder / "saves", rounds)
    for name, (waited, durable, first, taken) in found.items():
        yield median(NAME, BLOCKED, name, "s", waited, **about)
        yield median(NAME, f"blocked by the first save, {MEGABYTES} MB", name, "s", [first], **about)
        if durable:
            yield median(NAME, f"durable, {MEGABYTES} MB", name, "s", durable, **about)
        yield median(NAME, "GPU memory that a save takes", name, "share", taken, **about)
    for name, shares in children.call("benchmarks.gpu:steps", folder / "steps", max(1, rounds // 2)).items():
        yield median(NAME, f"{STEPS} steps after a save", name, "share", shares, **about)
    for name, seconds in children.call("benchmarks.gpu:loads", folder / "loads", rounds).items():
        yield median(NAME, LOAD, name, "s", seconds, **about)
    for name, seconds in children.call("benchmarks.gpu:logs", folder / "logs", rounds * 3).items():
        yield median(NAME, LOG, name, "s", seconds)


class Clone(Way):
    """The floor: every tensor cloned where it is."""

    name = CLONE
    is_durable = False

    def begin(self, model: Any, path: Path, number: int) -> Callable[[], object]:
        self._clones = [row.data.clone() for row in model.parameters()]
        return self._clones.clear


class DcpPinned(Dcp):
    """`async_save` with a stager that copies into pinned memory, which it keeps, in a thread and stream of its own."""

    name = PINNED

    def start(self, model: Any) -> None:
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

        super().start(model)
        self._stager: Any = DefaultStager(
            StagingOptions(
                use_pinned_memory=True, use_shared_memory=True, use_async_staging=True, use_non_blocking_copy=True
            )
        )
        # torch 2.11 closes it after the first save, and it cannot be used again.
        inner: Any = self._stager._state_dict_stager
        inner.close = lambda: None

    def options(self) -> dict[str, Any]:
        return {"async_stager": self._stager}

    def staged(self, saving: Any) -> None:
        saving.staging_completion.result()


def _ways() -> dict[str, Way]:
    return {way.name: way for way in (Hypertuner(), Clone(), TorchSave(), Dcp(), DcpPinned())}


def is_there() -> bool:
    """In a child: whether torch finds a GPU."""
    import torch

    return torch.cuda.is_available()


def _model() -> Any:
    from benchmarks.models import Stack

    return Stack(MEGABYTES, TENSORS).cuda()


def _began(way: Way, model: Any, path: Path, number: int) -> tuple[float, float, Callable[[], object]]:
    """(when a save began, when training goes on, what waits for its end)."""
    import torch

    torch.cuda.synchronize()
    os.sync()
    begun = time.perf_counter()
    end = way.begin(model, path, number)
    torch.cuda.current_stream().synchronize()
    return begun, time.perf_counter(), end


def saves(rounds: int) -> dict[str, tuple[list[float], list[float], float, list[float]]]:
    """In a child, by way: seconds until training went on, until it was durable, of the first save; GPU memory taken."""
    import torch

    from benchmarks import saving

    saving.quiet()
    model = _model()
    ways = _ways()
    found: dict[str, tuple[list[float], list[float], list[float]]] = {name: ([], [], []) for name in ways}
    first: dict[str, float] = {}
    for way in ways.values():
        way.start(model)
    for number in range(rounds + 2):
        for name, way in ways.items():
            path = Path.cwd() / f"{background.plain(name)}-{number}"
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            begun, returned, end = _began(way, model, path, number)
            end()
            ended = time.perf_counter()
            first.setdefault(name, returned - begun)
            if number > 1:  # the first ones make files, memory and threads
                found[name][0].append(returned - begun)
                found[name][2].append((torch.cuda.max_memory_allocated() - before) / (MEGABYTES * 1e6))
                if way.is_durable:
                    found[name][1].append(ended - begun)
            background.remove(path)
    return {name: (waited, durable, first[name], taken) for name, (waited, durable, taken) in found.items()}


def steps(rounds: int) -> dict[str, list[float]]:
    """In a child: how much longer twenty steps take after a save begins, without the call itself, as a share."""
    import torch

    from benchmarks import saving
    from benchmarks.models import Network

    saving.quiet()
    model = Network(5000, 10).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    batch = torch.randn(512, 5000, device="cuda")

    def train() -> float:
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
        torch.cuda.synchronize()
        return time.perf_counter() - begun

    ways = {name: way for name, way in _ways().items() if name != CLONE}
    return background.longer(ways, model, train, rounds)


def loads(rounds: int) -> dict[str, list[float]]:
    """In a child: seconds from a file to all weights on the GPU."""
    import safetensors.torch
    import torch

    import hypertuner
    from benchmarks import saving

    saving.quiet()
    model = _model()
    hypertuner.Saver(model).save(step=0)
    ours = next((Path.cwd() / "storage").glob("*/model.pt"))
    plain, theirs = Path.cwd() / "model.pt", Path.cwd() / "model.safetensors"
    torch.save(model.state_dict(), plain)
    safetensors.torch.save_file(dict(model.state_dict()), theirs)
    calls: dict[str, Callable[[], object]] = {
        OURS: lambda: hypertuner.load(ours, weights=True, device="cuda"),
        f"{OURS}, verify='full'": lambda: hypertuner.load(ours, weights=True, device="cuda", verify="full"),
        SAFETENSORS: lambda: safetensors.torch.load_file(theirs, device="cuda"),
        "torch.load": lambda: torch.load(plain, weights_only=True, map_location="cuda"),
        "torch.load(mmap=True)": lambda: torch.load(plain, weights_only=True, map_location="cuda", mmap=True),
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            torch.cuda.synchronize()
            begun = time.perf_counter()
            loaded = call()
            torch.cuda.synchronize()
            taken = time.perf_counter() - begun
            if number:
                found[name].append(taken)
            del loaded
    return found


def logs(rounds: int) -> dict[str, list[float]]:
    """In a child: seconds until the script goes on, while the GPU has some 20 ms of work before the number is there."""
    import torch
    from torch.utils.tensorboard import SummaryWriter

    from hypertuner import Logger

    logger, writer = Logger(), SummaryWriter(Path.cwd() / "tensorboard")
    calls: dict[str, Callable[[Any, int], object]] = {
        OURS: lambda loss, step: logger.log({"loss": loss}, step),
        "TensorBoard": lambda loss, step: writer.add_scalar("loss", loss, step),
        "loss.item()": lambda loss, step: loss.item(),
    }
    x = torch.randn(8192, 8192, device="cuda")
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            torch.cuda.synchronize()
            y = x
            for _ in range(5):
                y = (y @ x) * 1e-2
            loss = y.square().mean()
            begun = time.perf_counter()
            call(loss, number)
            taken = time.perf_counter() - begun
            if number > 2:
                found[name].append(taken)
    return found
