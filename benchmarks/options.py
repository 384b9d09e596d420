"""How much is measured: a size for each way to run the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """`size` is 'tiny' (the tests: does it work), 'quick', 'normal' or 'full'."""

    size: str = "normal"
    sizes_mb: tuple[int, ...] = ()
    """Sizes of models to save and load; those of `size` when empty."""

    def pick(self, *, tiny: T, quick: T, normal: T, full: T | None = None) -> T:
        """The value for this size; `full` is `normal` unless given."""
        return {"tiny": tiny, "quick": quick, "normal": normal, "full": normal if full is None else full}[self.size]

    def rounds(self, *, tiny: int, quick: int, normal: int) -> int:
        """How many rounds."""
        return self.pick(tiny=tiny, quick=quick, normal=normal)
