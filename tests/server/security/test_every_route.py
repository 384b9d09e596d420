"""Nothing answers who may not ask: every route with every method, also those that are still to be written."""

from __future__ import annotations

import json

import pytest
from fastapi import APIRouter
from tests.server.security.conftest import content_of, open_socket, share
from tests.server.security.routes import ALL, CHANGING, GUARDED, METHODS, READING, SOCKETS, Known, named

from hypertuner.server.app import make_app, routes
from hypertuner.server.guard import Boundary, Door, Guard
from hypertuner.server.state import State
from hypertuner.store import Storage

UNAUTHORISED = {"error": "unauthorised", "position": None, "key": None}
OPEN = {"/", "/runs", "/insight", "/models", "/queue", "/assets/{name}", "/api/login"}


def test_every_route_says_what_its_asker_must_be_allowed_to():
    assert [named(route) for route in ALL if route.needs is None] == []


def test_only_the_page_and_the_login_are_open_to_who_is_not_logged_in():
    assert {route.template for route in ALL if route.needs == "nobody"} == OPEN


def test_what_changes_something_needs_more_than_a_look():
    harmless = {"/api/logout", "/api/launch/check"}
    assert {route.template for route in CHANGING if route.needs == "view"} <= harmless


def test_a_route_that_does_not_say_it_is_not_served(tmp_path):
    router = APIRouter(prefix="/api")
    router.add_api_route("/leak", lambda: "secret")
    storage = Storage(tmp_path / "storage")
    with pytest.raises(TypeError, match="/api/leak"):
        Guard(make_app(State(storage)), [*routes(), *router.routes], Door(storage.path), Boundary())


def test_what_describes_the_server_has_no_route_that_the_guard_does_not_know(tmp_path):
    described = make_app(State(Storage(tmp_path / "storage"))).openapi()["paths"]
    assert set(described) <= {route.template for route in ALL}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", GUARDED, ids=named)
def test_without_a_token_every_route_says_the_same(served, route: Known, method: str):
    answer = served.ask(method, route.path(), token=None)
    assert answer.status == 401
    if method != "HEAD":
        said = json.loads(answer.body)
        assert said.pop("message").startswith("You are not logged in here.")
        assert said == UNAUTHORISED


@pytest.mark.parametrize("route", SOCKETS, ids=named)
@pytest.mark.parametrize("token", [None, "wrong" * 8])
def test_without_a_token_no_websocket_is_accepted(served, route: Known, token):
    answer = open_socket(served, route.path(), [] if token is None else [("Authorization", f"Bearer {token}")])
    assert answer.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("route", SOCKETS, ids=named)
def test_with_a_token_the_websocket_is_accepted(served, route: Known):
    answer = open_socket(served, route.path(), [("Authorization", f"Bearer {served.token}")])
    assert answer.startswith(b"HTTP/1.1 101")


VARIATIONS = [
    "/docs",
    "/redoc",
    "/openapi.json",
    "/docs/oauth2-redirect",
    "/api",
    "/api/",
    "/api/session/",
    "//api/session",
    "/./api/session",
    "/x/../api/session",
    "/API/session",
    "/api/SESSION",
    "/api/session;x",
    "/api;/session",
    "/api%2Fsession",
    "/api/session%00",
    "/api/session%2e",
    "/api/%2e%2e/api/session",
    "/%61pi/session",
    "/assets/../api/session",
    "/assets",
    "/assets/",
    "/metrics",
    "/static/",
    "/.git/config",
    "/.env",
]


@pytest.mark.parametrize("path", VARIATIONS)
def test_no_other_spelling_of_a_path_gets_past_the_guard(served, path: str):
    for method in ("GET", "POST", "OPTIONS"):
        assert served.ask(method, path, token=None).status == 401


@pytest.mark.parametrize("path", [p for p in VARIATIONS if p not in ("/api%2Fsession", "/%61pi/session")])
def test_with_a_token_they_are_nothing_either(served, path: str):
    assert served.ask("GET", path).status == 404


@pytest.mark.parametrize("route", CHANGING, ids=named)
def test_who_may_only_look_changes_nothing(served, route: Known):
    token = share(served)
    before = content_of(served.folder / "storage")
    for method in route.methods:
        answer = served.ask(method, route.path(), {}, token=token)
        if route.needs == "view":
            assert answer.status != 401
        else:
            assert (answer.status, answer.json["error"]) == (403, "forbidden")
    assert content_of(served.folder / "storage") == before


@pytest.mark.parametrize("action", ["stop", "requeue", "resume", "withdraw", "hold", "release", "trash", "restore"])
def test_who_may_only_edit_starts_stops_and_deletes_nothing(served, action: str):
    if "/api/actions" not in {route.template for route in ALL}:
        pytest.skip("there are no actions yet")
    before = content_of(served.folder / "storage")
    asked = {"action": action, "names": ["slow-heron"]}
    assert served.ask("POST", "/api/actions", asked, token=share(served, "edit")).status == 403
    assert content_of(served.folder / "storage") == before


@pytest.mark.parametrize("mode", ["queue", "now"])
def test_who_may_only_edit_launches_nothing(served, mode: str):
    if "/api/launch" not in {route.template for route in ALL}:
        pytest.skip("nothing is launched yet")
    before = content_of(served.folder / "storage")
    asked = {"from_run": "calm-lynx", "mode": mode}
    assert served.ask("POST", "/api/launch", asked, token=share(served, "edit")).status == 403
    assert content_of(served.folder / "storage") == before


@pytest.mark.parametrize("name", ["calm-lynx", "no-such-run", "..", "%2e%2e%2fhome%2ftoken"])
def test_who_is_not_logged_in_does_not_learn_what_exists(served, name: str):
    answers = {served.ask("GET", f"/api/runs/{name}", token=None).body for name in (name, "another")}
    assert len(answers) == 1


def test_looking_at_everything_changes_nothing(served):
    before = content_of(served.folder / "storage")
    for route in READING:
        served.ask("GET", route.path())
        served.ask("HEAD", route.path())
    assert content_of(served.folder / "storage") == before
