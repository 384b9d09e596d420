"""What other programs' model files hold: weights, settings, metrics, where they were, training state.

Nothing in a file is executed: what is no plain value comes as an inert stand-in (`inert.py`), so settings in a
Namespace, or beside a callback, are read.
A file whose weights are themselves in such an object is refused: only its class could take them out.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import nn

from hypertuner.checkpoint.adoption import Found
from hypertuner.checkpoint.format.archive import kind_of, open_model
from hypertuner.errors import CheckpointError, CorruptFileError
from hypertuner.frameworks.torch import inert, reading
from hypertuner.frameworks.torch.state import is_plain
from hypertuner.frameworks.torch.taken import TakenOver
from hypertuner.store.direction import direction
from hypertuner.store.values import to_config

_WEIGHTS = ("state_dict", "model_state_dict", "model", "model_state", "module", "net", "network", "weights", "params")
_SETTINGS = (
    "hyper_parameters", "hyperparameters", "hparams", "config", "cfg", "args", "opt", "options", "hp", "model_args",
)  # fmt: skip
_STEPS = ("global_step", "iter_num", "step", "steps", "iteration", "iter", "it", "n_iter", "num_updates")
_EPOCHS = ("epoch", "current_epoch", "last_epoch")
_OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optimizer_state", "optim", "opt_state_dict", "optimizer_states")
_SCHEDULERS = ("scheduler", "scheduler_state_dict", "lr_scheduler", "lr_scheduler_state_dict", "lr_schedulers", "sched")
_NOT_A_SETTING = re.compile(r"version|hparams_name|hparams_type|callbacks|loops|random|rng", re.IGNORECASE)
# Of the some hundred arguments of a Hugging Face trainer, those that make a model what it is.
_TRAINING_ARGUMENTS = (
    "learning_rate per_device_train_batch_size gradient_accumulation_steps num_train_epochs max_steps weight_decay "
    "warmup_steps warmup_ratio lr_scheduler_type optim adam_beta1 adam_beta2 adam_epsilon max_grad_norm seed "
    "label_smoothing_factor fp16 bf16"
).split()
_LONGEST_TEXT = 500


@dataclass
class Contents:
    """What one checkpoint of another program holds."""

    weights: OrderedDict[str, Any]
    made_by: str
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    step: int | None = None
    epoch: int | None = None
    monitor: str | None = None
    history: tuple[tuple[int, dict[str, float]], ...] = ()
    """What was logged before, where the file says: (step, values)."""
    training: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def read(found: Found, *, trust: bool = False) -> Contents:
    """What a checkpoint holds.

    Raises: UnsafeFileError, with what it would import, for a pickled model object unless `trust`; CorruptFileError;
        CheckpointError where no weights are found.
    """
    kind = kind_of(found.files[0])
    if kind.startswith("hypertuner/"):
        raise CheckpointError("it is hypertuner's own file: load it, or start from it, as it is.")
    if found.folder is not None:
        return _read_folder(found, trust)
    if kind == "safetensors":
        weights, metadata = _read_safetensors(found.files[0])
        contents = Contents(weights, "safetensors")
        _take_story(metadata, contents)
        return contents
    return _read_document(found.files[0], inert.load(found.files[0], trust))


def signature(contents: Contents) -> str:
    """The same for checkpoints of one model with one config."""
    shapes = [
        (name, str(value.dtype), list(value.shape)) if isinstance(value, torch.Tensor) else (name,)
        for name, value in contents.weights.items()
    ]
    return json.dumps([shapes, contents.config], sort_keys=True, default=str)


def digest(contents: Contents) -> str:
    """xxh3-128 of names and values of the weights: two files with the same one hold the same model."""
    whole = xxhash.xxh3_128()
    for name, value in sorted(contents.weights.items()):
        whole.update(name.encode())
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized:
            flat = value.detach().contiguous().reshape(-1).view(torch.uint8) if value.numel() else value.new_empty(0)
            whole.update(f"{value.dtype}{tuple(value.shape)}".encode())
            if flat.numel():
                whole.update((ctypes.c_char * flat.numel()).from_address(flat.data_ptr()))
        else:
            whole.update(repr(value).encode())
    return whole.hexdigest()


# ---- safetensors


def _read_safetensors(path: Path) -> tuple[OrderedDict[str, Any], Mapping[str, str]]:
    with open_model(path) as archive:
        return reading.Tensors(archive).part("state_dict"), archive.index.extra.get("metadata") or {}


def _take_story(metadata: Mapping[str, str], contents: Contents) -> None:
    """What `hypertuner export` wrote beside the weights."""
    try:
        story = json.loads(metadata.get("hypertuner") or "{}")
        contents.config = dict(story.get("config") or {})
        contents.metrics = {name: value for name, value in (story.get("metrics") or {}).items() if _is_number(value)}
        contents.step = _whole((story.get("run") or {}).get("step"))
        # A tie is written once, under its first name.
        for name, first in (story.get("ties") or {}).items():
            contents.weights[name] = contents.weights[first]
    except (ValueError, AttributeError, KeyError, TypeError):
        return


# ---- Hugging Face's folders


def _read_folder(found: Found, trust: bool) -> Contents:
    folder = found.folder
    assert folder is not None
    weights: OrderedDict[str, Any] = OrderedDict()
    for path in found.files:
        kind = kind_of(path)
        if kind == "safetensors":
            weights.update(_read_safetensors(path)[0])
        else:
            weights.update(_read_document(path, inert.load(path, trust)).weights)
    contents = Contents(weights, "Hugging Face")
    for name in ("config.json", "adapter_config.json"):
        described = {key: value for key, value in _json(folder / name).items() if not key.startswith("_")}
        for labels in ("id2label", "label2id", "transformers_version"):
            described.pop(labels, None)
        contents.config |= _settings(described)
    contents.config |= _training_arguments(folder / "training_args.bin")
    _take_trainer_state(_json(folder / "trainer_state.json"), contents)
    for name, file in (("optimizer", "optimizer.pt"), ("scheduler", "scheduler.pt")):
        if (folder / file).is_file():
            try:
                state = inert.load(folder / file, trust=False)
            except (CheckpointError, CorruptFileError):
                contents.left_out += (file,)
                continue
            _take_training(name, state, contents)
    return contents


def _take_trainer_state(state: Mapping[str, Any], contents: Contents) -> None:
    contents.step, epoch = _whole(state.get("global_step")), state.get("epoch")
    contents.epoch = int(epoch) if isinstance(epoch, (int, float)) and 0 <= epoch < math.inf else None
    history: list[tuple[int, dict[str, float]]] = []
    for entry in state.get("log_history") or ():
        if isinstance(entry, dict) and (step := _whole(entry.get("step"))) is not None:
            history.append(
                (
                    step,
                    {str(key): float(v) for key, v in entry.items() if key not in ("step", "epoch") and _is_number(v)},
                )
            )
    contents.history = tuple(history)
    for step, values in history:
        if contents.step is None or step <= contents.step:
            contents.metrics |= values


def _training_arguments(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        loaded = inert.load(path, trust=False)
    except (CheckpointError, CorruptFileError, OSError):
        return {}
    state = loaded.state if isinstance(loaded, inert.Standin) else None
    if not isinstance(state, Mapping):
        return {}
    return _settings({name: state[name] for name in _TRAINING_ARGUMENTS if name in state})


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# ---- documents of torch.save


def _read_document(path: Path, loaded: Any) -> Contents:
    if isinstance(loaded, nn.Module):  # read with trust
        return Contents(OrderedDict(loaded.state_dict()), "a pickled module")
    if isinstance(loaded, inert.Standin):
        raise inert.refusal(path)
    if isinstance(loaded, torch.Tensor):
        return Contents(OrderedDict(tensor=loaded), "a tensor")
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"it holds a {type(loaded).__name__}, in which no weights were found.")
    weights, where = _weights(loaded, path)
    contents = Contents(weights, _maker(loaded))
    if where == "":
        return contents
    document = {str(key): value for key, value in loaded.items() if key not in where.split("\0")}
    _take_position(document, contents)
    for name, keys in (("optimizer", _OPTIMIZERS), ("scheduler", _SCHEDULERS)):
        for key in keys:
            if key in document:
                _take_training(name, document.pop(key), contents)
    _take_lightning(document, contents)
    for key in _SETTINGS:
        if key in document and (values := _group(document[key])) is not None:
            del document[key]
            for name, value in _settings(values).items():
                # nanoGPT's `model_args` repeat `config`: what differs is kept under its full name.
                same = contents.config.get(name, value) == value
                contents.config[name if same else f"{key}.{name}"] = value
    for key, value in document.items():
        _take_loose(key, value, contents)
    return contents


def _maker(document: Mapping[str, Any]) -> str:
    if "pytorch-lightning_version" in document:
        return "Lightning"
    return "nanoGPT" if {"model_args", "iter_num"} <= document.keys() else "torch.save"


def _weights(document: Mapping[str, Any], path: Path) -> tuple[OrderedDict[str, Any], str]:
    """The named tensors, and the keys under which they lie, joined by NUL; '' when the document is they."""
    for key in _WEIGHTS:
        inner = document.get(key)
        if isinstance(inner, nn.Module):
            inner = inner.state_dict()
        if isinstance(inner, inert.Standin):
            raise inert.refusal(path)
        if isinstance(inner, Mapping) and any(isinstance(value, torch.Tensor) for value in inner.values()):
            return _checked(inner, path), key
    tensors = {
        key: value for key, value in document.items() if isinstance(value, torch.Tensor) and isinstance(key, str)
    }
    if tensors and len(tensors) * 2 > len(document):
        return _checked(document, path), ""
    parts = {
        key: value
        for key, value in document.items()
        if isinstance(value, Mapping) and value and all(isinstance(item, torch.Tensor) for item in value.values())
    }
    if parts:  # {"G": …, "D": …}: one model of two parts
        whole = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        return _checked(whole, path), "\0".join(map(str, parts))
    if any(isinstance(value, inert.Standin) for value in document.values()):
        raise inert.refusal(path)
    raise CheckpointError(f"no named tensors were found in it (it has: {', '.join(map(str, list(document)[:6]))}).")


def _checked(state: Mapping[Any, Any], path: Path) -> OrderedDict[str, Any]:
    weights: OrderedDict[str, Any] = OrderedDict()
    if isinstance(state, OrderedDict):
        vars(weights).update(vars(state))  # the versions of its modules
    for name, value in state.items():
        if isinstance(value, inert.Standin):
            raise inert.refusal(path)
        if isinstance(name, str) and is_plain(value):
            weights[name] = value
    return weights


def _take_position(document: dict[str, Any], contents: Contents) -> None:
    steps = [_whole(_number(document.pop(key))) for key in _STEPS if key in document]
    epochs = [_whole(_number(document.pop(key))) for key in _EPOCHS if key in document]
    contents.step = next((step for step in steps if step is not None), None)
    contents.epoch = next((epoch for epoch in epochs if epoch is not None), None)


def _take_lightning(document: dict[str, Any], contents: Contents) -> None:
    callbacks = document.pop("callbacks", None)
    for key in ("loops", "hparams_name", "hparams_type", "pytorch-lightning_version"):
        document.pop(key, None)
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        monitor = state.get("monitor") if isinstance(state, Mapping) else None
        if isinstance(monitor, str) and (score := _number(state.get("current_score"))) is not None:
            contents.monitor = monitor
            contents.metrics[monitor] = score


def _take_training(name: str, state: Any, contents: Contents) -> None:
    states = state if isinstance(state, (list, tuple)) else [state]
    for number, one in enumerate(states):
        if not isinstance(one, Mapping) or not one:
            continue
        if not is_plain(dict(one)):
            contents.left_out += (name,)
            continue
        taken = TakenOver(dict(one), contents.weights)
        if len(states) == 1:
            contents.training[name] = taken
        else:
            contents.training.setdefault(name, {})[str(number)] = taken


def _take_loose(key: str, value: Any, contents: Contents) -> None:
    """A value beside the weights: a metric if its name tells how it gets better, a setting if it is plain."""
    if (number := _number(value)) is not None and (direction(key) or key.startswith(("best", "loss"))):
        contents.metrics[key] = number
    elif isinstance(value, (bool, int, float, str)) and not _NOT_A_SETTING.search(key):
        contents.config |= _settings({key: value})
    elif isinstance(value, Mapping) and value and all(_number(item) is not None for item in value.values()):
        contents.metrics |= {
            str(name): float(_number(item) or 0.0) for name, item in value.items() if direction(str(name))
        }
    elif value is not None:
        contents.left_out += (key,)


# ---- values


def _group(value: Any) -> Mapping[str, Any] | None:
    """The settings in a dict, a Namespace, or what stands in for one."""
    if isinstance(value, inert.Standin):
        value = value.state
    elif not isinstance(value, Mapping) and hasattr(value, "__dict__"):
        value = vars(value)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return None
    return value


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as config.json holds them; what is no setting is left out."""
    return to_config({key: shown for key, value in values.items() if (shown := _shown(value)) is not _NOTHING})


_NOTHING = object()


def _shown(value: Any) -> Any:
    if isinstance(value, inert.Standin):
        if isinstance(value.state, Mapping):
            return _shown(dict(value.state))
        # An enum's member is its class called with its value; a path, its class called with its parts.
        plain = [item for item in value.arguments if isinstance(item, (str, int, float, bool))]
        if not plain or len(plain) != len(value.arguments):
            return _NOTHING
        return plain[0] if len(plain) == 1 else "/".join(map(str, plain)).replace("//", "/")
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): shown for key, item in value.items() if (shown := _shown(item)) is not _NOTHING}
    if isinstance(value, (list, tuple, set)):
        items = [shown for item in value if (shown := _shown(item)) is not _NOTHING]
        return items if len(items) == len(value) else _NOTHING
    if isinstance(value, torch.Tensor):
        return value.item() if value.numel() == 1 and not value.is_meta else _NOTHING
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    return value if value is None or isinstance(value, (bool, int, float, torch.dtype, torch.device)) else _NOTHING


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex() and not value.is_meta:
        value = value.item()
    return value if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(number: Any) -> int | None:
    if not _is_number(number) or not math.isfinite(number) or number != int(number) or number < 0:
        return None
    return int(number)
