"""What the routes of one server share: the storage, what may be started, and the engines that read, watch and start."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from hypertuner.store import Storage


@dataclass
class State:
    """One server."""

    storage: Storage
    launchable: Path | None = None
    """The script, or the folder of scripts, that may be started."""
    server: str = field(default_factory=lambda: secrets.token_hex(8))
    """Another one each time the server is started."""


def _current(connection: HTTPConnection) -> State:
    state: State = connection.app.state.hypertuner
    return state


Current = Annotated[State, Depends(_current)]
"""The server that a route belongs to."""
