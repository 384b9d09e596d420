"""What of the machine a queue may use, and what of it is free: slots on a CPU, or shares of its GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hypertuner.errors import QueueError
from hypertuner.store.gpus import Gpu, list_gpus
from hypertuner.store.process import process_start

_HELD_BYTES = 256 * 1024 * 1024
"""A stranger with less of a GPU's memory than this (a desktop, a monitor) does not hold it."""


@dataclass(frozen=True)
class Taken:
    """What one run uses."""

    slots: int
    gpus: tuple[str, ...] = ()
    pids: frozenset[int] = field(default_factory=frozenset)
    """Its processes: what these hold of a GPU is held by us."""


@dataclass(frozen=True)
class Share:
    """What a run is given."""

    slots: int
    gpus: tuple[str, ...] = ()


class Slots:
    """How many runs may go on at once: so many on a CPU, or so many on each GPU."""

    def __init__(self, slots: int | None = None, per_gpu: int = 1, *, use_gpus: bool = True) -> None:
        self.gpus: tuple[Gpu, ...] = list_gpus() if use_gpus else ()
        self.per_gpu = per_gpu
        whole = len(self.gpus) * per_gpu
        self.count = slots if slots is not None else whole or 1
        if self.count < 1 or per_gpu < 1:
            raise QueueError(f"{self.count} slots, {per_gpu} on a GPU: nothing could ever start.\n  Give 1 or more.")
        if self.gpus and self.count > whole:
            raise QueueError(
                f"{self.count} slots on {len(self.gpus)} GPUs: each of them takes {per_gpu}.\n"
                f"  Let runs share a GPU: --per-gpu {-(-self.count // len(self.gpus))}"
            )
        self.strangers: tuple[str, ...] = ()
        """GPUs that other programs hold, each with who, as of the last `share`."""

    def share(self, processes: int, taken: Iterable[Taken]) -> Share | str:
        """What a run of so many processes (0 is one) gets now, or why it has to wait.

        One that wants more than there is gets all there is.
        """
        taken = list(taken)
        wanted = min(max(1, processes), self.count)
        if sum(one.slots for one in taken) + wanted > self.count:
            return "all slots are taken"
        if not self.gpus:
            return Share(wanted)
        used = Counter(gpu for one in taken for gpu in one.gpus)
        wanted_gpus = min(max(1, processes), len(self.gpus))
        free = [gpu for gpu in self._free(taken, used) if used[gpu.uuid] < self.per_gpu]
        # The emptiest first; in the order of the machine among equals.
        free.sort(key=lambda gpu: (used[gpu.uuid], gpu.index))
        if len(free) < wanted_gpus:
            return "; ".join(self.strangers) if self.strangers else "all GPUs are taken"
        return Share(wanted, tuple(gpu.uuid for gpu in free[:wanted_gpus]))

    def _free(self, taken: Sequence[Taken], used: Counter[str]) -> list[Gpu]:
        ours = frozenset(pid for one in taken for pid in one.pids)
        known = {gpu.uuid for gpu in self.gpus}
        now = [gpu for gpu in list_gpus() if gpu.uuid in known]
        held = []
        free = []
        for gpu in now:
            strangers = [
                holder
                for holder in gpu.holders
                if holder.pid not in ours
                and (holder.memory_bytes is None or holder.memory_bytes >= _HELD_BYTES)
                # In a container the driver tells pids of the host: one that nobody has here may be a run of ours.
                and not (used[gpu.uuid] and process_start(holder.pid) is None)
            ]
            if strangers:
                who = ", ".join(f"process {one.pid} ({one.command[:40]}, {one.user})" for one in strangers[:2])
                held.append(f"GPU {gpu.index} ({gpu.uuid}) is held by {who}")
            else:
                free.append(gpu)
        self.strangers = tuple(held)
        return free
