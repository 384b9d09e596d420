"""Memory into which tensors are copied while training waits, so that it can go on while they are written.

On the CPU the copy is a plain memory move, storage by storage: torch's own copy shares the work among threads, which is
faster on an idle machine and several times slower where data loaders keep the cores busy. The memory is kept from one
save to the next, because touching new memory costs more than copying into it.

On a GPU the tensors are cloned there, in the order of the stream that trains, so that whatever changes them later comes
after the copy, and brought into pinned memory by a stream of our own. Where the GPU has no room for clones, its next
kernels wait until the tensors are copied out; the script does not.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import torch

_MOST_STAGES = 2
_HEADROOM = 1.1
"""Clones are made where so many times their size is free."""


class Stage:
    """One set of staging memory, which belongs to one capture until `release`."""

    def __init__(self, pool: Staging) -> None:
        self._pool = pool
        self._storages: list[tuple[torch.UntypedStorage, bool]] = []
        self._taken = 0
        self._moves: list[tuple[torch.UntypedStorage, torch.UntypedStorage]] = []
        self._fetches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._cloned: list[tuple[torch.device, torch.cuda.Event]] = []
        self._coming: list[torch.cuda.Event] = []

    def copy(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        """A copy of a storage on the CPU; it holds its bytes after `start`."""
        nbytes = storage.nbytes()
        copied = self._take(nbytes, pinned=False)
        if nbytes:
            self._moves.append((copied, storage))
        return copied

    def fetch(self, flat: torch.Tensor) -> torch.Tensor:
        """A copy on the CPU of a contiguous tensor on another device; it holds its values after `finish`."""
        if flat.device.type != "cuda":
            return flat.to("cpu", copy=True)
        storage = self._take(flat.numel() * flat.element_size(), pinned=True)
        fetched = torch.empty(0, dtype=flat.dtype).set_(storage, 0, flat.shape, flat.stride())
        self._fetches.append((fetched, flat))
        return fetched

    def start(self, *, clone: bool) -> None:
        """Copy, and begin to fetch. With `clone`, what happens to the tensors after this does not reach the copies."""
        # One after another: Python's work between two of them would find the caches swept each time.
        for copied, storage in self._moves:
            ctypes.memmove(copied.data_ptr(), storage.data_ptr(), storage.nbytes())
        self._moves.clear()
        by_device: dict[torch.device, list[int]] = {}
        for place, (_, flat) in enumerate(self._fetches):
            by_device.setdefault(flat.device, []).append(place)
        for device, places in by_device.items():
            with torch.cuda.device(device):
                current = torch.cuda.current_stream(device)
                if clone and self._has_room(device, places):
                    for place in places:
                        fetched, flat = self._fetches[place]
                        self._fetches[place] = (fetched, flat.clone())
                    self._cloned.append((device, current.record_event()))
                else:
                    self._coming.append(self._bring(device, current.record_event()))
                    current.wait_event(self._coming[-1])

    def _has_room(self, device: torch.device, places: list[int]) -> bool:
        wanted = sum(self._fetches[place][1].nbytes for place in places)
        free = torch.cuda.mem_get_info(device)[0]
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return wanted * _HEADROOM <= free + kept

    def _bring(self, device: torch.device, after: torch.cuda.Event) -> torch.cuda.Event:
        """Copy into pinned memory on a stream of our own, after `after`; the event that says it is done."""
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # untyped in torch
        stream.wait_event(after)
        with torch.cuda.stream(stream):
            for fetched, flat in self._fetches:
                if flat.device == device:
                    fetched.copy_(flat, non_blocking=True)
        done: torch.cuda.Event = stream.record_event()
        return done

    def finish(self) -> None:
        """Return when every copy holds its values."""
        self._coming += [self._bring(device, event) for device, event in self._cloned]
        for event in self._coming:
            event.synchronize()
        self._forget()

    def _forget(self) -> None:
        self._moves.clear()
        self._cloned.clear()
        self._coming.clear()
        self._fetches.clear()

    def release(self) -> None:
        """Give the memory back to the next capture; once."""
        self._forget()
        del self._storages[self._taken :]
        self._taken = 0
        self._pool.put_back(self)

    def _take(self, nbytes: int, *, pinned: bool) -> torch.UntypedStorage:
        """Memory for one storage: what the last capture had in this place, where it is of the same kind and size."""
        place, self._taken = self._taken, self._taken + 1
        if place < len(self._storages):
            kept, is_pinned = self._storages[place]
            if kept.nbytes() == nbytes and is_pinned == pinned:
                return kept
            del self._storages[place:]
        made = torch.empty(nbytes, dtype=torch.uint8, pin_memory=pinned and nbytes > 0).untyped_storage()
        self._storages.append((made, pinned))
        return made


class Staging:
    """The stages of one Saver: as many as captures that were under way at once."""

    def __init__(self) -> None:
        self._free: list[Stage] = []
        self._touching: threading.Thread | None = None

    def prepare(self, sizes: Sequence[int]) -> None:
        """Make and touch memory for storages of these sizes, in bytes, while the script goes on."""

        def touch() -> None:
            stage = Stage(self)
            for nbytes in sizes:
                storage = stage._take(nbytes, pinned=False)
                ctypes.memset(storage.data_ptr(), 0, nbytes)
            stage.release()

        self._touching = threading.Thread(target=touch, name="hypertuner-memory", daemon=True)
        self._touching.start()

    def stage(self) -> Stage:
        """A stage to copy into."""
        if self._touching is not None:
            self._touching.join()
            self._touching = None
        return self._free.pop() if self._free else Stage(self)

    def put_back(self, stage: Stage) -> None:
        """Keep a stage for the next capture."""
        if len(self._free) < _MOST_STAGES:
            self._free.append(stage)
