"""Putting a checkpoint into the model of the current run: start from, fork and resume, each recorded and said.

start from   a new run takes the weights only
fork         a new run continues another's full state; its own settings win
resume       the same run goes on, everything as it was
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypertuner import files
from hypertuner.checkpoint.commit import Checkpoint
from hypertuner.checkpoint.format.archive import Archive, open_model
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.checkpoint.report import LoadReport
from hypertuner.checkpoint.vouching import trusted_as
from hypertuner.errors import ConfigError, MismatchError
from hypertuner.frameworks.adapter import Adapter
from hypertuner.frameworks.restored import Restored
from hypertuner.store import records
from hypertuner.store.active import ActiveRun, PendingParent
from hypertuner.store.said import say


def is_own(archive: Archive) -> bool:
    """Whether this user made a file, or vouched for it (`hypertuner trust`)."""
    try:
        return trusted_as(archive) is not None
    except ConfigError:  # no key can be had: then nothing carries its mark
        return False


def start_from(adapter: Adapter, active: ActiveRun, parent: PendingParent, model: Any, ema: Any = None) -> LoadReport:
    """Put the parent's weights into a model, and into its average; what was kept.

    Every byte of the file is checked first. Raises: CorruptFileError; MismatchError when they hardly fit: then nothing
    was changed.
    """
    name = parent.parent.reference
    _begin(active)
    with open_model(parent.file) as archive:
        trusted = is_own(archive)
        saved_config = dict(archive.index.hyperparameters) if archive.kind == FORMAT else {}
        try:
            report = adapter.fill(model, archive, strict=False, trusted=trusted, verify="full")
        except MismatchError as error:
            raise _misfit(error, active, name, "start from", saved_config) from None
        if ema is not None:
            adapter.fill(ema, archive, strict=False, trusted=trusted)
        about = dict(archive.index.run)
    _applied(adapter, active, model, report)
    _record(active, name, parent.parent.how, report, about)
    if active.writes:
        lines = [f"starts from {name}: {report.explained(saved_config, active.config())}"]
        say("\n".join([*lines, *_config_line(saved_config, active.config())]))
    return report


def restore(
    adapter: Adapter,
    active: ActiveRun,
    path: Path,
    name: str,
    model: Any,
    training: Mapping[str, Any],
    *,
    how: str,
) -> tuple[Checkpoint, Callable[[], object]]:
    """Put a checkpoint's full state into a model and its training state: 'resume' as it was, 'fork' by its rules.

    Returns the checkpoint, and how to set its random states once more.
    Every byte of the file is checked first. Raises: CorruptFileError; CheckpointError naming what the checkpoint
    lacks; MismatchError for what does not fit.
    """
    _begin(active)
    with Archive.open(path) as archive:
        try:
            restored = adapter.restore(model, training, archive, fork=how == "fork", trusted=is_own(archive))
        except MismatchError as error:
            raise _misfit(error, active, name, how, archive.index.hyperparameters) from None
        index = archive.index
    _applied(adapter, active, model, restored.report)
    _record(active, name, how, restored.report, index.run, restored)
    logged = index.run.get("logged_step")
    active.last_step = logged if isinstance(logged, int) else None
    run, step, epoch = index.run.get("name"), index.run.get("step"), index.run.get("epoch")
    checkpoint = Checkpoint(
        run=run if isinstance(run, str) else None,
        step=step if isinstance(step, int) else 0,
        epoch=epoch if isinstance(epoch, int) else None,
        metrics=dict(index.metrics),
        path=path,
        step_given=bool(index.run.get("step_given", True)),
    )
    if active.writes:
        _say(active, name, how, checkpoint, restored, index.hyperparameters)
    return checkpoint, restored.randomness


def _misfit(
    error: MismatchError, active: ActiveRun, name: str, how: str, saved_config: Mapping[str, Any]
) -> MismatchError:
    """The error about weights that do not fit, with the settings that explain it and what there is to do."""
    if not isinstance(error.report, LoadReport):
        return error
    if how == "resume":
        what = "the run cannot go on from it"
        source = f" (as it was: {active.run.layout.source})" if active.run is not None else ""
        advice = (
            f"A run goes on with the model that it began with: change the script back{source}, or begin a new run\n"
            f"  from what fits: hypertuner run --from {name}"
        )
    else:
        what = "the run cannot start from them" if how == "start from" else "the run cannot fork it"
        run = active.parent.parent.run if active.parent is not None else None
        advice = (
            f"Change the config back (`--like {run or 'RUN'}` takes the parent's), or start\n"
            "  without the weights. HYPERTUNER_MATCH_FLOOR=0 takes whatever fits."
        )
    return MismatchError(
        f"The weights of {name} do not fit this model, so {what}: "
        f"{error.report.explained(saved_config, active.config())}\n  {advice}",
        report=error.report,
    )


def _begin(active: ActiveRun) -> None:
    """Claim the attempt first: what goes wrong from here on is how the attempt ended."""
    if active.writes:
        active.attempt()


def _say(
    active: ActiveRun,
    name: str,
    how: str,
    checkpoint: Checkpoint,
    restored: Restored,
    saved_config: Mapping[str, Any],
) -> None:
    at = f"step {checkpoint.step}" + (f", epoch {checkpoint.epoch}" if checkpoint.epoch is not None else "")
    verb = "resumes" if how == "resume" else "forks"
    lines = [f"{verb} {name} ({at}): {', '.join(('model', *restored.done, 'random states'))} restored"]
    if how == "fork":
        lines += _config_line(saved_config, active.config())
        if not restored.report.is_complete:
            lines.append(f"  {restored.report.explained(saved_config, active.config())}")
    lines += [f"  not restored: {note}" for note in restored.left]
    say("\n".join(lines))


def _config_line(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    changes = changed(before, now)
    return [f"  config: {', '.join(changes)}"] if before and changes else []


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two configs, as 'key old → new'."""
    keys = [*before, *(key for key in now if key not in before)]
    return [
        f"{key} {before.get(key, 'not set')} → {now.get(key, 'not set')}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _applied(adapter: Adapter, active: ActiveRun, model: Any, report: LoadReport) -> None:
    active.parent_is_loaded = True
    if active.begins_from is not None:
        adapter.guard(active, model, report)


def _record(
    active: ActiveRun,
    name: str,
    how: str,
    report: LoadReport,
    about: Mapping[str, Any],
    restored: Restored | None = None,
) -> None:
    if not active.writes:
        return
    loaded = records.ParentLoaded(
        reference=name,
        how=how,
        loaded_at=records.now(),
        tensors=len(report.loaded),
        share=report.share,
        # The file may record a former name of its run; run.json has the one it had when this run was made.
        run=active.parent.parent.run if how != "resume" and active.parent is not None else about.get("name"),
        attempt=about.get("attempt"),
        step=about.get("step"),
        metrics_bytes=about.get("metrics_bytes"),
        saved_at=about.get("saved_at"),
        restored=restored.done if restored else (),
        left=restored.left if restored else (),
        missing=report.missing,
        unexpected=report.unexpected,
        mismatched=tuple(map(str, report.mismatched)),
    )
    # The last word counts: `saver.resume()` in a fork goes on from what the fork saved itself.
    files.replace(active.attempt().layout.parent, records.to_bytes(loaded))
