"""Numbers that are still on the GPU: copied to the host without stalling it."""

from __future__ import annotations

import torch


class Arriving:
    """One number on its way from a CUDA device."""

    def __init__(self, value: torch.Tensor) -> None:
        # Pinned, so that the copy is queued behind the work that makes the number and nobody waits here.
        self._host = torch.empty((), dtype=value.dtype, pin_memory=True)
        self._host.copy_(value.detach().reshape(()), non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch types only a part of itself
        self._arrived.record(torch.cuda.current_stream(value.device))

    def wait(self) -> float:
        """The number, once the GPU has come to it."""
        self._arrived.synchronize()
        return self._host.item()


def read_later(value: torch.Tensor) -> Arriving:
    """Start copying a CUDA tensor of one element to the host."""
    return Arriving(value)
