"""Saver and load: a model into the current run's folder, with the config that made it; and back."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner import files
from hypertuner.checkpoint import commit, offer, reference
from hypertuner.checkpoint.commit import Checkpoint
from hypertuner.checkpoint.format import trust
from hypertuner.checkpoint.format.archive import Archive, inspect, kind_of
from hypertuner.checkpoint.report import LoadReport
from hypertuner.errors import CheckpointError, ConfigError, UnsafeFileError
from hypertuner.frameworks.adapter import Adapter, loaded_adapters, torch_adapter
from hypertuner.store import Run, capture, current, records
from hypertuner.store.active import ActiveRun, PendingParent
from hypertuner.store.monitor import watched_metric
from hypertuner.store.process import ProcessIdentity
from hypertuner.store.said import say

FORMAT = "hypertuner/1"


class Saver:
    """Saves the model of the current run.

    Args:
        model: a module, a dict of modules (`{"G": g, "D": d}`, one model of several parts), a dict of tensors; or
            None: the one root module among the caller's locals, `self`'s attributes, then globals is taken.
        optimizer, scheduler, scaler, ema, dataloader, extra: training state that is saved with the weights.
        monitor, mode: the logged metric that tells the best checkpoint, and 'min' or 'max'. Without them a metric
            whose name tells its direction ('val_loss', 'accuracy') is taken, and said once.
        keep_last, keep_best: how many of this attempt's checkpoints stay.

    In a run that begins from a parent, the parent's weights are in the model (and in `ema`) when this returns.

    Raises: CheckpointError when several models are found, or the run has a Saver of another model;
        MismatchError when the parent's weights do not fit.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        optimizer: Any = None,
        scheduler: Any = None,
        scaler: Any = None,
        ema: Any = None,
        dataloader: Any = None,
        extra: Any = None,
        monitor: str | None = None,
        mode: str | None = None,
        keep_last: int = 1,
        keep_best: int = 1,
        background: bool = False,
    ) -> None:
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode is 'min' or 'max', got {mode!r}")
        if keep_last < 1 or keep_best < 0:
            raise ValueError(f"keep_last is at least 1 and keep_best at least 0, got {keep_last} and {keep_best}")
        self._made_in = current.run()
        self._training = {
            name: part
            for name, part in (
                ("optimizer", optimizer),
                ("scheduler", scheduler),
                ("scaler", scaler),
                ("ema", ema),
                ("dataloader", dataloader),
                ("extra", extra),
            )
            if part is not None
        }
        self._monitor, self._mode = monitor, mode
        self._keep_last, self._keep_best = keep_last, keep_best
        self._ema = ema
        self._adapter: Adapter | None = None
        self._model: Any = None
        if model is None:
            self._find(sys._getframe(1))
        else:
            self._adapter = torch_adapter()
            self._take(self._adapter.check(model))

    def save(
        self, step: int | None = None, epoch: int | None = None, metrics: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        """Write a checkpoint of the current run; `<storage>/<run>/model.pt` is the best or the newest of them.

        Args:
            step: whole number ≥ 0; the last logged one when None.
            epoch: kept with the checkpoint.
            metrics: values at this step; the last logged ones when None.

        Returns once the file is durable. A failed save raises and leaves the previous file untouched.
        Raises: StorageFullError; CheckpointError for a model without values, when none or several models are
            found, or when a newer attempt owns the run.
        """
        active = current.run_for(self._made_in)
        active.flush()
        if step is None:
            step = active.last_step if active.last_step is not None else 0
        if type(step) is not int or step < 0:
            raise ValueError(f"step is a whole number ≥ 0, got {step!r}")
        values = dict(active.last_values if metrics is None else metrics)
        if not active.writes:
            return Checkpoint(active.name, step, epoch, values, None)
        if self._model is None:
            self._find(sys._getframe(1))
        if self._adapter is None:
            raise CheckpointError(
                "hypertuner.Saver() was given no model, and finds none in the calling function or the module.\n"
                "  Say which: hypertuner.Saver(net)."
            )
        return self._write(self._adapter, active, step, epoch, values)

    def _write(
        self, adapter: Adapter, active: ActiveRun, step: int, epoch: int | None, values: dict[str, Any]
    ) -> Checkpoint:
        attempt = active.attempt()
        run = active.run
        assert run is not None
        active.sync_metrics()
        metrics = {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str))}
        monitor, mode = self._watched(active, metrics)
        about = {
            "name": run.name,
            "step": step,
            "epoch": epoch,
            "saved_at": records.now(),
            "attempt": attempt.number,
            "metrics_bytes": active.metrics_bytes,
            "monitor": monitor,
            "mode": mode,
        }
        config = active.config()
        parent = dataclasses.asdict(active.parent.parent) if active.parent else None
        document: dict[str, Any] = {
            "format": FORMAT,
            "hyperparameters": config,
            "run": {**about, "metrics": metrics, "parent": parent},
        }
        header = {
            "run": about,
            "hyperparameters": config,
            "metrics": metrics,
            "parent": parent,
            "environment": _environment(run),
        }
        path = commit.commit(
            attempt, run, step, header, lambda file: _moved(adapter.write(file, self._model, document), header)
        )
        offer.offer(run, path)
        commit.retain(attempt, keep_last=self._keep_last, keep_best=self._keep_best)
        return Checkpoint(run.name, step, epoch, metrics, path)

    def _watched(self, active: ActiveRun, metrics: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """The metric that tells the best checkpoint, and its direction; the same for all saves of a run."""
        if "monitor" not in active.claims:
            found = watched_metric(metrics, self._monitor, self._mode)
            if found is None:
                return None, None
            active.claims["monitor"] = found
            if self._monitor is None:
                word = "highest" if found[1] == "max" else "lowest"
                say(f"the best checkpoint is the one with the {word} {found[0]} (monitor= chooses another)")
        chosen = active.claims["monitor"]
        assert isinstance(chosen, tuple)
        return chosen[0], chosen[1]

    def _find(self, frame: FrameType) -> None:
        own = frame.f_locals.get("self")
        scopes: list[Mapping[str, Any]] = [frame.f_locals]
        if own is not None and hasattr(own, "__dict__"):
            scopes.append({**vars(own), **vars(own).get("_modules", {})})
        scopes.append(frame.f_globals)
        for adapter in loaded_adapters():
            model = adapter.find(scopes)
            if model is not None:
                self._adapter = adapter
                self._take(model)
                return

    def _take(self, model: Any) -> None:
        active = current.run()
        other = active.claims.setdefault("model", model)
        if not _is_same(other, model):
            raise CheckpointError(
                f"This run has a Saver of {type(other).__name__} already, and a second one of "
                f"{type(model).__name__} would take its place in model.pt.\n"
                "  Save both as one model: hypertuner.Saver({'first': first, 'second': second}), "
                "or give each a run of its own: `with hypertuner.new_run():`"
            )
        self._model = model
        if active.parent is not None and active.writes and not active.parent_is_loaded:
            assert self._adapter is not None
            start_from_parent(self._adapter, active, active.parent, model, self._ema)


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    return False


def _moved(extra: dict[str, Any], header: dict[str, Any]) -> dict[str, Any]:
    """What the adapter says about the file, its framework and devices among the environment."""
    environment = {
        **header["environment"],
        **{key: extra.pop(key) for key in ("framework", "device") if key in extra},
    }
    return {**extra, "environment": environment}


def _environment(run: Run) -> dict[str, Any]:
    attempt = run.newest_attempt()
    started = attempt.started if attempt is not None else None
    git = dict(started.git) if started is not None and started.git else {}
    return {
        "python": sys.version.split()[0],
        "host": ProcessIdentity.mine().host,
        "user": capture.user(),
        "packages": capture.packages(),
        "git": {key: git[key] for key in ("commit", "branch") if key in git},
    }


def start_from_parent(
    adapter: Adapter, active: ActiveRun, parent: PendingParent, model: Any, ema: Any = None
) -> LoadReport:
    """Put the parent's weights into a model, write parent.json, and say what was kept."""
    with Archive.open(parent.file) as archive:
        trusted = _is_own(archive)
        report = adapter.fill(model, archive, strict=False, trusted=trusted)
        if ema is not None:
            adapter.fill(ema, archive, strict=False, trusted=trusted)
        saved_config = dict(archive.index.hyperparameters) if archive.kind == FORMAT else {}
    adapter.guard(active, model, report)
    attempt = active.attempt()
    loaded = records.ParentLoaded(
        reference=parent.parent.reference,
        how=parent.parent.how,
        loaded_at=records.now(),
        tensors=len(report.loaded),
        share=report.share,
        missing=report.missing,
        unexpected=report.unexpected,
        mismatched=tuple(map(str, report.mismatched)),
    )
    files.put_new(attempt.layout.parent, records.to_bytes(loaded))
    say(f"starts from {parent.parent.reference}: {report.explained(saved_config, active.config())}")
    return report


def load(
    reference_: str | os.PathLike[str] | Run,
    into: Any = None,
    weights: bool = False,
    part: str | None = None,
    device: Any = None,
    strict: bool = True,
    trust: bool | None = None,
) -> Any:
    """The model that a reference names: 'run', 'run@best', 'run@last', 'run@1200', or a path.

    Args:
        into: put the weights into this model, and return a LoadReport.
        weights: return the tensors by name instead of the object.
        part: of a model of several parts, this one.
        device: where the tensors go; the CPU when None.
        strict: with `into`, refuse anything that does not fit.
        trust: True runs the code that the file holds, whoever made it; None runs only your own files'.

    Raises: RunNotFoundError, CheckpointNotFoundError; CorruptFileError; UnsafeFileError when the object would run
        code that carries no mark of yours; MismatchError, with nothing changed; CheckpointError when the object
        cannot be rebuilt here.
    """
    found = reference.resolve(reference_)
    adapter = torch_adapter()
    _refuse_bare_pickle(found.path)
    with Archive.open(found.path) as archive:
        trusted = bool(trust) or (trust is None and _is_own(archive))
        if into is not None:
            if part is not None:
                into = {part: into}
            return adapter.fill(into, archive, strict=strict and part is None, trusted=trusted)
        loaded = adapter.read(archive, trusted=trusted, device=device, weights=weights)
    if part is None:
        return loaded
    return _part(loaded, part, weights, found.reference)


def _refuse_bare_pickle(path: Path) -> None:
    """UnsafeFileError, with what it would import, for a file that is nothing but a pickle."""
    kind = kind_of(path)
    if kind in ("pickle", "torch-legacy"):
        names = inspect(path).extra["globals"]
        what = "is a bare pickle" if kind == "pickle" else "is of a format that torch left in 2020, a bare pickle"
        listed = "".join(f"\n    {name}" for name in names[:20])
        raise UnsafeFileError(
            f"{path} {what}: nothing in it can be read without running what it says.\n  It would import:{listed}\n"
            f"  If you know who made it, read it with torch.load({str(path)!r}, weights_only=False), and save what you "
            "need of it with torch.save.",
            path=path,
            globals=names,
        )


def _part(loaded: Any, part: str, weights: bool, reference_: str) -> Any:
    if weights:
        chosen = {name.removeprefix(f"{part}."): value for name, value in loaded.items() if name.startswith(f"{part}.")}
        if chosen:
            return chosen
        names = sorted({name.partition(".")[0] for name in loaded})
    elif isinstance(loaded, dict):
        if part in loaded:
            return loaded[part]
        names = sorted(loaded)
    else:
        names = []
    raise CheckpointError(
        f"{reference_!r} has no part {part!r}"
        + (f"; it has: {', '.join(map(repr, names[:8]))}." if names else ": it is one model.")
    )


def _is_own(archive: Archive) -> bool:
    """Whether this user's mark is on a file."""
    try:
        return archive.is_marked_by(trust.user_key())
    except ConfigError:  # no key can be had: then nothing carries its mark
        return False
