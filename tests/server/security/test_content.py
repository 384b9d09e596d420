"""What a run holds is shown as text or saved as a file, and never runs in the browser, the header or the spreadsheet
(S25, S28, S29, S37, S59)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from tests.server.made import end, log, make_run, start
from tests.server.security.conftest import content_of
from tests.server.security.routes import PARAMETERS, READING, named
from tests.server.serving import Served, serving

ACTIVE = {
    "page.html": b"<script>fetch('/api/session')</script>",
    "page.htm": b"<!doctype html><script>1</script>",
    "page.xhtml": b"<html xmlns='http://www.w3.org/1999/xhtml'><script>1</script></html>",
    "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "paper.pdf": b"%PDF-1.7\n/OpenAction << /S /JavaScript /JS (app.alert(1)) >>",
    "feed.xml": b"<?xml version='1.0'?><?xml-stylesheet href='x.xsl'?><x/>",
    "mail.mhtml": b"MIME-Version: 1.0\nContent-Type: text/html\n\n<script>1</script>",
    "code.js": b"alert(1)",
    "code.mjs": b"export default alert(1)",
    "code.wasm": b"\0asm\x01\0\0\0",
    "style.css": b"@import url(http://evil.test/)",
    "applet.swf": b"FWS",
    "table.csv": b"=1+1",
    "noending": b"<script>1</script>",
    "model.pt.html": b"<script>1</script>",
}
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "|cmd", "%0A=1", "=cmd|' /C calc'!A0", "＝1"]


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of one run that holds all of it."""
    folder = tmp_path_factory.mktemp("holding")
    config = {f"key{number}": text for number, text in enumerate(FORMULAS)}
    run = make_run(folder / "storage", "odd", config | {f"{text}x": 1 for text in FORMULAS[:4]})
    attempt = start(run)
    for metric in ("loss", "=HYPERLINK(1)"):
        log(attempt, 0, {metric: 0.5})
    for name, content in ACTIVE.items():
        (run.folder / name).write_bytes(content)
    for name in ("core.123", "core"):
        (run.folder / name).write_bytes(b"\x7fELF of a process with secrets")
    (run.folder / ".core").write_bytes(b"\x7fELF")
    end(run, attempt)
    with serving(folder, "--no-drain") as server:
        yield server


def listed(served: Served) -> dict[str, str]:
    """Its files, and their ids."""
    return {entry["name"]: entry["id"] for entry in served.ask("GET", "/api/runs/odd").json["files"]}


@pytest.mark.parametrize("name", ACTIVE)
def test_a_file_of_a_run_that_is_opened_directly_is_saved_and_never_shown(holding: Served, name: str):
    answer = holding.ask("GET", f"/api/runs/odd/files/{listed(holding)[name]}")
    assert answer.body == ACTIVE[name]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "allow-" not in policy
    # And where the page shows it, it is text in JSON.
    told = holding.ask("GET", f"/api/runs/odd/text/{listed(holding)[name]}")
    assert told.headers["content-type"] == "application/json"
    assert told.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/api/runs/odd/export.zip", "/api/runs/export.csv", "/api/series.csv?run=odd&metric=loss"]
)
def test_what_is_exported_is_saved_too(holding: Served, path: str):
    headers = holding.ask("GET", path).headers
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["content-security-policy"].startswith("sandbox;")


@pytest.mark.parametrize("path", ["/api/runs/export.csv", f"/api/series.csv?run=odd&metric={quote('=HYPERLINK(1)')}"])
def test_no_cell_of_an_exported_table_begins_a_formula_its_head_neither(holding: Served, path: str):
    rows = list(csv.reader(io.StringIO(holding.ask("GET", path).body.decode())))
    assert len(rows) == 2
    for cell in [cell for row in rows for cell in row]:
        text = cell.lstrip(" \t\r\n")
        assert not text.startswith(("=", "+", "@", "|", "%", "\uff1d")), cell
        assert not text.startswith("-") or text[1:].replace(".", "").isdigit(), cell


def test_what_processes_left_behind_as_they_died_is_hidden_if_its_name_is(holding: Served):
    assert ".core" not in listed(holding)
    # What is not hidden is the user's own file, and saved like any other.
    answer = holding.ask("GET", f"/api/runs/odd/files/{listed(holding)['core.123']}")
    assert answer.headers["content-type"] == "application/octet-stream"


SPLIT = [
    "x\r\nSet-Cookie: a=b",
    "x\nContent-Type: text/html\n\n<script>1</script>",
    "x\r\n\r\nHTTP/1.1 200 OK",
    "\x0d",
    "\u560a\u560d",
]


@pytest.mark.parametrize("text", SPLIT)
def test_nothing_that_is_asked_for_gets_into_a_header_or_chooses_a_type(holding: Served, text: str):
    usual = {"application/json", "application/octet-stream", "application/zip", "text/csv; charset=utf-8"}
    for route, place, name in PARAMETERS:
        spelled = quote(text, safe="")
        values = {"name": "odd", "run": "odd"} | ({name: spelled} if place == "path" else {})
        path = route.path(**values) + ("" if place == "path" else f"?{quote(name)}={spelled}")
        answer = holding.ask("GET", path)
        assert answer.headers.get("content-type", "application/json") in usual, path
        assert not {"set-cookie", "location"} & set(answer.headers), path
        assert "<script>" not in json.dumps(dict(answer.headers)), path


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=y", 'a";filename="b.exe', "é\u202egpj.exe", "a;b=c", "%0d%0a"])
def test_the_name_of_a_file_stays_a_name_in_the_header(holding: Served, name: str):
    path = holding.folder / "storage" / "odd" / name
    path.write_bytes(b"x")
    try:
        headers = holding.ask("GET", f"/api/runs/odd/files/{listed(holding)[name]}").headers
    finally:
        path.unlink()
    said = headers["content-disposition"]
    assert "set-cookie" not in headers
    assert said.count('"') == 2
    assert said.isascii()
    assert said.isprintable()


def test_an_unheard_of_type_that_is_asked_for_is_not_answered_with(holding: Served):
    before = content_of(holding.folder / "storage")
    for route in READING:
        path = route.path(name="odd", run="odd")
        answer = holding.ask("GET", path, headers={"Accept": "text/html", "Content-Type": "text/html"})
        is_page = not route.template.startswith("/api/")
        assert is_page or "html" not in answer.headers.get("content-type", ""), named(route)
    assert content_of(holding.folder / "storage") == before
