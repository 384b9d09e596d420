"""Checkpoints over all runs, lineage, room on the disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from hypertuner.server.attachment import attachment
from hypertuner.server.contract.acting import ActionDone
from hypertuner.server.contract.models import (
    CheckpointDetail,
    CheckpointsPage,
    CleanAsked,
    CleaningPlan,
    Lineage,
    WeightStatistics,
)
from hypertuner.server.guard import needs
from hypertuner.server.launching.asked import checkpoint_of
from hypertuner.server.panel import folder
from hypertuner.server.state import Current
from hypertuner.server.weights import child, family, room, tensors
from hypertuner.server.weights.statistics_of import statistics_of

router = APIRouter(prefix="/api")

_LONGEST = 10_000
_ENDINGS = {"safetensors": ".safetensors", "state_dict": ".pth", "file": ".pt"}
_CHUNK = 1 << 20
_LOOKED_AT = 200
_MOST_RUNS = 5000
"""Whose checkpoints are listed at once: the newest; a query finds those of older ones."""


@router.get("/checkpoints")
@needs("view")
def checkpoints(
    state: Current,
    query: Annotated[str, Query(max_length=_LONGEST)] = "",
    sort: Annotated[str | None, Query(max_length=500)] = None,
    descending: bool | None = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> CheckpointsPage:
    """The checkpoints of the runs that a query describes."""
    engines = state.acting
    rows, left_out = engines.known.with_checkpoints(query, _MOST_RUNS)
    born = family.children(engines.births())
    page = engines.checkpoints.page(rows, born, sort=sort or None, descending=descending, offset=offset, limit=limit)
    return page.model_copy(update={"runs_left_out": left_out})


@router.get("/checkpoints/{run}/{which}")
@needs("view")
def checkpoint(run: str, which: str, state: Current) -> CheckpointDetail:
    """One checkpoint, whole."""
    engines = state.acting
    opened = state.storage.open(run)
    saved = engines.checkpoints.find(opened, which)
    births = engines.births()
    return tensors.detail_of(opened, saved, family.children(births).get(opened.name, []))


@router.get("/checkpoints/{run}/{which}/statistics")
@needs("view")
def statistics(
    run: str, which: str, state: Current, against: Annotated[str | None, Query(max_length=200)] = None
) -> WeightStatistics:
    """What the values of its tensors are."""
    engines = state.acting
    saved = engines.checkpoints.find(state.storage.open(run), which)
    other = checkpoint_of(against, state.storage, engines.checkpoints)[1] if against else None
    return statistics_of(saved, other)


@router.get("/checkpoints/{run}/{which}/export", response_class=StreamingResponse)
@needs("view")
def export(
    run: str,
    which: str,
    state: Current,
    form: Annotated[Literal["safetensors", "state_dict", "file"], Query(alias="format")] = "safetensors",
) -> StreamingResponse:
    """Its weights as a file for other programs, or its own file."""
    opened = state.storage.open(run)
    saved = state.acting.checkpoints.find(opened, which)
    named = opened.name if saved.is_alone else f"{opened.name}-{saved.which}"
    headers = attachment(f"{named}{_ENDINGS[form]}")
    if form == "file":
        file: Any = folder.open_file(opened, saved.file.path.relative_to(opened.folder).parts)
    else:
        file, nbytes = child.exported(saved.file.path, form)
        headers["Content-Length"] = str(nbytes)
    return StreamingResponse(_chunks(file), media_type="application/octet-stream", headers=headers)


@router.get("/lineage")
@needs("view")
def lineage(
    state: Current,
    run: Annotated[str | None, Query(max_length=200)] = None,
    metric: Annotated[str | None, Query(max_length=500)] = None,
) -> Lineage:
    """The family of a run, or of all that have one."""
    engines = state.acting
    births = engines.births()
    name = state.storage.open(run).name if run else None
    look = engines.reading.look_of
    return family.tree(engines.known.row, births, run=name, metric=metric or None, look=look)


@router.get("/cleaning")
@needs("view")
def cleaning(state: Current, most_bytes: Annotated[int | None, Query(ge=0, le=1 << 62)] = None) -> CleaningPlan:
    """What would go; nothing is touched."""
    return room.plan(state.storage, most_bytes)


@router.post("/cleaning")
@needs("run")
def clean(asked: CleanAsked, state: Current) -> ActionDone:
    """Let the storage come down to a size; what goes is in the trash afterwards."""
    with state.acting.acts:
        done = room.clean(state.storage, asked.most_bytes)
    state.acting.draining.revision += 1
    state.reading.look(*done.done[:_LOOKED_AT])
    return done


def _chunks(file: io.FileIO) -> Iterator[bytes]:
    with file:
        while data := file.read(_CHUNK):
            yield data
