"""How long a model takes to come back: the index with 5,000 tensors, and 1 GB until it is ready to compute.

    python benchmarks/load_model.py [--tensors 5000] [--megabytes 1000] [--repeat 9] [--folder PATH]

Saves the same weights with hypertuner, safetensors and `torch.save`, then prints one JSON line a measurement: the
median of `--repeat` rounds in which all take turns, its quartiles, and its ratio to the peer of its table. Files are in
the page cache. 'ready' ends where the model can compute: memory that is mapped has not been looked at then; 'and first
forward pass' looks at all of it. `--threads 1` measures at one thread of torch's.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import safetensors.torch
import torch
from torch import nn

import hypertuner
from hypertuner.checkpoint.format.archive import inspect

_WIDTH = 2048


class Many(nn.Module):
    """A model of very many small tensors."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.layers = nn.ParameterList(nn.Parameter(torch.randn(32, 32)) for _ in range(tensors))


class Big(nn.Module):
    """Layers of 16 MB each, initialised as torch does."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        layer_bytes = _WIDTH * _WIDTH * 4
        self.layers = nn.ModuleList(nn.Linear(_WIDTH, _WIDTH) for _ in range(megabytes * 1_000_000 // layer_bytes))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Every weight takes part."""
        for layer in self.layers:
            values = layer(values)
        return values


def save(folder: Path, name: str, model: nn.Module) -> tuple[Path, Path, Path]:
    """The model's weights in files of three kinds: hypertuner's, safetensors', torch's."""
    os.environ["HYPERTUNER_STORAGE"] = str(folder)
    with hypertuner.new_run(name=name):
        hypertuner.Saver(model).save(step=1)
    ours, theirs, plain = folder / name / "model.pt", folder / f"{name}.safetensors", folder / f"{name}.pt"
    safetensors.torch.save_file(dict(model.state_dict()), theirs)
    torch.save(model.state_dict(), plain)
    return ours, theirs, plain


def measure(calls: dict[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each call, in rounds in which all take turns; what a call made is freed outside its time."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, call in calls.items():
            gc.collect()
            begun = time.perf_counter()
            made = call()
            taken[name].append(time.perf_counter() - begun)
            del made
    return taken


def show(table: str, size: dict[str, int], taken: dict[str, list[float]], peers: dict[str, str]) -> None:
    """One JSON line for each call; `peers` names, for some, the call that its ratio is to."""
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    for name, seconds in taken.items():
        low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (seconds[0],) * 3
        line: dict[str, Any] = {"benchmark": "load_model", "table": table, "measure": name, **size}
        line |= {"seconds": medians[name], "quartiles": [low, high], "rounds": len(seconds)}
        line["threads"] = torch.get_num_threads()
        if name in peers:
            line |= {"against": peers[name], "ratio": medians[name] / medians[peers[name]]}
        print(orjson.dumps(line).decode(), flush=True)


def many_tensors(folder: Path, tensors: int, repeat: int) -> None:
    """The index, and all tensors made but not looked at."""
    ours, theirs, plain = save(folder, "many", Many(tensors))
    calls: dict[str, Callable[[], object]] = {
        "hypertuner.inspect": lambda: inspect(ours),
        "hypertuner.load(weights=True)": lambda: hypertuner.load(ours, weights=True),
        "hypertuner.load(weights=True, verify='full')": lambda: hypertuner.load(ours, weights=True, verify="full"),
        "safetensors load_file": lambda: safetensors.torch.load_file(theirs),
        "torch.load(mmap=True)": lambda: torch.load(plain, mmap=True, weights_only=True),
    }
    peer = "safetensors load_file"
    peers = {"hypertuner.load(weights=True)": peer, "torch.load(mmap=True)": peer}
    show("many tensors", {"tensors": tensors}, measure(calls, repeat), peers)


def one_big_model(folder: Path, megabytes: int, repeat: int) -> None:
    """A model, from nothing to ready; and into one that is there."""
    there = Big(megabytes)
    ours, theirs, plain = save(folder, "big", there)
    values = torch.ones(1, _WIDTH)

    def on_meta(**how: Any) -> nn.Module:
        with torch.device("meta"):
            model = Big(megabytes)
        hypertuner.load(ours, into=model, **how)
        return model

    def by_torch() -> nn.Module:
        model = Big(megabytes)
        model.load_state_dict(torch.load(plain, weights_only=True))
        return model

    def by_safetensors() -> nn.Module:
        with torch.device("meta"):
            model = Big(megabytes)
        model.load_state_dict(safetensors.torch.load_file(theirs), assign=True)
        return model

    def first_pass(make: Callable[[], nn.Module]) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = make()(values)
        return found

    ready: dict[str, Callable[[], object]] = {
        "meta, hypertuner.load(into=)": on_meta,
        "meta, hypertuner.load(into=, verify='full')": lambda: on_meta(verify="full"),
        "meta, safetensors, assign": by_safetensors,
        "build, torch.load, load_state_dict": by_torch,
    }
    peer = "build, torch.load, load_state_dict"
    size = {"megabytes": megabytes}
    show("ready to compute", size, measure(ready, repeat), dict.fromkeys(ready, peer))
    used: dict[str, Callable[[], object]] = {
        "meta, hypertuner.load(into=)": lambda: first_pass(on_meta),
        "build, torch.load, load_state_dict": lambda: first_pass(by_torch),
    }
    show("ready, and first forward pass", size, measure(used, repeat), dict.fromkeys(used, peer))
    filled: dict[str, Callable[[], object]] = {
        "hypertuner.load(into=)": lambda: hypertuner.load(ours, into=there),
        "hypertuner.load(into=, verify='full')": lambda: hypertuner.load(ours, into=there, verify="full"),
        "torch.load, load_state_dict": lambda: there.load_state_dict(torch.load(plain, weights_only=True)),
        "torch.load(mmap=True), load_state_dict": lambda: there.load_state_dict(
            torch.load(plain, mmap=True, weights_only=True)
        ),
    }
    show(
        "into a model that is there",
        size,
        measure(filled, repeat),
        dict.fromkeys(filled, "torch.load, load_state_dict"),
    )


def main() -> None:
    """Save, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tensors", type=int, default=5_000)
    options.add_argument("--megabytes", type=int, default=1_000)
    options.add_argument("--repeat", type=int, default=9)
    options.add_argument("--threads", type=int, help="of torch's; its own default otherwise")
    options.add_argument("--folder", type=Path, help="where the files are made; a temporary folder otherwise")
    chosen = options.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    os.environ["HYPERTUNER_QUIET"] = "1"
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        many_tensors(Path(folder), chosen.tensors, chosen.repeat)
        one_big_model(Path(folder), chosen.megabytes, chosen.repeat)


if __name__ == "__main__":
    main()
