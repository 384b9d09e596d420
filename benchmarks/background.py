"""background: what training feels of a save that goes on beside it, and when the file is durable.

*blocked*: seconds until the call returns and training may go on. Beside ours, the floor (a bare memory move of the same
bytes into warm memory), `dcp.async_save` as it is and with a stager that keeps its memory, and `torch.save`. *durable*:
seconds from the call until the file can be relied on; DCP syncs its files, `torch.save` alone does not. Rounds take
turns in one process, each waits for its own end before the next begins. *memory*: how much a process grows at its peak
over three saves, a process each, as a share of the model. *steps*: twenty training steps right after a save, over
twenty without one.

Sizes of `--sizes`, 100 tensors; and 100 MB in 10 to 5,000 tensors.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.measurement import OURS, Measurement, median
from benchmarks.options import Options

NAME = "background"
TENSORS = 100
STEPS = 20


def blocked(size: float, tensors: int = TENSORS) -> str:
    """The name of a measure."""
    return f"blocked, {size:g} MB" + ("" if tensors == TENSORS else f" in {tensors:,} tensors")


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """A child for each size and number of tensors."""
    rounds = options.rounds(tiny=1, quick=3, normal=5)
    sizes: tuple[float, ...] = options.sizes_mb or options.pick(
        tiny=(0.5,), quick=(10, 100), normal=(10, 100), full=(10, 100, 500, 1000)
    )
    for size in sizes:
        found = children.call("benchmarks.background:saves", folder / f"s{size:g}", size, TENSORS, rounds)
        for name, (waited, durable) in found.items():
            yield median(NAME, blocked(size), name, "s", waited, megabytes=size, tensors=TENSORS)
            if durable:
                yield median(NAME, f"durable, {size:g} MB", name, "s", durable, megabytes=size, tensors=TENSORS)
    size = options.pick(tiny=0.5, quick=100.0, normal=100.0)
    for tensors in options.pick(tiny=(10,), quick=(5000,), normal=(10, 1000, 5000)):
        found = children.call("benchmarks.background:saves", folder / f"t{tensors}", size, tensors, rounds)
        for name, (waited, _) in found.items():
            yield median(NAME, blocked(size, tensors), name, "s", waited, megabytes=size, tensors=tensors)
    size = options.pick(tiny=0.5, quick=100.0, normal=100.0, full=500.0)
    for name in _ways():
        grown = children.call("benchmarks.background:memory", folder / f"m-{plain(name)}", name, size)
        yield median(NAME, f"memory, {size:g} MB", name, "share", [grown / (size * 1e6)], megabytes=size)
    size = options.pick(tiny=0.5, quick=50.0, normal=100.0)
    found = children.call("benchmarks.background:steps", folder / "steps", size, rounds)
    for name, shares in found.items():
        yield median(NAME, f"{STEPS} steps after a save, {size:g} MB", name, "share", shares, megabytes=size)


class Way(ABC):
    """A way to save while training goes on; `begin` returns when it may, and gives what waits for the end."""

    name: str
    is_durable = True

    def start(self, model: Any) -> None:  # noqa: B027
        """What a script does once."""

    @abstractmethod
    def begin(self, model: Any, path: Path, number: int) -> Callable[[], object]:
        """Save."""


class Hypertuner(Way):
    """`Saver(model, background=True)`."""

    name = OURS

    def start(self, model: Any) -> None:
        import hypertuner

        self._saver = hypertuner.Saver(model, background=True, keep_trail=0)

    def begin(self, model: Any, path: Path, number: int) -> Callable[[], object]:
        return self._saver.save(step=number).wait


class Memmove(Way):
    """The floor: the bytes moved into memory that was touched before."""

    name = "bare memmove"
    is_durable = False

    def start(self, model: Any) -> None:
        import torch

        self._from = [row.data.untyped_storage() for row in model.parameters()]
        self._to = [torch.zeros(one.nbytes(), dtype=torch.uint8).untyped_storage() for one in self._from]

    def begin(self, model: Any, path: Path, number: int) -> Callable[[], object]:
        for target, source in zip(self._to, self._from, strict=True):
            ctypes.memmove(target.data_ptr(), source.data_ptr(), source.nbytes())
        return lambda: None


class TorchSave(Way):
    """`torch.save`, which returns when the file is in the page cache."""

    name = "torch.save"
    is_durable = False

    def begin(self, model: Any, path: Path, number: int) -> Callable[[], object]:
        import torch

        torch.save(model.state_dict(), path)
        return lambda: None


class Dcp(Way):
    """`torch.distributed.checkpoint.async_save`, as it is."""

    name = "dcp.async_save"

    def start(self, model: Any) -> None:
        from torch._C._distributed_c10d import HashStore
        from torch.distributed import distributed_c10d as c10d

        if not c10d.is_initialized():
            c10d.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)

    def options(self) -> dict[str, Any]:
        """Arguments besides the state and the place."""
        return {}

    def staged(self, saving: Any) -> None:
        """Wait until training may change what is saved."""

    def begin(self, model: Any, path: Path, number: int) -> Callable[[], object]:
        from torch.distributed.checkpoint.state_dict_saver import async_save

        # A plain dict: stagers of some releases cannot copy an OrderedDict.
        state = {"model": dict(model.state_dict())}
        saving: Any = async_save(state, checkpoint_id=str(path), **self.options())
        self.staged(saving)
        end: Callable[[], object] = getattr(saving, "upload_completion", saving).result
        return end


class DcpStaged(Dcp):
    """`async_save` with a stager whose memory is kept between saves; pinned memory needs a GPU."""

    name = "dcp.async_save, memory kept"

    def start(self, model: Any) -> None:
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

        super().start(model)
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=False, use_shared_memory=True, use_async_staging=False, use_non_blocking_copy=False
            )
        )

    def options(self) -> dict[str, Any]:
        return {"async_stager": self._stager}


def _ways() -> dict[str, Way]:
    return {way.name: way for way in (Hypertuner(), Memmove(), TorchSave(), Dcp(), DcpStaged())}


def saves(size: float, tensors: int, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """In a child: (seconds until each call returned, seconds until it was durable), by way."""
    from benchmarks import saving
    from benchmarks.models import Stack

    saving.quiet()
    model = Stack(size, tensors)
    ways = _ways()
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for way in ways.values():
        way.start(model)
    for number in range(rounds + 2):
        for name, way in ways.items():
            path = Path.cwd() / f"{plain(name)}-{number}"
            os.sync()
            begun = time.perf_counter()
            end = way.begin(model, path, number)
            returned = time.perf_counter()
            end()
            ended = time.perf_counter()
            if number > 1:  # the first ones make files, memory and threads
                found[name][0].append(returned - begun)
                if way.is_durable:
                    found[name][1].append(ended - begun)
            remove(path)
    return found


def memory(name: str, size: float) -> int:
    """In a child: by how many bytes the process grew at its peak over three saves."""
    from benchmarks import saving
    from benchmarks.models import Stack

    saving.quiet()
    model = Stack(size, TENSORS)
    way = _ways()[name]
    before = _peak_bytes(reset=True)
    way.start(model)
    for number in range(3):
        way.begin(model, Path.cwd() / f"saved-{number}", number)()
    return max(0, _peak_bytes() - before)


def steps(size: float, rounds: int) -> dict[str, list[float]]:
    """In a child: how much longer twenty steps take after a save begins, without the call itself, as a share."""
    import torch

    from benchmarks import saving
    from benchmarks.models import Network

    saving.quiet()
    width = max(16, int((size * 1e6 / 4 / 10) ** 0.5))
    model = Network(width, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    batch = torch.randn(16, width)

    def train() -> float:
        begun = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()
        return time.perf_counter() - begun

    return longer({name: way for name, way in _ways().items() if name != Memmove.name}, model, train, rounds)


def longer(ways: dict[str, Way], model: Any, train: Callable[[], float], rounds: int) -> dict[str, list[float]]:
    """By way, the seconds that `train` takes after a save begins, over those that it takes without one."""
    for way in ways.values():
        way.start(model)
    found: dict[str, list[float]] = {name: [] for name in ways}
    train()
    for number in range(rounds + 1):
        for name, way in ways.items():
            path = Path.cwd() / f"{plain(name)}-{number}"
            os.sync()
            alone = train()
            end = way.begin(model, path, number)
            beside = train()
            end()
            if number:
                found[name].append(beside / statistics.mean((alone, train())))
            remove(path)
    return found


def remove(path: Path) -> None:
    """What a save wrote: a folder, a file, or nothing."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def plain(name: str) -> str:
    """The name as a part of a file's."""
    return re.sub(r"\W+", "-", name)


def _peak_bytes(*, reset: bool = False) -> int:
    """Most memory that this process had resident, in bytes, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024
