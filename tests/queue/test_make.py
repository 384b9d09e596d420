"""What of a run's command line a run like it takes over: not what its config says already."""

from __future__ import annotations

import pytest

from hypertuner.queue.make import without_settings

CONFIG = {"lr": 0.1, "batch_size": 32, "amp": True, "sizes": [1, 2, 3], "model.depth": 2}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["lr=0.3", "spare"], ["spare"]),
        (["--lr", "0.3", "spare"], ["spare"]),
        (["--lr=-1e-3", "--other", "5"], ["--other", "5"]),
        (["--lr", "-1", "x"], ["x"]),
        (["--batch-size", "64", "--out", "a"], ["--out", "a"]),
        (["--amp", "data"], ["data"]),
        (["--no-amp", "data"], ["data"]),
        (["--sizes", "4", "5", "6", "data"], ["data"]),
        (["model.depth=3"], []),
        (["-v", "data", "--", "lr=0.3"], ["-v", "data", "--", "lr=0.3"]),
        (["--lr"], []),
    ],
)
def test_arguments_that_the_config_says_are_left_out(given, kept):
    assert without_settings(given, CONFIG) == kept
