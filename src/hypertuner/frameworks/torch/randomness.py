"""Random states of a process: Python's, NumPy's, torch's and every CUDA device's, as values that are safe to load."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import torch


def capture() -> dict[str, Any]:
    """All global random states of this process. NumPy's only when it is in use."""
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": {"version": version, "state": torch.tensor(internal, dtype=torch.int64), "gauss": gauss},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # untyped in torch
        state["cuda"] = torch.cuda.get_rng_state_all()
    if "numpy" in sys.modules:
        kind, keys, position, has_gauss, cached = sys.modules["numpy"].random.get_state()
        state["numpy"] = {
            "kind": kind,
            # A tensor: safe loading refuses NumPy's own arrays.
            "keys": torch.tensor(keys.tolist(), dtype=torch.int64),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(cached),
        }
    return state


def restore(state: Mapping[str, Any]) -> list[str]:
    """Set the random states; what could not be set, in words."""
    notes = []
    if python := state.get("python"):
        random.setstate((python["version"], tuple(python["state"].tolist()), python["gauss"]))
    if (own := state.get("torch")) is not None:
        torch.set_rng_state(own.cpu())
    if cuda := state.get("cuda"):
        if not torch.cuda.is_available():
            notes.append("random state of the GPU: there is none here")
        elif len(cuda) != torch.cuda.device_count():
            notes.append(f"random state of {len(cuda)} GPUs: {torch.cuda.device_count()} are here")
        else:
            torch.cuda.set_rng_state_all([part.cpu() for part in cuda])
    if saved := state.get("numpy"):
        try:
            import numpy
        except ImportError:
            notes.append("NumPy's random state: NumPy is not installed here")
        else:
            numpy.random.set_state(
                (
                    saved["kind"],
                    numpy.array(saved["keys"].tolist(), dtype=numpy.uint32),
                    saved["position"],
                    saved["has_gauss"],
                    saved["gauss"],
                )
            )
    return notes
