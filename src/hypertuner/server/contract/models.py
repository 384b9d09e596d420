"""Checkpoints over all runs, one of them whole, lineage, room on the disk."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from hypertuner.server.contract.detail import CheckpointRow
from hypertuner.server.contract.runs import Value


class CheckpointsPage(BaseModel):
    """A window of the checkpoints of the runs that a query describes."""

    matched: int
    offset: int
    rows: list[CheckpointRow]
    nbytes: int
    """Of all of them."""
    runs_left_out: int = 0
    """Older runs whose checkpoints are not among them: a query finds these."""


class TensorRow(BaseModel):
    """One tensor of a checkpoint."""

    name: str
    kind: Literal["parameter", "buffer", "other"]
    dtype: str
    shape: list[int]
    count: int
    nbytes: int
    is_shared: bool
    """It is the same memory as another one (tied weights)."""


class Trust(BaseModel):
    """Whether the file carries this user's own mark, and what that means."""

    is_trusted: bool
    message: str


class CheckpointDetail(BaseModel):
    """One checkpoint, whole: from its index alone, nothing is unpickled."""

    row: CheckpointRow
    config: dict[str, Value]
    environment: dict[str, Value]
    model_class: str | None
    parameters: int
    tensors: list[TensorRow]
    trust: Trust
    load_code: str
    resume_command: str | None


class TensorStatistics(BaseModel):
    """What the values of one tensor are, streamed from the file; `changed` is the relative change ‖Δ‖/‖w‖ against the
    same tensor of the checkpoint that it is compared with."""

    name: str
    mean: float | None
    std: float | None
    lowest: float | None
    highest: float | None
    zeros: int
    nans: int
    infinities: int
    counts: list[int]
    """A histogram of 24 bins between `lowest` and `highest`."""
    changed: float | None


class WeightStatistics(BaseModel):
    """Of all tensors of a checkpoint."""

    reference: str
    compared_with: str | None
    tensors: list[TensorStatistics]
    nans: int
    infinities: int
    problem: str | None


class LineageNode(BaseModel):
    """A run of the family tree. `is_gone`: only its children still name it."""

    name: str
    state: str
    colour: int
    mark: int
    metric: float | None
    """Best value of the metric that was asked for."""
    is_gone: bool


class LineageEdge(BaseModel):
    """`child` began from `parent` at `step`; `changed` has [parent's value, child's]; `gain` of the metric asked for,
    positive is better."""

    parent: str
    child: str
    how: str
    step: int | None
    changed: dict[str, list[Value]]
    gain: float | None


class Lineage(BaseModel):
    """The family of a run, or of all runs that have one."""

    metric: str | None
    nodes: list[LineageNode]
    edges: list[LineageEdge]


class Dispensable(BaseModel):
    """Something that cleaning would remove."""

    run: str
    what: str
    nbytes: int


class CleaningPlan(BaseModel):
    """What would go to come down to `most_bytes`; nothing has been removed."""

    storage_bytes: int
    most_bytes: int
    frees_bytes: int
    items: list[Dispensable]
    message: str


class CleanAsked(BaseModel):
    """Come down to this size; what goes is in the trash afterwards."""

    most_bytes: int
