"""Whatever the interface's own types allow, and more, is answered: never by an error of the server's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from tests.server.security.conftest import content_of
from tests.server.serving import Served

from hypertuner.server.app import make_app
from hypertuner.server.state import State
from hypertuner.store import Storage


def _described() -> dict[str, Any]:
    described: dict[str, Any] = make_app(State(Storage("nowhere"), drains=False)).openapi()
    # Each of these starts a process, which takes a second: what they are asked for is tested where that is cheap.
    for path in [path for path in described["paths"] if path.endswith(("/statistics", "/export"))]:
        del described["paths"][path]
    return described


schema = schemathesis.openapi.from_dict(_described())


@schema.parametrize()
@settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_nothing_that_can_be_asked_is_an_error_of_the_server(case: Any, served: Served) -> None:
    if len(case.as_curl_command()) > 16_000:  # such a head is refused before it is read to its end: test_denial.py
        return
    if case.path == "/api/launch" and isinstance(case.body, dict):
        case.body.pop("seeds", None)  # a thousand runs are made, if that is asked for: it takes its time
    if case.path == "/api/cleaning" and isinstance(case.body, dict) and isinstance(case.body.get("most_bytes"), int):
        case.body["most_bytes"] = 10**15  # else every run goes to the trash, as it was asked for
    headers = {"Authorization": f"Bearer {served.token}", "X-Hypertuner": "1"}
    answer = case.call(base_url=f"http://{served.host}", headers=headers, timeout=60)
    assert answer.status_code < 500, (case.as_curl_command(), answer.content[:500])
    if answer.status_code >= 400:
        assert set(json.loads(answer.content)) == {"error", "message", "position", "key"}
        assert answer.status_code in (400, 401, 403, 404, 405, 409, 413, 415, 429, 431)


@pytest.mark.parametrize("name", ["calm-lynx", "brave-otter"])
def test_after_all_that_the_runs_are_as_they_were(served: Served, furnished, name: str) -> None:
    """It has asked for notes and actions too, of names that it made up."""
    before = content_of(furnished / "storage" / name)
    now = content_of(served.folder / "storage" / name)
    assert {path.rpartition(name)[2]: content for path, content in now.items()} == {
        path.rpartition(name)[2]: content for path, content in before.items()
    }
