"""The shapes of the model that a script would make with a config, before it runs: nothing is computed or written.

The model is made on the meta device, where tensors have shapes and no memory; one that asks tensors for their values
while it is made is made on the CPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from hypertuner import files
from hypertuner.checkpoint.recipe.making import model_of
from hypertuner.checkpoint.recipe.script import RefusedError
from hypertuner.errors import CheckpointError, first_line
from hypertuner.frameworks.torch.modules import check_model
from hypertuner.frameworks.torch.state import State

_REFUSED = (
    *("os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.link", "os.mkdir", "os.posix_spawn"),
    *("os.remove", "os.rename", "os.rmdir", "os.symlink", "os.system", "os.truncate", "os.utime", "pty.spawn"),
    *("shutil.copyfile", "shutil.move", "shutil.rmtree", "socket.connect", "socket.getaddrinfo", "socket.bind"),
    *("socket.sendto", "socket.sendmsg", "subprocess.Popen", "urllib.Request"),
)


def shapes(script: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in its model's state by name, as a file would have them.

    Raises: CheckpointError, which says why they cannot be known.
    """
    sys.addaudithook(_refuse)
    try:
        try:
            model = _made(script, "meta")
        except (NotImplementedError, RuntimeError):
            model = _made(script, "cpu")
        return {
            name: tuple(value.shape)
            for name, value in State.names_of(check_model(model)).items()
            if isinstance(value, torch.Tensor) and not _has_no_shape(value)
        }
    except RefusedError as error:
        raise CheckpointError(str(error)) from None
    except (Exception, SystemExit) as error:  # the edge to code of the user's, which may raise anything
        raise CheckpointError(f"{type(error).__name__}: {first_line(error)}") from error


def _made(script: Path, device: str) -> Any:
    with torch.device(device), _staying():
        return model_of(script, _is_model, nn.Module)


def _is_model(value: object) -> bool:
    return isinstance(value, nn.Module) and bool(value.state_dict())


def _has_no_shape(value: torch.Tensor) -> bool:
    if is_lazy(value):
        raise RefusedError("it has layers that take their shape from the first batch")
    return False


@contextmanager
def _staying() -> Iterator[None]:
    """Models stay on the device that they are made on: `.to("cuda")` changes no shape."""
    before = nn.Module._apply
    nn.Module._apply = lambda self, *_, **__: self  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module._apply = before  # type: ignore[method-assign]


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Keep code that makes a model from doing anything else: what a download or a cache would."""
    if event == "open":
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if files.would_write(flags) and arguments[0] != os.devnull:
            raise RefusedError(f"it writes {str(arguments[0])[:100]} as its model is made")
    elif event in _REFUSED:
        raise RefusedError(f"it does more than make a model before its Saver ({event})")
