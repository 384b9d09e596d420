"""One run: its panel, output, files, media."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response, StreamingResponse

from hypertuner.errors import RunNotFoundError
from hypertuner.index.runs import read_row
from hypertuner.server.attachment import attachment
from hypertuner.server.contract.detail import FileText, OutputLines, OutputMatches, RunDetail
from hypertuner.server.contract.runs import RunRow
from hypertuner.server.contract.series import HistogramValue, MediaList, OneValue
from hypertuner.server.guard import needs
from hypertuner.server.panel import folder, media
from hypertuner.server.panel.detail import detail_of
from hypertuner.server.state import Current
from hypertuner.server.weights.family import children
from hypertuner.store import Attempt, Run

router = APIRouter(prefix="/api")

_TEXT_BYTES = 1 << 20
_SANDBOX = {"Content-Security-Policy": "sandbox; default-src 'none'"}
_LONGEST = 1000


@router.get("/runs/{name}")
@needs("view")
def run_detail(name: str, state: Current) -> RunDetail:
    """One run, whole."""
    engines = state.acting
    run = state.storage.open(name)
    row = read_row(run)
    births = engines.births()
    parent = next((birth for birth in births if birth.child == run.name), None)
    return detail_of(
        run,
        row,
        RunRow.model_validate(engines.reading.row(run.name)),
        storage=state.storage,
        saved=engines.checkpoints.of(run),
        born=children(births).get(run.name, []),
        parent=parent or next(iter(engines.family.births([row])), None),
        has_media=bool(engines.media.all_of(run)),
    )


@router.get("/runs/{name}/output")
@needs("view")
def output(
    name: str,
    state: Current,
    attempt: Annotated[int | None, Query(ge=1)] = None,
    first: int = -1000,
    count: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> OutputLines:
    """Lines of what an attempt printed."""
    return state.acting.outputs.window(_attempt(state.storage.open(name), attempt), first, count)


@router.get("/runs/{name}/output/search")
@needs("view")
def search(
    name: str,
    state: Current,
    attempt: Annotated[int | None, Query(ge=1)] = None,
    text: Annotated[str, Query(max_length=_LONGEST)] = "",
    errors: bool = False,
) -> OutputMatches:
    """Numbers of the lines that hold a text."""
    return state.acting.outputs.search(_attempt(state.storage.open(name), attempt), text, errors=errors)


@router.get("/runs/{name}/files/{file_id}", response_class=StreamingResponse)
@needs("view")
def file(name: str, file_id: str, state: Current) -> StreamingResponse:
    """A file of a run's folder, to be saved."""
    run = state.storage.open(name)
    listed = folder.find(run, file_id)
    opened = folder.open_file(run, listed.parts)
    return StreamingResponse(
        folder.chunks(opened), media_type="application/octet-stream", headers=attachment(listed.parts[-1])
    )


@router.get("/runs/{name}/text/{file_id}")
@needs("view")
def text(name: str, file_id: str, state: Current) -> FileText:
    """The beginning of a text file of a run's folder."""
    run = state.storage.open(name)
    listed = folder.find(run, file_id)
    with folder.open_file(run, listed.parts) as opened:
        data = opened.read(_TEXT_BYTES + 1) or b""
    return FileText(
        id=listed.id,
        name=listed.name,
        text=data[:_TEXT_BYTES].decode("utf-8", "replace"),
        is_cut=len(data) > _TEXT_BYTES,
    )


@router.get("/runs/{name}/media")
@needs("view")
def media_list(name: str, state: Current) -> MediaList:
    """The images, texts and histograms that a run logged."""
    return state.acting.media.listed(state.storage.open(name))


@router.get(
    "/runs/{name}/media/{media_id}",
    response_model=None,
    responses={200: {"model": OneValue | HistogramValue, "content": {"image/png": {}, "image/jpeg": {}}}},
)
@needs("view")
def media_item(name: str, media_id: str, state: Current) -> Response:
    """One of them: an image as it is, a text or a histogram as JSON."""
    run = state.storage.open(name)
    logged = state.acting.media.find(run, media_id)
    if logged.kind == "image":
        kind, data = media.image_of(run, logged)
        return Response(data, media_type=kind, headers={**_SANDBOX, "Cache-Control": "private, max-age=3600"})
    if logged.kind == "text":
        return JSONResponse(OneValue(value=media.text_of(run, logged)).model_dump())
    return JSONResponse(media.histogram_of(logged).model_dump())


@router.get("/runs/{name}/export.zip", response_class=StreamingResponse)
@needs("view")
def zipped(name: str, state: Current) -> StreamingResponse:
    """All files of a run, as a zip archive."""
    run = state.storage.open(name)
    return StreamingResponse(folder.zipped(run), media_type="application/zip", headers=attachment(f"{run.name}.zip"))


def _attempt(run: Run, number: int | None) -> Attempt:
    """An attempt of a run, the newest when no number is given. Raises: RunNotFoundError."""
    attempts = run.attempts()
    found = next((one for one in reversed(attempts) if number is None or one.number == number), None)
    if found is None:
        what = f"attempt {number}" if number is not None else "attempt yet: it has not started"
        raise RunNotFoundError(f"Run {run.name!r} has no {what}.")
    return found
