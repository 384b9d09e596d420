"""Which code a queued run is started with: as it was when it was queued."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from hypertuner.errors import ConfigError
from hypertuner.queue.resume import changed_sources
from hypertuner.store import Run, records


@dataclass(frozen=True)
class Code:
    """The script to start, and where Python looks for modules that were not kept with it."""

    script: Path
    beside: Path | None
    """The folder of the script as it is now; None where that is started itself."""
    note: str = ""
    """What is worth telling of it."""


def code_of(run: Run, queued: records.Queued) -> Code:
    """The code that `run` is started with.

    It is the kept source. A script that looks for files beside itself (`__file__`) finds none there: it is started
    where it lies, while it has not changed.

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
        return Code(live, None)
    changed = changed_sources(run, live.absolute())
    if not changed and live.is_file():
        # Nothing tells the two apart but where they lie.
        if _looks_beside_itself(run.layout.source):
            return Code(live, None)
        return Code(kept, live.parent)
    note = f"the code has changed since it was queued ({', '.join(changed[:4])}): started as it was, from {kept.parent}"
    return Code(kept, live.parent, note)


def _looks_beside_itself(source: Path) -> bool:
    for path in source.rglob("*.py"):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "__file__":
                return True
            if isinstance(node, ast.Import | ast.ImportFrom) and "importlib.resources" in ast.unparse(node):
                return True
    return False
