"""Runs as the library leaves them, made fast; and a server of this process that reads them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from hypertuner.server.app import make_app
from hypertuner.server.state import State
from hypertuner.store import Run, Storage, metrics, records
from hypertuner.store.attempt import Attempt


def make_run(
    storage: Path,
    name: str,
    config: dict[str, Any] | None = None,
    *,
    created: str = "2026-03-01T12:00:00.000Z",
    parent: records.Parent | None = None,
    script: str = "train.py",
) -> Run:
    """A draft."""
    return Storage(storage).create(name, records.RunRecord(script, (), "/work", created, parent), config or {})


def start(run: Run) -> Attempt:
    """An attempt that this process owns."""
    return run.claim_attempt(
        records.Started.here(exit_by="script", config=run.config(), python="3.12", platform="Linux", user="someone")
    )


def log(attempt: Attempt, step: int, values: dict[str, Any], when: float | None = None) -> int:
    """Log as `Logger` does; the length of the file after it."""
    with attempt.layout.metrics.open("ab") as file:
        file.write(metrics.encode(step, time.time() if when is None else when, values))
        return file.tell()


def end(run: Run, attempt: Attempt, state: str = "finished", reason: str = "") -> None:
    run.end_attempt(attempt, records.Exit(state, 0, None, reason, records.now()))


def trained(storage: Path, name: str, config: dict[str, Any] | None = None, losses: list[float] | None = None, **more):
    """A finished run that logged these losses at steps 0, 1, …"""
    run = make_run(storage, name, config, **more)
    attempt = start(run)
    for step, loss in enumerate(losses or []):
        log(attempt, step, {"train/loss": loss})
    end(run, attempt)
    return run


class Asker:
    """Asks a server of this process."""

    def __init__(self, client: TestClient, state: State) -> None:
        self.client = client
        self.state = state

    def get(self, path: str, **asked: Any) -> Any:
        answer = self.client.get(f"/api{path}", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, **asked: Any) -> Any:
        answer = self.client.get(f"/api{path}", params=asked)
        assert answer.status_code == 400, answer.text
        return answer.json()

    def names(self, query: str = "", **asked: Any) -> list[str]:
        return [row["name"] for row in self.get("/runs", query=query, **asked)["rows"]]

    def until(self, holds: Any, within_s: float = 60) -> None:
        end = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end, "it never came to hold"
            time.sleep(0.02)


@contextlib.contextmanager
def asking(storage: Path) -> Iterator[Asker]:
    """A server that has looked at all folders."""
    state = State(Storage(storage), drains=False)
    with TestClient(make_app(state)) as client:
        asker = Asker(client, state)
        asker.until(lambda: state.reading.catalogue.is_complete)
        yield asker
