"""The code of a run: what it is started with, and whether it has changed."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from hypertuner.errors import ConfigError
from hypertuner.store import Run, capture, orders

_MAY_NAME_A_PLACE = (ast.Name, ast.Subscript, ast.Import, ast.ImportFrom)
_PLACE = re.compile(
    r"__file__|(sys\.)?(argv|path)\[0\]|import (.*\W)?(hydra|inspect|pkgutil|importlib\.resources)\b.*"
    r"|from (hydra|inspect|pkgutil|importlib\.resources)\b.*|from importlib import (.*\W)?resources\b.*"
)
"""How a script finds files beside itself."""


@dataclass(frozen=True)
class Code:
    """The script to start."""

    script: Path
    note: str = ""
    """What is worth telling of it."""
    beside: Path | None = None
    """Where modules are looked for last: one that was not kept with the source, for only a string names it, is found
    where the script lies."""


def code_of(run: Run, queued: orders.Queued) -> Code:
    """The code that `run` is started with.

    It is the kept source. A script that looks for files beside itself (`__file__`, `sys.argv[0]`, Hydra) finds none
    there: it is started where it lies, while it has not changed.

    Raises: ConfigError when there is no script to start.
    """
    record = run.record()
    if record is None or record.script is None:
        raise ConfigError(f"Run {run.name!r} has no script to start.\n  Open it where its code is.")
    live = Path(record.folder) / record.script
    kept = run.layout.source / live.name
    if queued.live_code or not kept.is_file():
        if not live.is_file():
            raise ConfigError(f"The script of run {run.name!r} is not there: {live}.\n  Put it back.", path=live)
        return Code(live)
    changed = changed_sources(run, live.absolute())
    beside = live.resolve().parent
    if not changed and live.is_file():
        # Nothing tells the two apart but where they lie.
        if _looks_beside_itself(run.layout.source):
            return Code(live)
        return Code(kept, beside=beside)
    note = f"the code has changed since it was queued ({', '.join(changed[:4])}): started as it was, from {kept.parent}"
    return Code(kept, note, beside)


def _looks_beside_itself(source: Path) -> bool:
    for path in source.rglob("*.py"):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        if any(_PLACE.fullmatch(ast.unparse(node)) for node in ast.walk(tree) if isinstance(node, _MAY_NAME_A_PLACE)):
            return True
    return False


def changed_sources(run: Run, script: Path) -> list[str]:
    """The source files of a run that are not as they were when it was made, by their place beside the script."""
    kept = run.layout.source
    if not kept.is_dir():
        return []
    names = {path.relative_to(kept) for path in kept.rglob("*") if path.is_file()}
    now = capture.local_sources(script.absolute())
    names |= {path.relative_to(script.parent) for path in now if path.is_relative_to(script.parent)}
    return sorted(str(name) for name in names if _bytes(kept / name) != _bytes(script.parent / name))


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
