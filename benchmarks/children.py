"""Functions in processes of their own, so that no measurement meets what another left behind.

`call("benchmarks.log_rate:measure", "TensorBoard", ...)` runs that function in a fresh Python, with nothing of the
user's settings, no network wanted, and an empty folder as its home; what it returns comes back as JSON.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measurement import REPOSITORY

_RESULT = "BENCHMARK_RESULT"


class ChildFailed(Exception):
    """A measured process that ended without a result; its last words are the message."""


def environment(folder: Path) -> dict[str, str]:
    """Variables for a measured process that works in `folder`: peers are offline, silent, and write nowhere else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HYPERTUNER_", "WANDB_", "MLFLOW_", "TRACKIO_", "HF_"))
    }
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY / "src"), str(REPOSITORY))),
        "PYTHONWARNINGS": "ignore",
        "DO_NOT_TRACK": "1",
        "HYPERTUNER_STORAGE": str(folder / "storage"),
        "HYPERTUNER_HOME": str(folder / "home"),
        "HYPERTUNER_CACHE": str(folder / "cache"),
        "HYPERTUNER_QUIET": "1",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        **{f"WANDB_{name}_DIR": str(folder / "wandb-own" / name.lower()) for name in ("CONFIG", "CACHE", "DATA")},
        "WANDB_ARTIFACT_DIR": str(folder / "wandb-own" / "artifacts"),
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRACKIO_DIR": str(folder / "trackio"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }


def call(function: str, folder: Path, *arguments: Any, timeout_s: float = 300) -> Any:
    """What `module:function` returns for `arguments` (JSON-able), run in a fresh process whose folder is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "result.json"
    done = subprocess.run(
        command(function, *arguments),
        cwd=folder,
        env={**environment(folder), _RESULT: str(result)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    # A peer's own threads may abort the interpreter while it shuts down (`dcp.async_save`: "terminate called without an
    # active exception"): what was measured before is whole.
    if done.returncode not in (0, -signal.SIGABRT) or not result.exists():
        raise ChildFailed(f"{function}{arguments} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return orjson.loads(result.read_bytes())


def command(function: str, *arguments: Any) -> list[str]:
    """The command line that runs `module:function`."""
    return [sys.executable, "-m", "benchmarks.children", function, orjson.dumps(arguments).decode()]


def _main(function: str, arguments: str) -> None:
    module, _, name = function.partition(":")
    value = getattr(importlib.import_module(module), name)(*orjson.loads(arguments))
    if target := os.environ.get(_RESULT):
        Path(target).write_bytes(orjson.dumps(value))


if __name__ == "__main__":
    _main(*sys.argv[1:3])
