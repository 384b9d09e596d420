"""What the page asks the server to do, and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from hypertuner.server.contract.runs import Value

Action = Literal[
    "archive", "unarchive", "star", "unstar", "tag", "untag", "trash", "restore", "stop", "requeue", "withdraw",
    "resume", "hold", "release", "pin", "unpin",
]  # fmt: skip


class ActionAsked(BaseModel):
    """One thing done to some runs. `tag`: of 'tag' and 'untag'. `references`: of 'pin' and 'unpin', to checkpoints."""

    action: Action
    names: list[str] = Field(default=[], max_length=10_000)
    tag: str = ""
    references: list[str] = Field(default=[], max_length=10_000)


class Failed(BaseModel):
    """A run to which it could not be done, and why."""

    name: str
    message: str


class ActionDone(BaseModel):
    """To which runs it was done; `undo` is what takes it back."""

    done: list[str]
    failed: list[Failed]
    undo: Action | None
    message: str
    """'3 runs are in the trash.'"""


class NotesChange(BaseModel):
    """What of a run's notes is to be replaced; what is None stays."""

    tags: list[str] | None = None
    note: str | None = None
    starred: bool | None = None
    archived: bool | None = None
    colour: int | None = Field(default=None, ge=0, le=7)


class ScriptSetting(BaseModel):
    """A setting of a script: from its own declaration, or from what its runs had."""

    key: str
    kind: Literal["int", "float", "bool", "str", "list", "unknown"]
    default: Value
    has_default: bool
    choices: list[Value]
    help: str
    is_read: bool | None


class ScriptView(BaseModel):
    """A script that may be started: it was named when the server was started, or lies in the folder that was."""

    id: str
    name: str
    settings: list[ScriptSetting]
    declared_by: Literal["Args", "argparse", "dataclass", "runs", "nothing"]
    newest_run: str | None
    runs: int
    problem: str | None


class Scripts(BaseModel):
    """All scripts that may be started."""

    scripts: list[ScriptView]


class LaunchAsked(BaseModel):
    """A new run, or several: a setting in `several` is a list of values, one run for each combination.

    `from_run` copies script and config of a run. `parent` is a reference to a checkpoint; `how` what is taken of it.
    """

    script: str | None = None
    """Its id."""
    from_run: str | None = None
    config: dict[str, Value] = {}
    several: dict[str, list[Value]] = {}
    seeds: int = Field(default=1, ge=1, le=1000)
    parent: str | None = None
    how: Literal["scratch", "weights", "fork"] = "scratch"
    name: str | None = None
    mode: Literal["draft", "queue", "now"] = "queue"
    priority: int = 0
    tags: list[str] = []


class ConfigProblem(BaseModel):
    """What is wrong with one setting ('' of none in particular)."""

    key: str
    message: str
    is_warning: bool


class Mismatch(BaseModel):
    """A tensor whose shape is another one than in the parent, and the setting that explains it."""

    tensor: str
    parent: list[int]
    here: list[int]
    because: str | None


class FitReport(BaseModel):
    """Whether the parent's weights fit, as far as earlier runs and settings tell before the script runs."""

    fits: Literal["yes", "partly", "no", "unknown"]
    tensors: int
    fitting: int
    mismatched: list[Mismatch]
    message: str
    """'126 of 128 tensors fit · head.weight 10→100'."""
    is_pending: bool = False
    """Whether it is being found out: to be asked again in a moment."""


class LaunchChecked(BaseModel):
    """What would be launched."""

    runs: int
    problems: list[ConfigProblem]
    changed: dict[str, Value]
    """Settings that differ from the run or parent it comes from, with the value there."""
    never_read: list[str]
    fit: FitReport | None


class Launched(BaseModel):
    """The runs that were made."""

    runs: list[str]
    message: str


class TrashEntry(BaseModel):
    """A run in the trash."""

    id: str
    name: str
    deleted_at: float
    nbytes: int


class TrashView(BaseModel):
    """What can be restored, newest first."""

    entries: list[TrashEntry]
