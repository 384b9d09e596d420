"""The models that are saved and loaded: of a size, in a number of tensors, filled with random numbers."""

from __future__ import annotations

import torch
from torch import nn


class Stack(nn.Module):
    """`tensors` parameters of one length, `megabytes` (10^6 bytes) of float32 in all."""

    def __init__(self, megabytes: float, tensors: int) -> None:
        super().__init__()
        each = max(1, int(megabytes * 1e6 / 4 / tensors))
        self.rows = nn.ParameterList([nn.Parameter(torch.randn(each)) for _ in range(tensors)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of all, so that all are read."""
        return x + torch.stack([row.sum() for row in self.rows]).sum()


class Network(nn.Module):
    """A network with batch norm and its buffers, `layers` deep, as small ones are."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        blocks = [nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU()) for _ in range(layers)]
        self.layers = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's output."""
        result: torch.Tensor = self.layers(x)
        return result
