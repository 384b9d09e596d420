"""STUB until branch output brings it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    pid: int
    memory_bytes: int | None
    command: str
    user: str


@dataclass(frozen=True)
class Gpu:
    index: int
    uuid: str
    name: str
    memory_bytes: int
    memory_used_bytes: int
    utilisation: float | None
    holders: tuple[Holder, ...]


def list_gpus() -> tuple[Gpu, ...]:
    return ()
