"""Forked processes that save begin with everything imported."""

from __future__ import annotations

import pytest
from tests.kill import saving

from hypertuner import files


@pytest.fixture(autouse=True)
def warm(storage, tmp_path):
    saving.warm_up(storage, tmp_path / "home")
    yield
    files.fault_plan = None
