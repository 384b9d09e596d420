"""The queue and the machine."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class WaitingRun(BaseModel):
    """A run that waits, and why."""

    name: str
    priority: int
    after: list[str]
    reason: str
    is_held: bool
    waits_since: float
    label: str
    takes_s: float | None
    """About, as learnt from runs like it."""


class RunningRun(BaseModel):
    """A run of the queue that runs."""

    name: str
    attempt: int
    started_at: float | None
    share: float | None
    left_s: float | None
    step: int | None
    gpus: list[str]
    cpu_share: float | None
    """Of one core, as last sampled."""
    memory_bytes: int | None
    is_stopping: bool


class QueueView(BaseModel):
    """The queue of the storage."""

    is_paused: bool
    slots: int
    drained_by: Literal["this server", "another process", "nobody"]
    drainer: str
    """Who drains it, in words."""
    running: list[RunningRun]
    waiting: list[WaitingRun]
    left_s: float | None
    """Until the last of them has ended, about."""
    unknown: int
    """Runs of which nobody knows how long they take, taken for none in `left_s`: it is that much longer."""


class MoveAsked(BaseModel):
    """Put a waiting run before another, or last."""

    name: str
    before: str | None = None
    last: bool = False


class SlotsAsked(BaseModel):
    """How many runs at once."""

    slots: int = Field(ge=1, le=1024)


class PauseAsked(BaseModel):
    """Start nothing new, or go on."""

    paused: bool


class GpuSample(BaseModel):
    """One GPU."""

    id: str
    name: str
    used_share: float | None
    memory_used_bytes: int | None
    memory_bytes: int | None
    temperature_c: float | None
    power_w: float | None


class MachineSample(BaseModel):
    """The machine at one moment."""

    time: float
    cpu: list[float]
    """Share of each core, 0 to 1."""
    memory_used_bytes: int
    memory_bytes: int
    disk_free_bytes: int
    disk_bytes: int
    gpus: list[GpuSample]


class MachineView(BaseModel):
    """The last ten minutes."""

    host: str
    samples: list[MachineSample]


class LoginAsked(BaseModel):
    """The token of the URL that the server printed."""

    token: str = Field(max_length=512)


class Session(BaseModel):
    """Who asks, and of what."""

    server: str
    version: str
    storage: str
    project: str
    """The name of the folder that the storage lies in."""
    scopes: list[Literal["view", "edit", "run"]]
    host: str
    has_scripts: bool
    is_demo: bool
