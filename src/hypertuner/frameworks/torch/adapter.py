"""TorchAdapter: PyTorch models in and out of checkpoint files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from hypertuner.checkpoint.format.archive import Archive, Verify
from hypertuner.checkpoint.report import LoadReport
from hypertuner.checkpoint.selection import EVERYTHING, Selection
from hypertuner.errors import CheckpointError
from hypertuner.frameworks.restored import Restored
from hypertuner.frameworks.torch import filling, modules, parent, reading, thinning, training
from hypertuner.frameworks.torch.saving import Capture
from hypertuner.frameworks.torch.staging import Staging
from hypertuner.frameworks.torch.state import State
from hypertuner.store import ranks
from hypertuner.store.active import ActiveRun


class TorchAdapter:
    """The bridge to PyTorch."""

    name = "torch"

    def __init__(self) -> None:
        self._staging = Staging()

    def take(self, model: Any, scopes: Sequence[Mapping[str, Any]] = ()) -> modules.Model | None:
        """The model without its wrappers (`torch.compile`, DataParallel, DDP), or the one root module of the scopes."""
        return modules.find_model(scopes) if model is None else modules.check_model(model)

    def settings(self, training_parts: Mapping[str, Any]) -> dict[str, Any]:
        """How optimizers and schedulers are set up, before anything moves them."""
        return training.settings(training_parts)

    def prepare(self, model: modules.Model) -> None:
        """Have memory ready for the first capture that copies; what an optimizer will hold is not known yet."""
        plain: dict[int, int] = {}
        on_gpus: dict[int, int] = {}
        for tensor in State.names_of(model).values():
            if not isinstance(tensor, torch.Tensor) or isinstance(
                tensor, (UninitializedParameter, UninitializedBuffer)
            ):
                continue
            if tensor.device.type in ("cpu", "cuda") and tensor.layout == torch.strided and tensor.numel():
                storage = tensor.untyped_storage()
                sizes = plain if tensor.device.type == "cpu" else on_gpus
                sizes[storage.data_ptr()] = storage.nbytes()
        self._staging.prepare(list(plain.values()), sum(on_gpus.values()))

    def capture(
        self,
        model: modules.Model,
        document: Mapping[str, Any],
        training_parts: Mapping[str, Any],
        first_settings: Mapping[str, Any],
        others: Sequence[bytes | None] = (),
        *,
        copy: bool = False,
    ) -> Capture:
        """Model, object and training state as they are now; with `copy`, whatever happens to them later."""
        stage = self._staging.stage()
        try:
            return Capture(model, document, training_parts, first_settings, others, stage, copy=copy)
        except BaseException:  # Ctrl-C too: the memory goes back, and the error goes on
            stage.release()
            raise

    def rank_state(self, training_parts: Mapping[str, Any]) -> bytes:
        """Random states and data position of this rank, as safe loading accepts them."""
        return training.rank_state(training_parts)

    def read(
        self,
        archive: Archive,
        *,
        trusted: bool,
        device: Any = None,
        weights: bool = False,
        selection: Selection = EVERYTHING,
        verify: Verify = "index",
        pin_memory: bool = False,
    ) -> Any:
        """The model object, or its tensors by name; of a foreign file, what is in it."""
        if device is not None:
            reading.check_device(device)
        how: dict[str, Any] = {"device": device, "verify": verify, "pin_memory": pin_memory}
        if weights:
            return filling.read_weights(archive, trusted=trusted, selection=selection, **how)
        return filling.read_object(archive, trusted=trusted, **how)

    def fill(
        self,
        model: Any,
        archive: Archive,
        *,
        strict: bool,
        trusted: bool,
        selection: Selection = EVERYTHING,
        verify: Verify = "index",
        device: Any = None,
    ) -> LoadReport:
        """Put a file's weights into a model, by name; known wrapper prefixes are stripped on both sides."""
        how: dict[str, Any] = {"selection": selection, "verify": verify, "device": device}
        return filling.fill(model, archive, strict=strict, trusted=trusted, **how)

    def restore(
        self, model: Any, training_parts: Mapping[str, Any], archive: Archive, *, fork: bool, trusted: bool
    ) -> Restored:
        """Model, training state and random states of a checkpoint; a fork keeps fresh settings and may lose a part."""
        if archive.kind != "hypertuner/1":
            raise CheckpointError(
                f"{archive.path} was not saved by hypertuner: it has no training state to go on from.\n"
                "  Start from its weights instead: --from."
            )
        archive.check_whole()  # to train on from damaged state would be to train on something else
        target = modules.check_model(model)
        document = reading.Tensors(archive).document()
        saved = document.get("training")
        if not saved:
            thinned = archive.index.extra.get("thinned")
            why = "its training state was taken out to save room" if thinned else "it was saved without training state"
            raise CheckpointError(
                f"{archive.path} holds the model only: {why}.\n"
                "  Give the Saver what it should keep (optimizer=…), or start from the weights: --from."
            )
        saved = reading.in_own_memory(archive, saved)
        odd = filling.opaque(archive)["training"] if trusted and "opaque" in document else None
        report = self.fill(model, archive, strict=not fork, trusted=trusted)
        reshaped = {mismatch.name for mismatch in report.mismatched}
        own = training.of_rank(saved, ranks.rank())
        done, left = training.restore(training_parts, target, own, odd, fork=fork, reshaped=reshaped)

        def randomness() -> list[str]:
            return training.restore_randomness(saved, *ranks.place())

        left += randomness()
        return Restored(report, tuple(done), tuple(left), parent.until_first_step(randomness))

    def thin(self, path: Path) -> None:
        """Take the training state out of a checkpoint file."""
        thinning.thin(path)

    def guard(self, active: ActiveRun, filled: Any, report: LoadReport | None) -> None:
        """Watch the first optimizer step of a run that begins from a parent."""
        parent.watch()
        if active.parent_is_loaded:
            parent.say_loaded(active)
        if report is not None:
            target = modules.check_model(filled)
            names = set(report.loaded)
            parameters = {
                prefix + name: tensor
                for prefix, module in modules.parts_of(target)
                for name, tensor in module.named_parameters()
                if prefix + name in names
            }
            active.claims["parent fingerprint"] = parent.Fingerprint(parameters)
