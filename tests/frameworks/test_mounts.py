"""Which files are mapped, and which are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hypertuner import ConfigError
from hypertuner.frameworks import mounts


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a folder" / "model.pt"
    path.parent.mkdir()
    path.write_bytes(b"x")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor, path
    os.close(descriptor)


def table(tmp_path: Path, *lines: str) -> Path:
    place = tmp_path / "mountinfo"
    place.write_text("\n".join(lines) + "\n")
    return place


def device_of(descriptor: int) -> str:
    number = os.fstat(descriptor).st_dev
    return f"{os.major(number)}:{os.minor(number)}"


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "fuse.sshfs", "fuse", "9p", "ceph", "beegfs", "gpfs", "virtiofs"]
)
def test_a_network_file_system_is_known_by_its_kind(kind):
    assert mounts.is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "apfs", "f2fs", ""])
def test_a_local_disk_is_none(kind):
    assert not mounts.is_network(kind)


def test_a_mount_is_found_by_the_number_of_its_device(file, tmp_path):
    descriptor, path = file
    lines = table(
        tmp_path,
        "22 27 0:9999 / / rw,relatime shared:1 - ext4 /dev/sda rw",
        f"23 27 {device_of(descriptor)} / /elsewhere rw shared:2 master:1 - nfs4 server:/home rw,vers=4.2",
    )
    assert mounts.file_system(descriptor, path, lines) == "nfs4"


def test_else_by_the_longest_path_that_holds_it_spaces_and_all(file, tmp_path):
    descriptor, path = file
    folder = str(path.parent).replace(" ", "\\040")
    lines = table(
        tmp_path,
        "22 27 0:9997 / / rw - btrfs /dev/sda rw",
        f"23 27 0:9998 / {folder} rw - fuse.sshfs host: rw",
        f"24 27 0:9999 / {folder[:-3]} rw - ext4 /dev/sdb rw",
    )
    assert mounts.file_system(descriptor, path, lines) == "fuse.sshfs"


def test_a_table_that_cannot_be_read_is_no_error(file, tmp_path):
    descriptor, path = file
    assert mounts.file_system(descriptor, path, table(tmp_path, "", "rubbish", "1 2 3 - ")) == ""
    assert isinstance(mounts.file_system(descriptor, path, tmp_path / "missing"), str)


def test_this_machines_own_table_is_read(file):
    assert mounts.file_system(*file) != "" or not Path("/proc/self/mountinfo").exists()


def test_the_setting_wins_and_a_wrong_one_is_named(file, monkeypatch):
    for value, mapped in (("map", True), ("read", False), ("READ", False)):
        monkeypatch.setenv("HYPERTUNER_READ", value)
        assert mounts.is_mapped(*file) is mapped
    monkeypatch.setenv("HYPERTUNER_READ", "mmap")
    with pytest.raises(ConfigError, match="'auto', 'map', 'read'"):
        mounts.is_mapped(*file)
