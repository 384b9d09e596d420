"""What a checkpoint of a PyTorch model holds, captured while training waits, and written when there is time."""

from __future__ import annotations

import pickle
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hypertuner import files, settings
from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.format.streaming import LayoutError, stream
from hypertuner.checkpoint.recipe.recording import Recording
from hypertuner.errors import CheckpointError, first_line
from hypertuner.frameworks.torch import modules, objects, training
from hypertuner.frameworks.torch.layout import layout
from hypertuner.frameworks.torch.placing import on_cpu
from hypertuner.frameworks.torch.staging import Stage
from hypertuner.frameworks.torch.state import State, is_plain
from hypertuner.frameworks.torch.storages import bytes_of
from hypertuner.store.said import say

_said: set[str] = set()


class Capture:
    """A model, its object and its training state, as they are now.

    With `copy`, training may go on: nothing that it changes reaches the capture. Without, it must wait until `write`
    has returned. `release` gives the memory back, and must be called once.
    """

    def __init__(
        self,
        model: modules.Model,
        document: Mapping[str, Any],
        training_parts: Mapping[str, Any],
        first_settings: Mapping[str, Any],
        others: Sequence[bytes | None],
        stage: Stage,
        *,
        copy: bool,
    ) -> None:
        self._stage = stage
        state = State(model)
        self._recording = Recording(settings.RECIPE_BYTES.get())
        data, problem = b"", ""
        extra: dict[str, torch.Tensor] = {}
        if not modules.is_named_tensors(model):
            try:
                data, extra = objects.dump(model, state, self._recording)
            except objects.ObjectError as error:
                problem = str(error)
                _say_weights_only(model, problem)
        saved, odd = training.capture(training_parts, model, first_settings, others) if training_parts else ({}, {})
        tensors = {"state_dict": state.values, "module_tensors": extra, "training": saved}
        placed = on_cpu(tensors, stage, copy=copy)
        self._document: dict[str, Any] = {**document, **placed, "module": data}
        if not data:
            del self._document["module"], self._document["module_tensors"]
        if not saved:
            del self._document["training"]
        if state.odd or odd:
            self._document["opaque"] = pickle.dumps({"state_dict": state.odd, "training": odd}, protocol=4)
        if not is_plain({key: value for key, value in self._document.items() if key not in placed}):
            raise CheckpointError("The checkpoint's description holds values that no file can; this is a bug.")
        self._has_object = bool(data)
        self._about = {
            "state_versions": state.versions,
            "state_values": [name for name, value in state.values.items() if not isinstance(value, torch.Tensor)],
            "state_odd": sorted(state.odd),
            "training": sorted(saved.get("kinds", {})),
            "module_problem": problem,
            "environment": {
                "device": _devices(state),
                "framework": {"name": "torch", "version": str(torch.__version__), "platform": platform.platform()},
            },
        }

    def about(self) -> dict[str, Any]:
        """What the index says of it besides what the bytes say."""
        return {"recipe": self._recording.recipe().to_json() if self._has_object else None, **self._about}

    def write(self, file: files.NewFile, header: Mapping[str, Any], key: bytes | None) -> None:
        """Write the whole file, with its index and seal. Raises what writing raises."""
        self._stage.finish()
        write(file, self._document, header, key)

    def release(self) -> None:
        """Give the memory back."""
        self._document = {}
        self._stage.release()


def write(file: files.NewFile, document: Mapping[str, Any], header: Mapping[str, Any], key: bytes | None) -> None:
    """Write a document whose tensors are on the CPU as a checkpoint file, hashed on the way.

    Where torch does not tell the layout (quantised tensors, a torch that changed), torch writes the file, and it is
    read once more to be sealed.
    """
    document = dict(document)
    try:
        image, storages = layout(document)
        payloads = {name: bytes_of(storage) for name, storage in storages.items()}
        stream(file, image, payloads, header, key, str(file.name))
    except LayoutError:
        torch.save(document, file)
        archive.seal(file, header, key)


def _say_weights_only(model: modules.Model, problem: str) -> None:
    kind = type(model).__name__
    if kind not in _said:
        _said.add(kind)
        say(
            f"the {kind} object cannot be saved ({first_line(problem)}); its weights and config are."
            f"\n  Load them with hypertuner.load(run, into={kind}(...))."
        )


def _devices(state: State) -> list[str]:
    found = {value.device for value in state.values.values() if isinstance(value, torch.Tensor)}
    return sorted(
        f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device) for device in found
    )
