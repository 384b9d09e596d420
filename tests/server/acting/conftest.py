"""A real server on a storage of runs that real scripts made: one for tests that look, one each for those that act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.queue.conftest import until
from tests.server.acting.trained import Trained, train
from tests.server.serving import Served, serving

__all__ = ["until"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Runs that are only looked at."""
    return train(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def looked(trained: Trained) -> Iterator[Served]:
    """A server on them, which may start train.py."""
    with serving(trained.folder, "train.py") as served:
        yield served


@pytest.fixture
def place(tmp_path: Path) -> Trained:
    """An empty folder of the test's own."""
    return Trained(tmp_path)


@pytest.fixture
def serve(place: Trained) -> Iterator[Callable[..., Served]]:
    """Starts a server in it, ended with the test."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda *words: stack.enter_context(serving(place.folder, *words))
