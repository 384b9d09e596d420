"""How each run looks where it is drawn: one of eight colours with one of four marks, for life.

A run gets the colour least used among those made just before it, and just after it where those have theirs already.
So runs that are compared, which are those made one after another, differ. What was chosen is kept in the index, and
stays when later runs come or earlier ones go. Without an index it is chosen again by the same rule over the runs that
there are: the same, unless runs were removed since, or were noticed in another order. What people chose (`colour` in
notes.json) wins.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import islice

import xxhash

from hypertuner.server.reading.packed import COLOUR, CREATED, NAME, Packed

COLOURS = 8
MARKS = 4
_NEIGHBOURS = COLOURS * MARKS - 1


def choose(before: Sequence[int], after: Sequence[int] = ()) -> int:
    """The look of a run that was made after runs of these looks, and before those, the nearest last and first:
    8 × mark + colour."""
    near = [look % COLOURS for look in before[-(COLOURS - 1) :]]
    begin = near[-1] + 1 if near else 0
    near += [look % COLOURS for look in after[: COLOURS - 1]]
    colour = min(((begin + turn) % COLOURS for turn in range(COLOURS)), key=near.count)
    marks = [look // COLOURS for look in (*before[-_NEIGHBOURS:], *after[:_NEIGHBOURS]) if look % COLOURS == colour]
    begin = marks[-1] + 1 if marks else 0
    mark = min(((begin + turn) % MARKS for turn in range(MARKS)), key=marks.count)
    return COLOURS * mark + colour


def key_of(name: str, created: float) -> str:
    """What a run's look is remembered by: another run of its name, made later, is another one."""
    return f"{name} {created:.3f}"


class Looks:
    """The look of each run."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def remember(self, looks: Mapping[str, int]) -> None:
        """Take in what was chosen before, by `key_of`."""
        self._gone.update(looks)

    def known(self, row: Packed) -> bool:
        """Whether a run has its look already, or had it."""
        if row[NAME] in self._of:
            return True
        if not self._gone or (look := self._gone.pop(key_of(row[NAME], row[CREATED]), None)) is None:
            return False
        self._of[row[NAME]] = look
        return True

    def give(self, newest_first: Sequence[Packed], made: Sequence[Packed]) -> dict[str, int]:
        """Choose for those of `made` that have none, by all there are; what was chosen, by `key_of`."""
        lacking = {row[NAME] for row in made if not self.known(row)}
        chosen: dict[str, int] = {}
        if not lacking:
            return chosen
        # From the oldest that lacks one, with those just before it.
        last = max(place for place, row in enumerate(newest_first) if row[NAME] in lacking)
        older = islice(newest_first, last + 1, last + 1 + _NEIGHBOURS)
        before = [self._of[row[NAME]] for row in older if self.known(row)][::-1]
        # Runs of one moment are noticed one by one, in any order.
        newer = [place for place in range(last) if self.known(newest_first[place])]
        for place in range(last, -1, -1):
            row = newest_first[place]
            if not self.known(row):
                near = newer[bisect_left(newer, place - _NEIGHBOURS) : bisect_left(newer, place)]
                after = [self._of[newest_first[other][NAME]] for other in reversed(near)]
                look = self._of[row[NAME]] = choose(before, after)
                chosen[key_of(row[NAME], row[CREATED])] = look
            before.append(self._of[row[NAME]])
            if len(before) > 4 * _NEIGHBOURS:
                del before[:-_NEIGHBOURS]
        return chosen

    def forget(self, row: Packed) -> None:
        """A run is gone; should it come back, it looks as it did."""
        if (look := self._of.pop(row[NAME], None)) is not None:
            self._gone[key_of(row[NAME], row[CREATED])] = look

    def of(self, row: Packed) -> tuple[int, int]:
        """(colour, mark) of a run; until all runs are known, of one that is new, any."""
        look = self._of.get(row[NAME])
        if look is None:
            look = zlib.crc32(row[NAME].encode()) % (COLOURS * MARKS)
        chosen = row[COLOUR]
        is_one = isinstance(chosen, str) and chosen.isdecimal() and int(chosen) < COLOURS
        return (int(chosen) if is_one else look % COLOURS), look // COLOURS


def of_one_gone(name: str) -> tuple[int, int]:
    """(colour, mark) of a run that only its children still name."""
    number = xxhash.xxh3_64_intdigest(name.encode())
    return number % COLOURS, number // COLOURS % MARKS
