"""How each peer saves and loads a model: every use of a peer's saving is here.

A way to save takes the model and a folder and returns the files that it wrote. To measure another one (DCP, a
background save with its blocked time), add a class here; `save_load` measures whatever is in `SAVES` and `LOADS`.
"""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measurement import OURS


class Save(ABC):
    """A way to save a model."""

    name: str
    needs: str = "torch"
    most_mb = 10_000
    """Above it the way is not measured: it takes too long."""

    def is_installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.needs) is not None

    def start(self, model: nn.Module, folder: Path) -> None:  # noqa: B027
        """What a script does once, before it trains."""

    @abstractmethod
    def save(self, model: nn.Module, path: Path, number: int) -> None:
        """Save the model for the `number`th time; the file that it is free to choose is `path`."""


class Hypertuner(Save):
    """`saver.save()`: durable when it returns, the file checked and described, the older checkpoint retired."""

    name = OURS
    needs = "hypertuner"

    def start(self, model: nn.Module, folder: Path) -> None:
        import hypertuner

        self._saver = hypertuner.Saver(model)

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        self._saver.save(step=number)


class Torch(Save):
    """`torch.save` of the state, which is in the page cache when it returns: lost with the power, torn by a kill."""

    name = "torch.save"

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        torch.save(model.state_dict(), path)


class TorchSynced(Save):
    """`torch.save` and an `fsync` of the file: durable, torn by a kill."""

    name = "torch.save + fsync"

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        torch.save(model.state_dict(), path)
        _sync(path)


class TorchCommitted(Save):
    """What a careful script writes by hand: `torch.save` beside, fsync, rename, fsync of the folder."""

    name = "torch.save, committed"

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        beside = path.with_suffix(".part")
        torch.save(model.state_dict(), beside)
        _sync(beside)
        beside.replace(path)
        _sync(path.parent)


class RawBytes(Save):
    """The floor: one write of as many bytes, and fsync."""

    name = "write + fsync"

    def start(self, model: nn.Module, folder: Path) -> None:
        self._bytes = b"".join(row.detach().numpy().tobytes() for row in model.parameters())

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        with path.open("wb", buffering=0) as file:
            left = memoryview(self._bytes)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())


class Safetensors(Save):
    """`safetensors.torch.save_file`; in the page cache when it returns."""

    name = "safetensors"
    needs = "safetensors"

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)


class Dcp(Save):
    """`torch.distributed.checkpoint.save` into a folder; it syncs its files."""

    name = "dcp.save"

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        from torch.distributed.checkpoint.state_dict_saver import save

        save({"model": model.state_dict()}, checkpoint_id=str(path), no_dist=True)


class Lightning(Save):
    """What Lightning's `ModelCheckpoint` writes with; in the page cache when it returns."""

    name = "Lightning"
    needs = "lightning_fabric"

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

        TorchCheckpointIO().save_checkpoint({"state_dict": model.state_dict()}, path)


class Mlflow(Save):
    """`mlflow.pytorch.log_model` into SQLite and a local folder, told its requirements, so that it infers none."""

    name = "MLflow log_model"
    needs = "mlflow"
    most_mb = 100

    def start(self, model: nn.Module, folder: Path) -> None:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("bench", (folder / "artifacts").as_uri()))
        mlflow.start_run()

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        import mlflow.pytorch

        mlflow.pytorch.log_model(model, name="model", pip_requirements=["torch"], serialization_format="pickle")


class Wandb(Save):
    """An offline W&B artifact of a file that `torch.save` wrote."""

    name = "W&B artifact"
    needs = "wandb"
    most_mb = 100

    def start(self, model: nn.Module, folder: Path) -> None:
        import wandb

        settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_machine_info=True, x_disable_meta=True)
        self._run = wandb.init(project="bench", dir=str(folder), settings=settings)

    def save(self, model: nn.Module, path: Path, number: int) -> None:
        import wandb

        torch.save(model.state_dict(), path)
        artifact = wandb.Artifact("model", type="model")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)


SAVES: tuple[Save, ...] = (
    Hypertuner(),
    Torch(),
    TorchSynced(),
    TorchCommitted(),
    RawBytes(),
    Safetensors(),
    Dcp(),
    Lightning(),
    Mlflow(),
    Wandb(),
)

Build = Callable[[], nn.Module]


class Load(ABC):
    """A way to have a model that is ready to compute, from its class and a file."""

    name: str
    needs: str = "torch"
    source: str
    """The way to save whose file this reads."""

    def is_installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.needs) is not None

    @abstractmethod
    def load(self, path: Path, build: Build) -> nn.Module:
        """A model made by `build`, with the weights of `path`."""


class HypertunerLoad(Load):
    """The model is built, then `load(path, into=model)`."""

    name = OURS
    needs = "hypertuner"
    source = OURS

    def load(self, path: Path, build: Build) -> nn.Module:
        import hypertuner

        model = build()
        hypertuner.load(path, into=model)
        return model


class HypertunerMeta(Load):
    """The model is built without values, then `load(path, into=model)`."""

    name = "hypertuner, built on meta"
    needs = "hypertuner"
    source = OURS

    def load(self, path: Path, build: Build) -> nn.Module:
        import hypertuner

        with torch.device("meta"):
            model = build()
        hypertuner.load(path, into=model)
        return model


class TorchLoad(Load):
    """What scripts do: build, `torch.load`, `load_state_dict`."""

    name = "build + torch.load"
    source = "torch.save"

    def load(self, path: Path, build: Build) -> nn.Module:
        model = build()
        model.load_state_dict(torch.load(path))
        return model


class TorchMapped(Load):
    """torch at its best: built without values, the file mapped, its tensors assigned."""

    name = "torch.load, mapped, built on meta"
    source = "torch.save"

    def load(self, path: Path, build: Build) -> nn.Module:
        with torch.device("meta"):
            model = build()
        model.load_state_dict(torch.load(path, mmap=True), assign=True)
        return model


class SafetensorsLoad(Load):
    """Build, `load_file`, `load_state_dict`."""

    name = "build + safetensors"
    needs = "safetensors"
    source = "safetensors"

    def load(self, path: Path, build: Build) -> nn.Module:
        from safetensors.torch import load_file

        model = build()
        model.load_state_dict(load_file(path))
        return model


LOADS: tuple[Load, ...] = (HypertunerLoad(), HypertunerMeta(), TorchLoad(), TorchMapped(), SafetensorsLoad())


def quiet() -> None:
    """Let peers say nothing but errors."""
    import logging

    logging.disable(logging.WARNING)


def compute(model: nn.Module) -> Any:
    """Use every weight once."""
    with torch.no_grad():
        return model(torch.zeros(()))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
