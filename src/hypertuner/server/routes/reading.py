"""Many runs: the table, its columns and groups, curves, completion."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response, WebSocket
from fastapi.responses import StreamingResponse

from hypertuner.server.attachment import attachment
from hypertuner.server.contract.runs import Columns, Completions, Differing, Groups, RunsPage, ValueTable
from hypertuner.server.guard import needs
from hypertuner.server.reading import columns, completion, export
from hypertuner.server.reading.live import Live
from hypertuner.server.reading.packed import Packed
from hypertuner.server.reading.shown import answer
from hypertuner.server.state import Current, State

router = APIRouter(prefix="/api")

Asked = Annotated[str, Query(max_length=10_000)]
Name = Annotated[str, Query(max_length=1_000)]
Names = Annotated[list[str], Query(max_length=200)]
Several = Annotated[list[str], Query(max_length=50)]


@router.get("/runs", response_model=RunsPage)
@needs("view")
def runs(
    state: Current,
    query: Asked = "",
    sort: Name = "created",
    descending: bool | None = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    archived: Literal["", "only"] = "",
) -> Response:
    """A window of the runs that a query describes, in an order."""
    reading = state.reading
    found = reading.asking.ask(query, archived=archived == "only")
    rows = reading.asking.ordered(found, sort, descending)
    shown = reading.showing.rows(rows[offset : offset + limit], found.label_keys())
    return _page(state, len(rows), offset, shown, found.revision)


@router.get("/runs/rows", response_model=RunsPage)
@needs("view")
def rows(state: Current, name: Names) -> Response:
    """Some runs by their names, in the order asked; those that there are."""
    found = _named(state, name)
    revision = state.reading.catalogue.revision
    return _page(state, len(found), 0, state.reading.showing.among(found), revision)


@router.get("/runs/columns", response_model=Columns)
@needs("view")
def shown_columns(state: Current, query: Asked = "") -> Response:
    """What a table of these runs can show."""
    found = state.reading.asking.ask(query)
    if found.columns is None:
        found.columns = columns.columns_of(found.rows)
    return answer(found.columns)


@router.get("/runs/differing", response_model=Differing)
@needs("view")
def differing(state: Current, name: Names) -> Response:
    """What differs among some runs."""
    return answer(columns.differing(_named(state, name)))


@router.get("/runs/groups", response_model=Groups)
@needs("view")
def groups(
    state: Current,
    by: Several,
    query: Asked = "",
    metric: Several = [],  # noqa: B006  # FastAPI copies it
    of: Literal["last", "best"] = "last",
) -> Response:
    """Runs that have equal values of some settings, with means over them."""
    found = state.reading.asking.ask(query)
    made = columns.groups_of(found.rows, by, metric, of)
    return answer({"by": by, "groups": made, "revision": found.revision})


@router.get("/runs/values", response_model=ValueTable)
@needs("view")
def values(
    state: Current, column: Several, query: Asked = "", limit: Annotated[int, Query(ge=1, le=100_000)] = 10_000
) -> Response:
    """Columns of many runs, the newest first."""
    return answer(columns.values_of(state.reading.asking.ask(query).rows, column, limit))


@router.get("/runs/export.csv", response_class=StreamingResponse)
@needs("view")
def export_runs(
    state: Current,
    query: Asked = "",
    sort: Name = "created",
    descending: bool | None = None,
    name: Annotated[list[str], Query(max_length=10_000)] = [],  # noqa: B006  # FastAPI copies it
) -> Response:
    """The table as CSV: of the named runs, else of those that a query describes."""
    asking = state.reading.asking
    chosen = _named(state, name) if name else asking.ordered(asking.ask(query), sort, descending)
    return _csv(export.lines(export.table(chosen)), "runs.csv")


@router.get("/complete", response_model=Completions)
@needs("view")
def complete(state: Current, query: Asked = "", position: Annotated[int | None, Query(ge=0)] = None) -> Response:
    """What may stand at the cursor, and what is wrong with the query."""
    at = len(query) if position is None else position
    return answer(completion.complete(state.reading.catalogue, query, at))


@router.get("/series", response_class=Response)
@needs("view")
def series(state: Current, run: Names, metric: Name) -> Response:
    """Curves of some runs, in the binary form of contract/series.py."""
    return Response(state.reading.curves.answer(run, metric), media_type="application/octet-stream")


@router.get("/series.csv", response_class=StreamingResponse)
@needs("view")
def export_series(state: Current, run: Names, metric: Name) -> Response:
    """Curves of some runs as CSV, without the points that a later attempt went back before."""
    return _csv(export.lines(export.curves(state.reading.curves, run, metric)), f"{metric}.csv")


@router.websocket("/live")
@needs("view")
async def live(websocket: WebSocket) -> None:
    """What changes, as long as the tab listens."""
    state: State = websocket.app.state.hypertuner
    await Live(websocket, state.server, state.reading, state.acting).run()


def _named(state: State, names: list[str]) -> list[Packed]:
    get = state.reading.catalogue.get
    return [row for name in dict.fromkeys(names) if (row := get(name)) is not None]


def _page(state: State, matched: int, offset: int, shown: list[dict[str, object]], revision: int) -> Response:
    catalogue = state.reading.catalogue
    return answer(
        {
            "total": catalogue.total,
            "matched": matched,
            "offset": offset,
            "rows": shown,
            "revision": revision,
            "is_complete": catalogue.is_complete,
        }
    )


def _csv(lines: object, name: str) -> StreamingResponse:
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=attachment(name))  # type: ignore[arg-type]
