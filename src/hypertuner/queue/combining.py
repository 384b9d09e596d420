"""Several runs of one config: one for each combination of the values of some settings, and for each of some seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypertuner.errors import ConfigError

MOST_RUNS = 1000
"""That are queued at once."""
RETRIES = 3
"""Enough for a night in which a machine is taken away and given back; a script that dies by itself gets none."""
SEED = "seed"


def count(several: Mapping[str, Sequence[Any]], seeds: int | None) -> int:
    """How many runs that makes."""
    return math.prod(len(values) for values in several.values()) * (seeds or 1)


def combinations(
    config: Mapping[str, Any], several: Mapping[str, Sequence[Any]], seeds: int | None
) -> Iterator[dict[str, Any]]:
    """The config of each run: the values that come first change last, seeds quickest. Raises: ConfigError."""
    varied = {**several, **({SEED: seeds_of(config, seeds)} if seeds else {})}
    for values in itertools.product(*varied.values()):
        yield {**config, **dict(zip(varied, values, strict=True))}


def seeds_of(config: Mapping[str, Any], count: int) -> range:
    """So many seeds, counted up from the config's. Raises: ConfigError where that is no whole number."""
    first = config.get(SEED, 0)
    if isinstance(first, bool) or not isinstance(first, int):
        raise ConfigError(f"--seeds {count} counts up from the seed, and seed={first} is no number.", key=SEED)
    return range(first, first + count)
