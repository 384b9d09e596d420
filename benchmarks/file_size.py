"""size: bytes of a checkpoint beside those of `torch.save` of the same values.

The peer saves a dict of the same state (and the optimizer's, where we keep training state). What ours has more is the
index, the config, the recipe of the model with its source, the model object, random states, and a hash of each tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.measurement import OURS, Measurement
from benchmarks.options import Options

NAME = "size"
PEER = "torch.save"
SAFETENSORS = "safetensors"


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """One child for each model; sizes need no rounds."""
    plan: dict[str, tuple[str, list[float], bool]] = {
        "small network": ("Network", [32, 3], False),
        "small network, training state": ("Network", [32, 3], True),
        "10 MB, 100 tensors": ("Stack", [10, 100], False),
    }
    if options.size != "tiny":
        plan |= {
            "10 MB, 100 tensors, training state": ("Stack", [10, 100], True),
            "20 MB, 5,000 tensors": ("Stack", [20, 5000], False),
            "100 MB, 100 tensors": ("Stack", [100, 100], False),
        }
    for what, (kind, shape, with_training) in plan.items():
        sizes = children.call("benchmarks.file_size:sizes", folder / what.replace(" ", "-"), kind, shape, with_training)
        details = {"tensors": sizes.pop("tensors")}
        for subject, size in sizes.items():
            yield Measurement(NAME, what, subject, "bytes", size, (size,), None, details)


def sizes(kind: str, shape: list[int], with_training: bool) -> dict[str, Any]:
    """In a child: bytes of each file, and how many tensors it has."""
    import importlib.util

    import torch

    import hypertuner
    from benchmarks import models

    model: torch.nn.Module = getattr(models, kind)(*shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    args = hypertuner.Args({"learning_rate": 0.01, "batch_size": 64, "epochs": 10, "dropout": 0.1})
    if with_training:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    saver = hypertuner.Saver(model, optimizer=optimizer if with_training else None)
    checkpoint = saver.save(step=1, metrics={"loss": 0.5})
    assert checkpoint.path is not None
    state: dict[str, Any] = {"model": model.state_dict(), "config": dict(args)}
    if with_training:
        state["optimizer"] = optimizer.state_dict()
    torch.save(state, "torch.pt")
    tensors = len(model.state_dict())
    if with_training:
        tensors += sum(isinstance(value, torch.Tensor) for of in optimizer.state.values() for value in of.values())
    found = {OURS: checkpoint.path.stat().st_size, PEER: Path("torch.pt").stat().st_size, "tensors": tensors}
    if not with_training and importlib.util.find_spec("safetensors"):
        from safetensors.torch import save_file

        save_file(model.state_dict(), "model.safetensors")
        found[SAFETENSORS] = Path("model.safetensors").stat().st_size
    return found
