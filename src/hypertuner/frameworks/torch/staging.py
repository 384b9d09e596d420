"""Memory into which tensors are copied while training waits, so that it can go on while they are written.

On the CPU the copy is a plain memory move, storage by storage: torch's own copy shares the work among threads, which is
faster on an idle machine and several times slower where data loaders keep the cores busy. The memory is kept from one
save to the next, because touching new memory costs more than copying into it.

On a GPU the tensors are cloned there, in the order of the stream that trains, so that whatever changes them later comes
after the copy, and brought into page-locked memory by a stream of our own. Where the GPU has no room for clones, its
next kernels wait until the tensors are copied out; the script does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hypertuner.errors import CheckpointError, first_line

_MOST_STAGES = 2
_HEADROOM = 1.1
"""Clones are made where so many times their size is free."""
_ALIGNED = 64
_PORTABLE = 1  # cudaHostRegisterPortable: page-locked for every device


class _Slab:
    """Touched memory in one piece. With `locked` the GPU copies into it by itself, where it agrees to lock it.

    Shared with processes that are forked: memory of our own would have to be copied, page by page, into new memory by
    the first save after data loader workers have been started.
    """

    def __init__(self, nbytes: int, *, locked: bool) -> None:
        self.nbytes = nbytes
        try:
            self.memory = mmap.mmap(-1, nbytes)
        except (OSError, MemoryError) as error:
            raise CheckpointError(
                f"There is no memory for a copy of {nbytes / 1e9:.2g} GB of this model: {first_line(error)}.\n"
                "  Saver(..., background=False) needs none on the CPU: training waits while it writes."
            ) from error
        address = torch.frombuffer(self.memory, dtype=torch.uint8).data_ptr()
        ctypes.memset(address, 0, nbytes)
        # One call for all of it: torch's own page-locked tensors cost ten times as much to make, and take twice the
        # memory where sizes are just above a power of two.
        if locked and not int(_runtime().cudaHostRegister(address, nbytes, _PORTABLE)):
            weakref.finalize(self, _unlock, self.memory, address, os.getpid()).atexit = False


def _unlock(memory: mmap.mmap, address: int, pid: int) -> None:
    """Before the memory goes, which this call still holds; a process that was forked has no part in it."""
    if os.getpid() == pid:
        _runtime().cudaHostUnregister(address)


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]  # untyped in torch


@dataclass(frozen=True)
class Region:
    """A part of a slab."""

    memory: mmap.mmap
    start: int
    nbytes: int

    def at(self, start: int, nbytes: int) -> torch.UntypedStorage:
        """A storage of so many bytes of it."""
        flat = torch.frombuffer(self.memory, dtype=torch.uint8, count=nbytes, offset=self.start + start)
        return flat.untyped_storage()


class Memory:
    """Regions of given sizes, out of slabs that are kept."""

    def __init__(self, *, locked: bool) -> None:
        self._locked = locked
        self._slabs: list[_Slab] = []

    def cut(self, sizes: Sequence[int]) -> list[Region]:
        """A region of each size in bytes, none of them 0. What was cut before is memory of these now."""
        regions: list[Region] = []
        whole = [-(-nbytes // _ALIGNED) * _ALIGNED for nbytes in sizes]
        kept, slabs = self._slabs, []
        self._slabs = []
        end = start = 0
        for place, nbytes in enumerate(sizes):
            if start + whole[place] > end:
                while kept and kept[0].nbytes < whole[place]:
                    kept.pop(0)
                slabs.append(kept.pop(0) if kept else _Slab(sum(whole[place:]), locked=self._locked))
                start, end = 0, slabs[-1].nbytes
            regions.append(Region(slabs[-1].memory, start, nbytes))
            start += whole[place]
        self._slabs = slabs
        return regions


class Stage:
    """One set of staging memory, which belongs to one capture until `release`."""

    def __init__(self, pool: Staging) -> None:
        self._pool = pool
        self.plain = Memory(locked=False)
        self.locked = Memory(locked=True)
        self.plan: Any = None
        """Whatever a capture wants to find again in the next one that is given this memory."""
        self._fetches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._cloned: list[tuple[torch.device, torch.cuda.Event]] = []
        self._coming: list[torch.cuda.Event] = []

    def fetch(self, pairs: Sequence[tuple[torch.Tensor, Sequence[torch.Tensor]]], *, clone: bool) -> None:
        """Begin to copy tensors on a GPU into memory here, which holds them after `finish`; once.

        Each pair is a flat tensor and what comes into it, one after the other: flat, of its dtype, on one device. With
        `clone`, what happens to the tensors after this does not reach the copies.
        """
        by_device: dict[torch.device, list[tuple[torch.Tensor, Sequence[torch.Tensor]]]] = {}
        for fetched, parts in pairs:
            by_device.setdefault(parts[0].device, []).append((fetched, parts))
        for device, some in by_device.items():
            with torch.cuda.device(device):
                current = torch.cuda.current_stream(device)
                clones = _clones(device, some) if clone else None
                if clones is not None:
                    self._fetches += zip([fetched for fetched, _ in some], clones, strict=True)
                    self._cloned.append((device, current.record_event()))
                    continue
                for fetched, parts in some:
                    self._fetches += zip(torch.split(fetched, [part.numel() for part in parts]), parts, strict=True)
                self._coming.append(self._bring(device, current.record_event()))
                current.wait_event(self._coming[-1])

    def _bring(self, device: torch.device, after: torch.cuda.Event) -> torch.cuda.Event:
        """Copy into our memory on a stream of our own, after `after`; the event that says it is done."""
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # untyped in torch
        stream.wait_event(after)
        with torch.cuda.stream(stream):
            for fetched, there in self._fetches:
                if there.device == device:
                    fetched.copy_(there, non_blocking=True)
        done: torch.cuda.Event = stream.record_event()
        return done

    def finish(self) -> None:
        """Return when every copy holds its values."""
        self._coming += [self._bring(device, event) for device, event in self._cloned]
        for event in self._coming:
            event.synchronize()
        self._forget()

    def _forget(self) -> None:
        self._cloned.clear()
        self._coming.clear()
        self._fetches.clear()

    def release(self) -> None:
        """Give the memory back to the next capture; once."""
        self._forget()
        self._pool.put_back(self)


def _clones(
    device: torch.device, pairs: Sequence[tuple[torch.Tensor, Sequence[torch.Tensor]]]
) -> list[torch.Tensor] | None:
    """What each pair is to hold, copied on the GPU, hundreds of tensors in one kernel; None where it has no room."""
    if not _has_room(device, sum(fetched.nbytes for fetched, _ in pairs)):
        return None
    with torch.no_grad(), contextlib.suppress(torch.OutOfMemoryError):  # room there is, but in pieces
        return [torch.cat(list(parts)) if len(parts) > 1 else parts[0].clone() for _, parts in pairs]
    return None


def _has_room(device: torch.device, nbytes: int) -> bool:
    wanted = nbytes * _HEADROOM
    free: int = torch.cuda.mem_get_info(device)[0]
    # Asked only where it matters: to count what torch keeps takes as long as to clone a hundred tensors.
    return wanted <= free or wanted <= free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class Staging:
    """The stages of one Saver: as many as captures that were under way at once."""

    def __init__(self) -> None:
        self._free: list[Stage] = []
        self._preparing: threading.Thread | None = None

    def prepare(self, plain: Sequence[int], on_gpus: int) -> None:
        """Make and touch memory, while the script goes on: for storages here of these sizes, and for so many bytes of
        GPUs."""

        def make() -> None:
            stage = Stage(self)
            with contextlib.suppress(CheckpointError, RuntimeError):  # the capture says it, if it is so still
                stage.plain.cut(plain)
                if on_gpus:
                    stage.locked.cut([on_gpus])
            stage.release()

        self._preparing = threading.Thread(target=make, name="hypertuner-memory", daemon=True)
        self._preparing.start()

    def stage(self) -> Stage:
        """A stage to copy into."""
        if self._preparing is not None:
            self._preparing.join()
            self._preparing = None
        return self._free.pop() if self._free else Stage(self)

    def put_back(self, stage: Stage) -> None:
        """Keep a stage for the next capture."""
        if len(self._free) < _MOST_STAGES:
            self._free.append(stage)
