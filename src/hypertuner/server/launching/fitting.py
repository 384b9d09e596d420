"""Whether a checkpoint's weights will fit the model of a new run, before its script runs: by the shapes that runs of
the same script have saved, else by those of the model that the script makes. Where neither tells, why is said."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypertuner import settings
from hypertuner.checkpoint import report
from hypertuner.checkpoint.format import archive
from hypertuner.errors import StorageError
from hypertuner.index.progress import says_how_long
from hypertuner.index.row import RunRow
from hypertuner.server.contract.acting import FitReport, Mismatch
from hypertuner.server.launching.trying import Shapes
from hypertuner.server.weights.checkpoints import Checkpoints, Saved
from hypertuner.store import Run

_ASKED_RUNS = 200
_SHOWN = 200
# Settings of which no layer's shape comes, whatever their value.
_NO_SHAPE = re.compile(
    r"(^|[^a-z])(seed|lr|rate|batch|bs|workers?|threads|device|gpus?|log|logging|every|save|eval|patience|warmup|momentum|"
    r"decay|wd|dropout|beta[0-9s]*|eps|epsilon|clip|gamma|temperature|optimi[sz]er|scheduler|schedule|amp|precision|"
    r"verbose|name|tags?|note|path|dir|folder|root|output|data|resume|compile|smoothing|augment\w*|shuffle|subset|limit|"
    r"size_limit|accumulation|accumulate|nesterov|ema|loss|pause|sleep)([^a-z]|$)",
    re.IGNORECASE,
)
_A_SHAPE = re.compile(r"mult|ratio|width|depth|scale|expansion|factor", re.IGNORECASE)


def gives_shape(key: str, value: Any) -> bool:
    """Whether a setting may give a layer its shape, by its name and its value."""
    if says_how_long(key) or _NO_SHAPE.search(key.rpartition(".")[2]):
        return False
    # Rates and shares: a number with a fraction is one, unless its name says that it scales layers.
    return not isinstance(value, float) or bool(_A_SHAPE.search(key))


def fit(
    parent: Saved,
    parent_config: Mapping[str, Any],
    config: Mapping[str, Any],
    rows: Sequence[RunRow],
    checkpoints: Checkpoints,
    makes: Callable[[Mapping[str, Any]], Shapes | str | None] | None,
) -> FitReport:
    """Whether the parent's weights fit a run of `config`; `rows` are the runs of its script, newest first.

    `makes` makes its model where no run tells, and is given the settings that may give a layer its shape; None where
    nothing of the script may be executed.
    """
    saved = shapes_of(parent.file.path)
    if not saved:
        return _unknown(0, "The parent's file does not say which tensors it holds.")
    shaping = {key: value for key, value in config.items() if gives_shape(key, value)}
    for row in rows[:_ASKED_RUNS]:
        if not _is_alike(shaping, row.config) or not row.checkpoints:
            continue
        if (here := _newest_shapes(row, checkpoints)) is not None:
            return _compared(saved, here, parent_config, config, f"as {row.name} tells")
    # A script without an Args records no defaults: what is not in the parent's config is not known to be as it was.
    changed = [key for key in shaping if key not in parent_config or parent_config[key] != shaping[key]]
    if not changed and rows and any(row.name == parent.run for row in rows):
        return _compared(saved, saved, parent_config, config, f"as {parent.run} tells")
    told = " ".join(f"{key}={config[key]}" for key in changed[:4])
    nobody = f"no run of this script{f' with {told}' if told else ''} has saved a checkpoint"
    if makes is None:
        return _unknown(len(saved), f"Not known yet: {nobody}.")
    here_or_why = makes(shaping)
    if here_or_why is None:
        return _unknown(len(saved), "The script's model is being made, to compare its shapes.", is_pending=True)
    if isinstance(here_or_why, str):
        return _unknown(len(saved), f"Not known yet: {nobody}, and the script does not tell: {here_or_why}.")
    return _compared(saved, here_or_why, parent_config, config, "as the script makes its model")


def shapes_of(path: Path) -> Shapes:
    """The shapes of a checkpoint's weights by name; {} where it cannot be read."""
    try:
        index = archive.inspect(path)
    except (StorageError, OSError):
        return {}
    rows = index.state_dict or (next(iter(index.tensors.values())) if len(index.tensors) == 1 else {})
    return {name: row.shape for name, row in rows.items()}


def _is_alike(shaping: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a run had the same values of all that may give a shape."""
    theirs = {key for key, value in config.items() if gives_shape(key, value)}
    return all(key in config and config[key] == value for key, value in shaping.items()) and theirs <= shaping.keys()


def _newest_shapes(row: RunRow, checkpoints: Checkpoints) -> Shapes | None:
    for one in reversed(checkpoints.of(Run(Path(row.folder)))):
        if found := shapes_of(one.file.path):
            return found
    return None


def _compared(
    saved: Shapes, here: Shapes, parent_config: Mapping[str, Any], config: Mapping[str, Any], by: str
) -> FitReport:
    both = [key for key in here if key in saved]
    wrong = [report.Mismatch(key, saved[key], here[key]) for key in both if saved[key] != here[key]]
    fitting = len(both) - len(wrong)
    missing = tuple(key for key in here if key not in saved)
    unexpected = tuple(key for key in saved if key not in here)
    is_whole = not wrong and not missing and not unexpected
    parts = [f"{fitting} of {len(here)} tensors fit"]
    parts += [str(one) for one in wrong[:2]]
    parts += [f"and {len(wrong) - 2} more have another shape"] if len(wrong) > 2 else []
    parts += [f"{len(missing)} not in the parent: new"] if missing else []
    parts += [f"{len(unexpected)} of the parent's have no place"] if unexpected else []
    share = _share(here, {one.name for one in wrong} | set(missing))
    floor = settings.MATCH_FLOOR.get()
    if not is_whole:
        too_few = f": below {100 * floor:.0f} % the run refuses them" if share < floor else ""
        parts.append(f"{100 * share:.1f} % of the values are kept{too_few}")
    return FitReport(
        fits="yes" if is_whole else "partly" if fitting and share >= floor else "no",
        tensors=len(here),
        fitting=fitting,
        mismatched=[_mismatch(one, parent_config, config) for one in wrong[:_SHOWN]],
        message=f"{' · '.join(parts)} ({by})",
    )


def _mismatch(one: report.Mismatch, parent_config: Mapping[str, Any], config: Mapping[str, Any]) -> Mismatch:
    because = report.cause(one, parent_config, config).removeprefix(", probably because ") or None
    return Mismatch(tensor=one.name, parent=list(one.saved), here=list(one.model), because=because)


def _share(here: Shapes, lost: Iterable[str]) -> float:
    total = sum(math.prod(shape) for shape in here.values())
    return 1 - sum(math.prod(here[name]) for name in lost) / total if total else 0.0


def _unknown(tensors: int, message: str, *, is_pending: bool = False) -> FitReport:
    return FitReport(fits="unknown", tensors=tensors, fitting=0, mismatched=[], message=message, is_pending=is_pending)
