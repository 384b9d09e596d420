"""What people do to runs: notes, actions, launching."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from hypertuner.errors import HypertunerError
from hypertuner.server import doing
from hypertuner.server.contract.acting import (
    ActionAsked,
    ActionDone,
    LaunchAsked,
    LaunchChecked,
    Launched,
    NotesChange,
    Scripts,
    TrashView,
)
from hypertuner.server.contract.runs import RunRow
from hypertuner.server.guard import Asker, needs
from hypertuner.server.launching import checking
from hypertuner.server.launching.asked import Order, make_out
from hypertuner.server.launching.launch import launch
from hypertuner.server.state import Current, State

router = APIRouter(prefix="/api")

_LOOKED_AT = 200


@router.patch("/runs/{name}/notes")
@needs("edit")
def notes(name: str, change: NotesChange, state: Current) -> RunRow:
    """Replace what of a run's notes is given."""
    with state.acting.acts:
        run = doing.change_notes(state.storage, name, change)
    return RunRow.model_validate(state.reading.row(run.name))


@router.post("/actions")
@needs("edit")
def act(asked: ActionAsked, state: Current, asker: Asker) -> ActionDone:
    """Do one thing to some runs."""
    if asked.action in doing.OF_THE_OWNER:
        asker.require("run")
    done = doing.act(asked, state.acting)
    _look(state, done.done)
    return done


@router.get("/trash")
@needs("view")
def trash(state: Current) -> TrashView:
    """What can be restored."""
    return doing.trash_view(state.storage)


@router.get("/scripts")
@needs("view")
def scripts(state: Current) -> Scripts:
    """The scripts that may be started, with their settings."""
    scripts = state.acting.scripts
    return scripts.listed(state.acting.known.of_scripts({script.name for script in scripts.all()}))


@router.post("/launch/check")
@needs("view")
def check(asked: LaunchAsked, state: Current, asker: Asker) -> LaunchChecked:
    """What would be launched, and what is wrong with it. Code of the script's is executed only for who may run it."""
    try:
        order = _order(asked, state)
    except HypertunerError as error:  # the answer of this route is what is wrong
        return checking.refused(error)
    trials = state.acting.trials if "run" in asker else None
    return checking.checked(asked, order, state.storage, state.acting.checkpoints, trials)


@router.post("/launch")
@needs("edit")
def start(asked: LaunchAsked, state: Current, asker: Asker) -> Launched:
    """Make runs; but for drafts they wait in the queue."""
    if asked.mode != "draft":
        asker.require("run")
    with state.acting.acts:
        made = launch(asked, _order(asked, state), state.storage)
    state.acting.draining.revision += 1
    _look(state, made.runs)
    return made


def _look(state: State, names: Sequence[str]) -> None:
    """Let the table show what was just done; of very many runs it finds out by itself, within a second."""
    state.reading.look(*names[:_LOOKED_AT])


def _order(asked: LaunchAsked, state: State) -> Order:
    engines = state.acting
    return make_out(asked, state.storage, engines.scripts, engines.checkpoints, engines.known)
