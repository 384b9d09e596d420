"""What a model file says of itself: read without torch, and without running or importing anything in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hypertuner.checkpoint import vouching
from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.format.archive import Archive, Index
from hypertuner.checkpoint.format.table import FORMAT, ITEM_BYTES
from hypertuner.cli import terminal
from hypertuner.cli.run import shown_path
from hypertuner.cli.terminal import Cell, Column, plain, value_text
from hypertuner.errors import ConfigError

_TRUST = {
    "yours": "yours: hypertuner.load() gives the model object",
    "vouched": "you vouched for it (hypertuner trust): hypertuner.load() gives the model object",
    "not": "not marked as yours: its weights load, the code of its model object does not run without trust=True",
    None: "",
}
_BIGGEST = 8
_LISTED = 12


def facts_of(path: Path) -> dict[str, Any]:
    """What `show` prints of a file, JSON-able. Raises: CorruptFileError; OSError."""
    index = archive.inspect(path)
    tensors = index.model_tensors
    facts = {
        "path": str(path),
        "nbytes": path.stat().st_size,
        "format": index.format,
        "run": index.run,
        "config": index.hyperparameters,
        "metrics": index.metrics,
        "parent": index.parent,
        "environment": index.environment,
        "tensors": {
            name: {"dtype": row.dtype, "shape": list(row.shape), "kind": row.kind} for name, row in tensors.items()
        },
        "values": index.values,
        "ties": index.ties,
        "is_yours": None if (known := _trusted_as(path, index)) is None else known == "yours",
        "is_vouched": None if known is None else known == "vouched",
        "metadata": index.extra.get("metadata"),
        "imports": list(index.extra["globals"]) if "globals" in index.extra else None,
    }
    safe: dict[str, Any] = terminal.json_safe(facts)
    return safe


def _trusted_as(path: Path, index: Index) -> str | None:
    """'yours', 'vouched' or 'not'; None for another program's file, or when the key cannot be read."""
    if index.format != FORMAT:
        return None
    with Archive.open(path) as opened:
        try:
            return vouching.trusted_as(opened) or "not"
        except ConfigError:
            return None


def show_file(path: Path) -> None:
    """Print what a file says of itself. Raises: CorruptFileError; OSError."""
    index = archive.inspect(path)
    terminal.show_parts((shown_path(path), "bold"), (f"  {plain(index.format)}", ""))
    run, made = index.run, index.environment
    framework = made.get("framework") or {}
    step = f"step {run['step']}" if run.get("step") is not None else ""
    git = made.get("git") or {}
    terminal.show_facts(
        [
            ("run", ", ".join(filter(None, [plain(run.get("name") or ""), step]))),
            ("saved", run.get("saved_at")),
            ("from", (index.parent or {}).get("reference") if isinstance(index.parent, dict) else None),
            ("made by", _made_by(made)),
            ("with", _with(made, framework)),
            ("git", " ".join(str(git[key]) for key in ("branch", "commit") if git.get(key))),
            ("trust", _TRUST[_trusted_as(path, index)]),
            ("size", terminal.size_text(path.stat().st_size)),
        ]
    )
    for title, values in (("config", index.hyperparameters), ("metrics", index.metrics)):
        if values:
            terminal.show_title(title)
            terminal.show_facts([(name, value_text(value)) for name, value in values.items()])
    _show_imports(index)
    _show_tensors(index)


def _made_by(made: dict[str, Any]) -> str:
    if not made.get("user") and not made.get("host"):
        return ""
    return f"{made.get('user') or 'somebody'} on {made.get('host') or 'another host'}"


def _with(made: dict[str, Any], framework: dict[str, Any]) -> str:
    parts = [f"Python {made['python']}"] if made.get("python") else []
    if framework.get("name"):
        parts.append(f"{framework['name']} {framework.get('version', '')}".strip())
    return ", ".join([*parts, *map(str, made.get("device") or [])])


def _show_imports(index: Index) -> None:
    names = index.extra.get("globals")
    if not names:
        return
    terminal.show_title("unpickling it would import (nothing of it was run)")
    for name in list(names)[:_LISTED]:
        terminal.show_line(f"  {plain(name)}")
    if len(names) > _LISTED:
        terminal.show_line(f"  … and {len(names) - _LISTED} more (--json has all)", "dim")


def _show_tensors(index: Index) -> None:
    tensors = index.model_tensors
    bytes_of = {name: math.prod(row.shape) * ITEM_BYTES.get(row.dtype, 0) for name, row in tensors.items()}
    tied = {name for group in index.ties for name in group[1:]}
    total = sum(size for name, size in bytes_of.items() if name not in tied)
    terminal.show_title(
        f"{terminal.count_text(len(tensors), 'tensor')}, {terminal.count_text(index.values, 'value')}, "
        f"{terminal.size_text(total)}"
    )
    if not tensors:
        return
    biggest = sorted(tensors, key=lambda name: -bytes_of[name])[:_BIGGEST]
    terminal.show_table(
        [
            Column("tensor", [Cell(plain(name)) for name in biggest]),
            Column("shape", [Cell("×".join(map(str, tensors[name].shape)) or "scalar") for name in biggest]),
            Column("dtype", [Cell(plain(tensors[name].dtype)) for name in biggest]),
            Column("size", [Cell(terminal.size_text(bytes_of[name])) for name in biggest], is_number=True),
        ]
    )
    if len(tensors) > len(biggest):
        terminal.show_line(f"… and {len(tensors) - len(biggest)} smaller (--json has all)", "dim")
    for group in index.ties[:_LISTED]:
        terminal.show_line(f"tied: {' = '.join(map(plain, group))}")
