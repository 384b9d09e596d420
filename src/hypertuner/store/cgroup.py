"""The memory limit that Linux's control groups set for this process, how near it is, and how often it has killed.

Version 2 and version 1, in a container or not. Elsewhere there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc/self")
_NO_LIMIT = 1 << 60  # version 1 writes a number of this size for none


@dataclass(frozen=True)
class Room:
    """The tightest memory limit above this process."""

    limit_bytes: int
    available_bytes: int
    """What can still be taken; files that are cached only can go."""


def room() -> Room | None:
    """The tightest limit, by what is left of it; None where nothing limits."""
    found = [room for folder, version in _folders() if (room := _room(folder, version)) is not None]
    return min(found, key=lambda room: room.available_bytes, default=None)


def oom_kills() -> int | None:
    """How many processes of this process's group were killed for want of memory so far; None where nobody counts."""
    for folder, version in _folders():
        # Counted where the victim is, whoever set the limit.
        return _values(folder / ("memory.events" if version == 2 else "memory.oom_control")).get("oom_kill")
    return None


def _room(folder: Path, version: int) -> Room | None:
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit, used = _number(folder / names[0]), _number(folder / names[1])
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    cached = _values(folder / "memory.stat").get(names[2], 0)
    return Room(limit, max(0, limit - max(0, used - cached)))


def _folders() -> Iterator[tuple[Path, int]]:
    """(folder, version) of this process's memory group and of those above it, as far as they can be seen."""
    try:
        groups = [line.split(":", 2) for line in (_PROC / "cgroup").read_text().splitlines()]
        mounts = [line.split(" ") for line in (_PROC / "mountinfo").read_text().splitlines()]
    except OSError:
        return
    for fields in mounts:
        root, point, (kind, _, options) = fields[3], fields[4], fields[fields.index("-") + 1 :][:3]
        for _, controllers, group in groups:
            is_memory = kind == "cgroup" and "memory" in options.split(",") and "memory" in controllers.split(",")
            if not is_memory and not (kind == "cgroup2" and controllers == ""):
                continue
            top = Path(point)
            # A container sees its own group as the root of the mount, or the whole path of it.
            below = group.removeprefix(root.rstrip("/")) if group.startswith(root) else "/"
            folder = top / below.lstrip("/")
            if not (folder / ("memory.stat" if not is_memory else "memory.limit_in_bytes")).exists():
                continue
            yield folder, 1 if is_memory else 2
            while folder != top:
                folder = folder.parent
                yield folder, 1 if is_memory else 2
            return


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max"
        return None


def _values(path: Path) -> dict[str, int]:
    """The lines `name number` of a file."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
        return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2}
    except (OSError, ValueError):
        return {}
