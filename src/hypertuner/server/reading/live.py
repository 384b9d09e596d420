"""The live stream of one tab: it says what it wants to hear of, and is told what has changed.

Nothing waits in a queue for a tab: what it has not been told is found when it can be told, from its own cursors. So a
slow one costs no memory; where it takes nothing for a while, the connection is ended below this (serving.py).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from hypertuner.server.contract.queue import MachineSample, QueueView
from hypertuner.server.contract.series import Said, Subscribe
from hypertuner.server.reading.following import FollowedOutput, FollowedRun
from hypertuner.server.reading.reading import Reading
from hypertuner.server.reading.shown import dumps
from hypertuner.store import Run
from hypertuner.store.names import is_name

_ROWS_EVERY_S = 0.1
_OPENING_EVERY_S = 0.5
_LOOK_AFTER_S = 1.0
_GOES_ON_EVERY_S = 2.0
_WORTH = 30
"""Of a very long queue a look takes long: no more than this share of the time goes into how far its runs are."""
_MOST_ROWS = 200
_MOST_RUNS = 200
_MOST_METRICS = 200
_MOST_TOLD_BYTES = 256 * 1024
_NOT_UNDERSTOOD = 1008


class Machine(Protocol):
    """Samples of the machine."""

    @property
    def count(self) -> int:
        """How many samples were taken."""

    def newest(self) -> MachineSample | None:
        """The last one."""


class Draining(Protocol):
    """What happens to the queue."""

    @property
    def revision(self) -> int:
        """Grows when the queue may have changed."""

    def said(self, after: int) -> list[tuple[int, Said]]:
        """What has happened since, each with its number."""


class Acting(Protocol):
    """The part of the server that starts and stops, as far as the live stream tells of it."""

    @property
    def machine(self) -> Machine:
        """The machine."""

    @property
    def draining(self) -> Draining:
        """The draining of the queue."""

    def queue(self) -> QueueView:
        """The queue as it is now."""


class Live:
    """One tab's stream."""

    def __init__(self, websocket: WebSocket, server: str, reading: Reading, acting: Acting) -> None:
        self._websocket = websocket
        self._server = server
        self._reading = reading
        self._acting = acting
        self._wanted = Subscribe(rows=False)
        self._runs: dict[str, FollowedRun] = {}
        self._output: FollowedOutput | None = None
        self._told = 0
        self._rows_due = 0.0
        self._queue_told = -1
        self._queue: dict[str, Any] | None = None
        self._queue_due = math.inf
        self._said = 0
        self._samples = 0
        self._has_more = False
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Tell until the tab is gone."""
        await self._websocket.accept()
        loop = asyncio.get_running_loop()
        pulse = self._reading.pulse

        def wake() -> None:
            with suppress(RuntimeError):  # the server is going down
                loop.call_soon_threadsafe(self._woken.set)

        self._wake = wake
        self._told = self._reading.catalogue.revision
        self._said = max((number for number, _ in self._acting.draining.said(0)), default=0)
        await self._send(dumps({"type": "hello", "server": self._server, "revision": self._told}))
        pulse.join(self, wake)
        telling = asyncio.create_task(self._tell())
        try:
            await self._hear(telling)
        finally:
            telling.cancel()
            pulse.leave(self)

    async def _hear(self, telling: asyncio.Task[None]) -> None:
        """Take what the page wants to hear of, until it is gone or was let go."""
        while True:
            hearing = asyncio.create_task(self._websocket.receive_text())
            done, _ = await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
            if hearing not in done:
                hearing.cancel()
                with suppress(RuntimeError, WebSocketDisconnect):
                    telling.result()  # raises what ended it
                return
            try:
                wanted = Subscribe.model_validate_json(hearing.result())
            except (WebSocketDisconnect, RuntimeError):
                return
            except (ValidationError, KeyError):
                await self._websocket.close(_NOT_UNDERSTOOD)
                return
            await run_in_threadpool(self._subscribe, wanted)
            self._woken.set()

    def _subscribe(self, wanted: Subscribe) -> None:
        storage = self._reading.catalogue.storage.path
        names = [name for name in wanted.series if is_name(name)][:_MOST_RUNS]
        metrics = wanted.metrics[:_MOST_METRICS]
        runs = {name: FollowedRun(Run(storage / name), wanted.series[name], metrics) for name in names if metrics}
        output = None
        if (asked := wanted.output) is not None and is_name(asked.run) and asked.attempt > 0:
            output = FollowedOutput(Run(storage / asked.run), asked.attempt, asked.cursor)
        self._runs, self._output, self._wanted = runs, output, wanted
        self._follow()

    def _follow(self) -> None:
        paths: dict[str, str] = {}
        for run in self._runs.values():
            paths.update(dict.fromkeys(run.paths(), run.run.name))
        if self._output is not None:
            paths.update(dict.fromkeys(self._output.paths(), self._output.run.name))
        self._reading.pulse.follow(self, paths, self._wake)

    async def _tell(self) -> None:
        while True:
            self._woken.clear()
            for message in await run_in_threadpool(self._messages):
                await self._send(message)
            if self._has_more:
                continue
            left = max(0.005, self._rows_due - time.monotonic()) if self._rows_are_due() else _LOOK_AFTER_S
            try:
                await asyncio.wait_for(self._woken.wait(), left)
            except (TimeoutError, asyncio.TimeoutError):
                continue

    async def _send(self, message: bytes) -> None:
        await self._websocket.send_text(message.decode())

    def _messages(self) -> list[bytes]:
        """What there is to tell now; no more than a tab takes at once."""
        told: list[bytes] = []
        nbytes = 0
        self._has_more = False
        for message in self._all():
            told.append(dumps(message))
            nbytes += len(told[-1])
            if nbytes > _MOST_TOLD_BYTES:
                self._has_more = True
                break
        return told

    def _all(self) -> Iterator[dict[str, Any]]:
        is_moved = False
        for followed in list(self._runs.values()):
            messages, has_more = followed.more()
            self._has_more |= has_more
            is_moved |= followed.is_moved
            followed.is_moved = False
            yield from messages
        if self._output is not None:
            messages, has_more = self._output.more()
            self._has_more |= has_more
            is_moved |= bool(messages)
            yield from messages
        if is_moved:
            self._follow()
        yield from self._acted()
        yield from self._rows()

    def _acted(self) -> Iterator[dict[str, Any]]:
        acting = self._acting
        for number, said in acting.draining.said(self._said):
            self._said = number
            yield _plain(said)
        now = time.monotonic()
        # A run that is to be started, and how far one is, changes without a word of the queue's.
        if acting.draining.revision != self._queue_told or now >= self._queue_due:
            self._queue_told = acting.draining.revision
            before, self._queue = self._queue, _plain(acting.queue())
            pause = max(_GOES_ON_EVERY_S, _WORTH * (time.monotonic() - now))
            self._queue_due = now + pause if self._queue["running"] or self._queue["waiting"] else math.inf
            if self._queue != before:
                yield {"type": "queue", "queue": self._queue}
        if self._wanted.machine and acting.machine.count != self._samples:
            self._samples = acting.machine.count
            if (sample := acting.machine.newest()) is not None:
                yield {"type": "machine", "sample": _plain(sample)}

    def _rows_are_due(self) -> bool:
        return self._wanted.rows and self._reading.catalogue.revision != self._told

    def _rows(self) -> Iterator[dict[str, Any]]:
        now = time.monotonic()
        if not self._rows_are_due() or now < self._rows_due:
            return
        catalogue = self._reading.catalogue
        self._rows_due = now + (_ROWS_EVERY_S if catalogue.is_complete else _OPENING_EVERY_S)
        since, revision = self._told, catalogue.revision
        changes = catalogue.changes(since)
        is_all = changes is not None and len(changes.rows) <= _MOST_ROWS
        rows = changes.rows if changes is not None and is_all else []
        self._told = changes.revision if changes is not None and is_all else revision
        yield {
            "type": "rows",
            "since": since,
            "revision": self._told,
            "rows": self._reading.showing.rows(rows, self._reading.asking.ask().label_keys()) if rows else [],
            "gone": changes.gone if changes is not None and is_all else [],
            "total": catalogue.total,
            "is_complete": catalogue.is_complete,
            "has_more": not is_all,
        }


def _plain(message: BaseModel) -> dict[str, Any]:
    return message.model_dump(mode="json")
