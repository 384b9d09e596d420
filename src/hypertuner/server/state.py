"""What the routes of one server share: the storage, what may be started, and the engines that read, watch and start."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from hypertuner.server.engines import Engines
from hypertuner.server.reading.reading import Reading
from hypertuner.store import Storage


class Engine(Protocol):
    """Something of the server that works beside the requests: it starts before the first, and stops after the last."""

    def start(self) -> None:
        """Begin; in the thread of the event loop, so soon done. Raises HypertunerError: the server does not start."""

    def stop(self) -> None:
        """End, within seconds. What the user's scripts do goes on."""


@dataclass
class State:
    """One server."""

    storage: Storage
    launchable: Path | None = None
    """The script, or the folder of scripts, that may be started."""
    slots: int | None = None
    """How many runs at once; None: as many as the queue itself finds right."""
    drains: bool = True
    """Whether it starts what waits in the queue."""
    is_demo: bool = False
    server: str = field(default_factory=lambda: secrets.token_hex(8))
    """Another one each time the server is started."""
    engines: list[Engine] = field(default_factory=list)
    """Started in this order, stopped in the other."""
    reading: Reading = field(init=False)
    """What it knows of many runs."""
    acting: Engines = field(init=False)
    """What is done to runs, and known of one."""

    def __post_init__(self) -> None:
        """Make the engines; none runs yet."""
        self.reading = reading = Reading(self.storage)
        self.acting = Engines(self.storage, self.launchable, reading, drains=self.drains, slots=self.slots)
        draining, machine = self.acting.draining, self.acting.machine
        reading.pulse.counters += [lambda: draining.revision, lambda: machine.count]
        self.engines += [self.reading, self.acting]


def _current(connection: HTTPConnection) -> State:
    state: State = connection.app.state.hypertuner
    return state


Current = Annotated[State, Depends(_current)]
"""The server that a route belongs to."""
