"""One run, whole: what the run panel shows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from hypertuner.server.contract.runs import RunRow, Value


class ConfigEntry(BaseModel):
    """One setting. `parent` is what the run had that this one began from, where it differs (`is_changed`)."""

    key: str
    value: Value
    parent: Value
    is_changed: bool
    is_read: bool | None
    """Whether the script reads it; None when nothing is known."""


class AttemptView(BaseModel):
    """One start of the run's script, and what happened to it."""

    number: int
    state: str
    started_at: float | None
    ended_at: float | None
    reason: str | None
    cause: str | None
    code: int | None
    signal: str | None
    host: str | None
    pid: int | None
    gpus: list[str]
    peak_memory_bytes: int | None
    resumed_from: str | None
    has_output: bool
    output_bytes: int
    environment: dict[str, Value]
    """What was recorded: Python, packages, git commit, device; never a secret."""


class CheckpointRow(BaseModel):
    """One saved checkpoint."""

    reference: str
    run: str
    attempt: int
    step: int
    saved_at: float | None
    metrics: dict[str, Value]
    nbytes: int
    is_best: bool
    is_last: bool
    is_offered: bool
    """`model.pt` is this one."""
    is_pinned: bool
    has_training: bool
    """Optimizer and all: the run can be resumed, or forked, from it."""
    children: list[str]
    problem: str | None
    """Why it cannot be read."""


class Suggestion(BaseModel):
    """A setting to try instead, where a run failed for a reason that one knows: batch_size 64 → 32 after CUDA OOM."""

    key: str
    value: Value
    instead: Value


class Failure(BaseModel):
    """Why the newest attempt did not end well."""

    title: str
    """'CUDA out of memory', 'Killed', 'ValueError: …'."""
    where: str | None
    """'train.py:88'."""
    after_s: float | None
    trace: str
    last_lines: list[str]
    """The last 30 that it printed."""
    suggestion: Suggestion | None


class FileEntry(BaseModel):
    """A file of the run's folder. `id` fetches it; it is no path."""

    id: str
    name: str
    nbytes: int
    changed_at: float


class RunDetail(BaseModel):
    """One run, whole."""

    row: RunRow
    folder: str
    config: list[ConfigEntry]
    arguments: list[str]
    parent: str | None
    parent_how: str | None
    parent_share: float | None
    """Of its parameters that came from the parent's weights."""
    children: list[str]
    attempts: list[AttemptView]
    checkpoints: list[CheckpointRow]
    failure: Failure | None
    metrics: list[str]
    has_media: bool
    files: list[FileEntry]
    can_resume: bool
    is_waiting: bool
    load_code: str
    """Python that loads its weights."""


class OutputLines(BaseModel):
    """Lines [first, first + len(lines)) of what an attempt printed, with their control sequences for colours."""

    attempt: int
    total: int
    first: int
    lines: list[str]
    cursor: str
    """Where the live stream goes on, after the last line there is."""
    left_out: str | None
    """What the size cap has removed before the first line."""


class OutputMatches(BaseModel):
    """Numbers of the lines that a search found."""

    total: int
    lines: list[int]
    is_cut: bool


class FileText(BaseModel):
    """The beginning of a text file of a run (source, notes)."""

    id: str
    name: str
    text: str
    is_cut: bool


StateWord = Literal["draft", "queued", "running", "finished", "failed", "stopped", "pruned", "crashed", "unknown"]
