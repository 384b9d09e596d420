"""Saver: a model into the current run's folder, with the config that made it; and back into the model."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from hypertuner.checkpoint import commit, offer, reference, retention
from hypertuner.checkpoint.commit import Checkpoint
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.checkpoint.saves import WHEN_BUSY, Saves, UnderWay
from hypertuner.errors import CheckpointError
from hypertuner.frameworks import peers, restoring
from hypertuner.frameworks.adapter import Adapter, loaded_adapters, torch_adapter
from hypertuner.store import Attempt, CheckpointFile, capture, current, layout, records
from hypertuner.store.active import ActiveRun
from hypertuner.store.monitor import watched_metric
from hypertuner.store.process import ProcessIdentity
from hypertuner.store.said import say, say_once


class Saver:
    """Saves the model of the current run.

    Args:
        model: A module, a dict of modules (`{"G": g, "D": d}`, one model of several parts), a dict of tensors; or
            None: the one root module among the caller's locals, `self`'s attributes, then globals is taken.
        optimizer: Saved with the weights and restored with them, as all the training state below; or a dict of them.
        scheduler: Learning rate scheduler.
        scaler: `torch.amp.GradScaler`.
        ema: Averaged copy of the model.
        dataloader: A loader with `state_dict()` (torchdata's), or any: then its random generator is kept.
        extra: An object with `state_dict()`, or a dict of such objects and plain values, which is filled again.
        monitor: The logged metric that tells the best checkpoint. Without it a metric whose name tells its direction
            ('val_loss', 'accuracy') is taken, and said once.
        mode: 'min' or 'max', where the metric's name does not tell.
        keep_last: How many of this attempt's newest checkpoints stay.
        keep_best: How many of its best ones.
        keep_every: Those stay whose step is a multiple of it.
        keep_trail: At most so many of the others stay, farther and farther back in time, as weights without training
            state, of at most HYPERTUNER_TRAIL_BYTES (1 GB) together; 0 for none.
        background: True: a save returns when everything is captured, and training goes on while it is written. Durable
            after `.wait()`, and always before the process exits; an error is raised by the next save, or told at the
            end. At most two saves are under way; then the next one waits ('wait', as True), is left out ('skip'), or
            takes the place of the one that is not being written yet ('coalesce').

    In a run that begins from a parent or is resumed, the checkpoint is in the model when this returns.

    Raises:
        CheckpointError: Several models are found, the run has a Saver of another model, or a checkpoint lacks what
            is to be restored.
        MismatchError: The checkpoint to begin from does not fit.
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
        keep_every: int | None = None,
        keep_trail: int = 8,
        background: bool | str = False,
    ) -> None:
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode is 'min' or 'max', got {mode!r}")
        if background not in (True, False, *WHEN_BUSY):
            raise ValueError(f"background is True, False, 'wait', 'skip' or 'coalesce', got {background!r}")
        self._when_busy = "wait" if background is True else background or ""
        self._paths: set[Path] = set()
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
        self._keep = retention.Keep(keep_last, keep_best, keep_every, keep_trail)
        self._restored: Checkpoint | None = None
        self._is_resumed = False
        self._goes_on_by = ""
        """'epoch' or 'step', once a loop has asked for the next one."""
        self._own_before_fork: list[CheckpointFile] = []
        self._randomness: Callable[[], object] | None = None
        self._adapter: Adapter | None = None
        self._model: Any = None
        adapters = loaded_adapters() if self._training else []
        self._first_settings = adapters[0].settings(self._training) if adapters else {}
        if model is None:
            self._find(sys._getframe(1))
        else:
            self._adapter = torch_adapter()
            self._take(self._adapter.take(model))

    def save(
        self, step: int | None = None, epoch: int | None = None, metrics: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        """Write a checkpoint of the current run; `<storage>/<run>/model.pt` is the best or the newest of them.

        Args:
            step: Whole number ≥ 0; the last logged one when None.
            epoch: Kept with the checkpoint.
            metrics: Values at this step; the last logged ones when None.

        Returns once the file is durable; with `background`, once training may go on. A failed save raises and leaves
        the previous file untouched; one that failed in the background raises at the next save, which saves nothing.

        Raises:
            StorageFullError: The disk is full.
            CheckpointError: The model has no values, none or several models are found, or a newer attempt owns the
                run.
        """
        active = current.run_for(self._made_in)
        active.flush()
        at = f"{step}-{epoch}"
        step_given = step is not None or active.last_step is not None
        if step is None:
            step = active.last_step or 0
        if type(step) is not int or step < 0:
            raise ValueError(f"step is a whole number ≥ 0, got {step!r}")
        values = dict(active.last_values if metrics is None else metrics)
        if not active.writes:
            if self._adapter is not None and self._training and active.is_follower:
                peers.hand_over(active, at, self._adapter.rank_state(self._training))
            return Checkpoint(active.name, step, epoch, values, None, step_given)
        if self._model is None:
            self._find(sys._getframe(1))
        if self._adapter is None:
            raise _no_model()
        if (what := self._goes_on_by) and not (step_given if what == "step" else epoch is not None):
            say_once(f"{active.name}: saved without its {what}, so no loop could go on here: saver.save({what}={what})")
        wanted = Checkpoint(active.name, step, epoch, values, None, step_given)
        return self._write(self._adapter, active, wanted, at)

    def _write(self, adapter: Adapter, active: ActiveRun, wanted: Checkpoint, at: str) -> Checkpoint:
        saves = Saves.of(active)
        with saves.timed():
            saves.raise_earlier()
            if not self._when_busy:
                saves.drain()
            elif not saves.make_room(self._when_busy):
                say_once(f"{wanted.run or 'the run'}: a save is left out while two are under way (background='skip')")
                return wanted
            save, checkpoint = self._captured(adapter, active, wanted, at)
            if self._when_busy:
                saves.start(save)
                return dataclasses.replace(checkpoint, under_way=save)
            save.run()
            save.wait()
            return checkpoint

    def _captured(
        self, adapter: Adapter, active: ActiveRun, wanted: Checkpoint, at: str
    ) -> tuple[UnderWay, Checkpoint]:
        """A save of everything as it is now, yet to be written, and the checkpoint that it makes."""
        attempt = active.attempt()
        run = active.run
        assert run is not None
        metrics = {name: value for name, value in wanted.metrics.items() if isinstance(value, (bool, int, float, str))}
        monitor, mode = self._watched(active, metrics)
        about = {
            "name": run.name,
            "step": wanted.step,
            "step_given": wanted.step_given,
            "epoch": wanted.epoch,
            "logged_step": active.last_step,
            "saved_at": records.now(),
            "attempt": attempt.number,
            "metrics_bytes": active.metrics_bytes,
            "monitor": monitor,
            "mode": mode,
        }
        config = active.config()
        pending = active.parent
        parent = dataclasses.asdict(pending.parent) if pending else None
        document: dict[str, Any] = {
            "format": FORMAT,
            "hyperparameters": config,
            "run": {**about, "metrics": metrics, "parent": parent},
        }
        others = peers.collect(active, at) if self._training else []
        path = commit.free_path(attempt, wanted.step, self._paths)
        captured = adapter.capture(
            self._model, document, self._training, self._first_settings, others, copy=bool(self._when_busy)
        )
        # Not later: training changes the values that the model's code needs, and a script that has ended has no source.
        told = captured.about()

        def write() -> None:
            active.sync_metrics()
            header = {
                **told,
                "run": about,
                "hyperparameters": config,
                "metrics": metrics,
                "parent": parent,
                "environment": {**_environment(attempt), **told["environment"]},
            }
            commit.commit(attempt, run, path, lambda file, key: captured.write(file, header, key))
            commit.publish(attempt, run, path)
            retention.retain(run, attempt, self._keep, path, adapter.thin)

        def release() -> None:
            self._paths.discard(path)
            captured.release()

        self._paths.add(path)
        what = f"the save of step {wanted.step} of {run.name}"
        return UnderWay(what, write, release), dataclasses.replace(wanted, run=run.name, metrics=metrics, path=path)

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
            model = adapter.take(None, scopes)
            if model is not None:
                self._adapter = adapter
                self._take(model)
                return

    def _take(self, model: Any) -> None:
        active = current.run()
        other = active.claims.setdefault("model", model)
        if not _is_same(other, model):
            raise CheckpointError(
                f"This run has a Saver of {type(other).__name__} already, and a second one, of another model "
                f"({type(model).__name__}), would take its place in model.pt.\n"
                "  Training anew (a cell that is run again, a loop): give each training a run of its own: "
                "`with hypertuner.new_run():`\n"
                "  One training of both: hypertuner.Saver({'first': first, 'second': second})"
            )
        assert self._adapter is not None
        self._model = model
        if self._when_busy and active.writes:
            self._adapter.prepare(model)
        if not active.restores or active.parent_is_loaded:
            return
        if active.resume is not None:
            assert active.run is not None
            wanted = f"{active.run.name}@{active.resume}"
            path = active.together.agree(
                "restore", "make its Saver", lambda: str(reference.resolve(wanted, active.storage).path)
            )
            self._restore(active, Path(path), wanted, "resume")
        elif active.parent is not None and active.parent.parent.how == "fork":
            # A fork that is started once more begins at its parent again, unless the script asks to resume it.
            self._own_before_fork = offer.on_path(active.run) if active.run is not None else []
            self._restore(active, active.parent.file, active.parent.parent.reference, "fork")
        elif active.parent is not None:
            restoring.start_from(self._adapter, active, active.parent, model, self._training.get("ema"))

    def _restore(self, active: ActiveRun, path: Path, name: str, how: str) -> None:
        assert self._adapter is not None
        self._restored, self._randomness = restoring.restore(
            self._adapter, active, path, name, self._model, self._training, how=how
        )
        self._is_resumed = how == "resume"

    def resume(self) -> Checkpoint | None:
        """Restore the newest checkpoint of this run, saved by an earlier attempt; None when there is none.

        Model, training state and random states are as they were when it was saved. Nothing happens twice: a run that
        was started by `hypertuner resume`, or as a fork, was restored when the Saver was made.

        Raises:
            CheckpointError: the checkpoint lacks what this Saver was given, or no model is found.
            MismatchError: it does not fit.
        """
        active = current.run_for(self._made_in)
        if self._is_resumed or not active.restores:
            return self._restored
        if path := active.together.agree("resume", "call saver.resume()", lambda: self._newest(active)):
            if self._model is None:
                self._find(sys._getframe(1))
            if self._adapter is None:
                raise _no_model()
            if not self._is_resumed:  # finding the model restored it, when the run was started to be resumed
                self._restore(active, Path(path), f"{active.name}@{_step_of(path)}", "resume")
        return self._restored

    def _newest(self, active: ActiveRun) -> str:
        """Path of the newest checkpoint of this run that `resume` goes on from, '' when there is none."""
        if active.run is None:
            return ""
        found = offer.on_path(active.run) if self._restored is None else self._own_before_fork
        return str(found[-1].path) if found else ""

    @property
    def next_step(self) -> int:
        """The step after the restored one: where a loop over steps goes on; 0 in a run that begins anew."""
        return self._next("step", "step_given")

    @property
    def next_epoch(self) -> int:
        """The epoch after the restored one: where a loop over epochs goes on; 0 in a run that begins anew."""
        return self._next("epoch", None)

    def _next(self, what: str, given: str | None) -> int:
        self._goes_on_by = what
        if self._restored is None:
            return 0
        number = getattr(self._restored, what)
        if number is None or (given and not self._restored.step_given):
            raise CheckpointError(
                f"The restored checkpoint of {self._restored.run!r} was saved without its {what}, so the next one is "
                f"not known.\n  Save it with one: saver.save({what}={what})."
            )
        if self._randomness is not None:
            # What the script drew while it set itself up does not count: the loop begins as it would have gone on.
            self._randomness()
        return int(number) + 1


def _step_of(path: str) -> str:
    found = layout.checkpoint_step(Path(path))
    return str(found[0]) if found else "last"


def _no_model() -> CheckpointError:
    return CheckpointError(
        "hypertuner.Saver() was given no model, and finds none in the calling function or the module.\n"
        "  Say which: hypertuner.Saver(net)."
    )


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(one[key] is other[key] for key in one)
    return False


def _environment(attempt: Attempt) -> dict[str, Any]:
    started = attempt.started
    git = dict(started.git) if started is not None and started.git else {}
    return {
        "python": sys.version.split()[0],
        "host": ProcessIdentity.mine().host,
        "user": capture.user(),
        "packages": capture.packages(),
        "git": {key: git[key] for key in ("commit", "branch") if key in git},
    }
