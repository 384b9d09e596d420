"""Which tensors of a file go where: names that changed, parts that are wanted, shapes that may differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from glob import escape

from hypertuner.errors import CheckpointError, MismatchError, did_you_mean


@dataclass(frozen=True)
class Selection:
    """What of a file is loaded into a model, and under which names."""

    rename: Mapping[str, str] = field(default_factory=dict)
    """Beginning of a name in the file → what stands there in the model; the longest that fits counts."""
    only: tuple[str, ...] = ()
    """Patterns (`*`, `?`, `[…]`) of names in the model, or of the file where there is none; () for all."""
    part: str = ""
    """Of a model of several parts, the one that is wanted; '' for all. `only` then begins with it."""
    ignore_mismatched: bool = False
    """Whether tensors of another shape keep the values that they have, also where all must fit."""

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        """Name in the file → name in the model.

        Raises: CheckpointError for a beginning that no name has; MismatchError where two names become one.
        """
        names = list(names)
        for beginning in self.rename:
            if not any(name.startswith(beginning) for name in names):
                heads = sorted({name.partition(".")[0] + "." for name in names})
                raise CheckpointError(
                    f"rename={{{beginning!r}: …}}: no tensor of the file begins so.{did_you_mean(beginning, heads)}\n"
                    f"  They begin with: {', '.join(heads[:12])}"
                )
        found = {name: self._new_name(name) for name in names}
        seen: dict[str, str] = {}
        for name, new in found.items():
            if new in seen:
                raise MismatchError(f"rename= makes one name of {seen[new]!r} and {name!r}: {new!r}.")
            seen[new] = name
        return found

    def _new_name(self, name: str) -> str:
        beginning = max((old for old in self.rename if name.startswith(old)), key=len, default=None)
        return name if beginning is None else self.rename[beginning] + name[len(beginning) :]

    def within(self, part: str) -> Selection:
        """The same, where the model is one part of the file's: `only` names its tensors without the part."""
        return replace(self, part=part, only=tuple(f"{escape(part)}.{pattern}" for pattern in self.only or ("*",)))

    def takes(self, name: str) -> bool:
        """Whether a tensor of the model, by its name there, is to be loaded."""
        return not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)

    def check(self, names: Iterable[str], of: str = "model") -> None:
        """Raises: CheckpointError for a pattern that names no tensor of the model, or for a part that is not there."""
        names = list(names)
        if self.part and not any(name.startswith(f"{self.part}.") for name in names):
            parts = sorted({name.partition(".")[0] for name in names})
            raise CheckpointError(
                f"The {of} has no part {self.part!r}; it has: {', '.join(map(repr, parts[:8]))}."
                f"{did_you_mean(self.part, parts)}"
            )
        for pattern in self.only:
            if not any(fnmatchcase(name, pattern) for name in names):
                heads = sorted({name.partition(".")[0] + ".*" for name in names})
                raise CheckpointError(
                    f"only={pattern!r} names no tensor of the {of}.{did_you_mean(pattern, heads)}\n"
                    f"  It has: {', '.join(heads[:12])}"
                )


EVERYTHING = Selection()
