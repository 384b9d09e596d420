"""Training state that another program saved: kept as it is, with what can be told of whose it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class TakenOver:
    """Training state that another program saved, to be kept as it is."""

    def __init__(self, state: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        self._state = dict(state)
        self.kind = _optimizer_kind(state)
        self.names = _names_by_shape(state, weights)

    def state_dict(self) -> dict[str, Any]:
        """As it was saved."""
        return self._state


def _optimizer_kind(state: Mapping[str, Any]) -> str:
    """The class of torch's optimizers that saves such a state; '' where it is of another."""
    groups = state.get("param_groups")
    if not isinstance(groups, list) or not groups or not isinstance(groups[0], Mapping):
        return ""
    group = groups[0]
    if {"betas", "amsgrad"} <= group.keys():
        # Until torch 2.7 nothing in a state told the two apart.
        decoupled = group.get("decoupled_weight_decay")
        return "Adam or AdamW" if decoupled is None else "AdamW" if decoupled else "Adam"
    for key, kind in (("nesterov", "SGD"), ("centered", "RMSprop"), ("rho", "Adadelta"), ("lr_decay", "Adagrad")):
        if key in group:
            return kind
    return ""


def _names_by_shape(state: Mapping[str, Any], weights: Mapping[str, Any]) -> list[list[str]]:
    """The name of each parameter of an optimizer's state, where order and shapes leave no doubt; [] else."""
    groups, kept = state.get("param_groups"), state.get("state")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(kept, Mapping):
        return []
    names = []
    seen: set[int] = set()
    for name, value in weights.items():
        is_parameter = isinstance(value, torch.Tensor) and value.is_floating_point()
        if is_parameter and not name.endswith(_BUFFERS) and (not value.numel() or value.data_ptr() not in seen):
            seen.add(value.data_ptr())
            names.append(name)
    numbers = groups[0].get("params", [])
    if len(names) != len(numbers):
        return []
    for name, number in zip(names, numbers, strict=True):
        shapes = {tensor.shape for tensor in kept.get(number, {}).values() if isinstance(tensor, torch.Tensor)}
        if weights[name].shape not in shapes:
            return []
    return [names]
