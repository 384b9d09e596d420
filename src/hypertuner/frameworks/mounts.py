"""Which file system a file lies on, and so whether its bytes are mapped or read.

A map reads a page when it is looked at. On a network that is a round trip for every few KB, and a server that goes
away is a signal that kills the process; there, whole pieces are read instead, where the same is an error with a name.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hypertuner import settings
from hypertuner.errors import ConfigError

_NETWORK = frozenset(
    "9p acfs afpfs afs beegfs beegfs_nodev ceph cifs coda gfs gfs2 gpfs lustre mmfs ncpfs nfs nfs3 nfs4 ocfs2 orangefs "
    "panfs prl_fs pvfs2 smb smb2 smb3 smbfs vboxsf virtiofs vmhgfs webdav wekafs".split()
)
_TABLE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


class _Mount(NamedTuple):
    device: str
    folder: str
    kind: str


def is_mapped(descriptor: int, path: Path) -> bool:
    """Whether an open file's bytes are to be mapped rather than read: HYPERTUNER_READ, else what suits its place.

    Raises: ConfigError where the variable is neither 'map', 'read' nor 'auto'.
    """
    chosen = settings.READ.get().lower()
    if chosen not in ("auto", "map", "read"):
        raise ConfigError(f"HYPERTUNER_READ={chosen!r} is none of 'auto', 'map', 'read'.", key=settings.READ.variable)
    if chosen != "auto":
        return chosen == "map"
    # Windows lets nobody delete or replace a file that is mapped.
    return sys.platform != "win32" and not is_network(file_system(descriptor, path))


def is_network(kind: str) -> bool:
    """Whether a kind of file system ('ext4', 'nfs4', 'fuse.sshfs') reaches its bytes over a network, or may."""
    return kind in _NETWORK or kind.startswith(("fuse", "macfuse", "osxfuse"))


def file_system(descriptor: int, path: Path, table: Path = _TABLE) -> str:
    """The kind of file system that an open file lies on; '' where it cannot be told."""
    try:
        mounts = list(_of_linux(table.read_text(encoding="utf-8", errors="surrogateescape")))
    except OSError:  # no Linux, or no /proc in this container
        mounts = list(_of_others())
    number = os.fstat(descriptor).st_dev
    if sys.platform != "win32":
        device = f"{os.major(number)}:{os.minor(number)}"
        if kinds := [mount.kind for mount in mounts if mount.device == device]:
            return kinds[-1]
    # Btrfs and some stacked file systems give their files numbers that are in no table: then by the path.
    place = os.path.realpath(path)
    holding = [mount for mount in mounts if _holds(mount.folder, place)]
    return max(holding, key=lambda mount: len(mount.folder)).kind if holding else ""


def _holds(folder: str, place: str) -> bool:
    return place == folder or place.startswith(folder.rstrip("/") + "/")


def _of_linux(text: str) -> Iterator[_Mount]:
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        parts, kinds = fields.split(" "), rest.split(" ")
        if len(parts) >= 5 and kinds[0]:
            folder = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), parts[4])
            yield _Mount(parts[2], folder, kinds[0])


def _of_others() -> Iterator[_Mount]:
    import psutil

    for mount in psutil.disk_partitions(all=True):
        yield _Mount("", mount.mountpoint, mount.fstype.lower())
