"""Whatever a run is called, logs, prints or dies of is text to the page, in every place that shows it; and another site
that takes the server's address learns and changes nothing."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.browser.conftest import CHROMIUM, FLAGS, Window, window_on
from tests.browser.payloads import LOOKS, PAYLOADS, UNHARMED
from tests.browser.seen import LONG_MS
from tests.server import made
from tests.server.serving import Served, serving

HOSTILE = """
import json
from pathlib import Path
import hypertuner

args = hypertuner.Args(text="", choice="<img data-xss src=x>", items=["<b data-xss>"])
payloads = json.loads(Path("payloads.json").read_text())
logger = hypertuner.Logger()
for payload in payloads:
    print(payload, flush=True)
    print(f"\\x1b]8;;javascript:window.hacked=1\\x1b\\\\{payload}\\x1b]8;;\\x1b\\\\", flush=True)
    print(f"\\x1b[31m{payload}\\x1b]0;title\\x07", flush=True)
for step in range(3):
    logger.log({payload: step for payload in payloads}, step)
    logger.log({"said/" + str(step): hypertuner.Text("\\n".join(payloads))}, step)
raise RuntimeError(" ".join(payloads[:40]))
"""


def looks(tab: Page, where: str) -> None:
    assert tab.evaluate(LOOKS) == UNHARMED, where


@pytest.fixture(scope="module")
def hostile(chromium: Browser, tmp_path_factory) -> Iterator[Window]:
    """A storage full of it, made by a script, by somebody at the page, and by somebody else's hands."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hostile.py").write_text(HOSTILE)
    (folder / "payloads.json").write_text(json.dumps(PAYLOADS))
    storage = folder / "storage"
    keys = {key.replace(".", "_")[:200]: text for key, text in zip(PAYLOADS, reversed(PAYLOADS), strict=True)}
    made.trained(storage, "config-1", keys, [1.0, 0.5])
    made.trained(storage, "config-2", {key: text + "2" for key, text in keys.items()}, [1.0, 0.25])
    with serving(folder, "hostile.py") as served, window_on(chromium, served) as window:
        for name in ("config-1", "config-2"):
            notes = {"note": "\n".join(PAYLOADS), "tags": []}
            assert served.ask("PATCH", f"/api/runs/{name}/notes", notes).status == 200
        for payload in PAYLOADS:  # a tag that is refused is no tag
            served.ask("POST", "/api/actions", {"action": "tag", "names": ["config-1"], "tag": payload})
        asked = {"script": None, "config": {"text": PAYLOADS[0]}, "mode": "now", "name": "hostile"}
        answer = served.ask("POST", "/api/launch", asked)
        assert answer.status == 200, answer.body
        for payload in PAYLOADS:  # a name that is refused is no name
            assert served.ask("POST", "/api/launch", asked | {"name": payload, "mode": "draft"}).status in (200, 400)
        window.context.on("dialog", lambda dialog: window.problems.append(f"dialog: {dialog.message}"))
        window.context.on("page", lambda page: page.on("popup", lambda one: window.problems.append(f"popup {one.url}")))
        tab = window.open()
        expect(tab.get_by_role("grid", name="Runs")).to_contain_text("failed", timeout=LONG_MS)
        source = next(storage.glob("hostile/source"), None)
        for number, payload in enumerate(PAYLOADS):
            name = payload.replace("/", "∕").replace("\0", "")[:80]
            for place in (source, storage / "config-1"):
                if place is not None and place.is_dir():
                    (place / f"{number} {name}.txt").write_text(payload)
        tab.close()
        yield window


def test_each_of_them_is_seen_where_a_page_is_careless(chromium: Browser):
    """What the other tests rely on: markup becomes nodes, and what came to life is told."""
    context = chromium.new_context()
    tab = context.new_page()
    parse = "text => new DOMParser().parseFromString(text, 'text/html').querySelectorAll('[data-xss]').length"
    assert sum(bool(tab.evaluate(parse, payload)) for payload in set(PAYLOADS)) >= 200
    put = "text => { document.body.innerHTML = text; }"
    for markup, told in {
        "<b data-xss>": "nodes",
        "<a href=javascript:1>": "handlers",
        "<base href=//a>": "foreign",
    }.items():
        tab.evaluate(put, markup)
        assert tab.evaluate(LOOKS)[told]
    tab.evaluate("() => { window.hacked = 1; }")
    assert tab.evaluate(LOOKS)["hacked"] == 1
    context.close()


@pytest.mark.parametrize(
    ("address", "shows"),
    [
        ("/runs", "hostile"),
        ("/runs?run=hostile", "RuntimeError"),
        ("/runs?run=hostile&tab=output", "data-xss"),
        ("/runs?run=hostile&tab=charts", "data-xss"),
        ("/runs?run=hostile&tab=media", "data-xss"),
        ("/runs?run=hostile&tab=files", "data-xss"),
        ("/runs?run=hostile&tab=attempts", "hostile"),
        ("/runs?run=config-1&tab=config", "data-xss"),
        ("/runs?new=hostile", "New run from hostile"),
        ("/runs?new=config-1", "New run from config-1"),
        ("/runs?sel=config-1,config-2", "What differs"),
        ("/insight?sel=config-1,config-2", "Insight"),
        ("/models", "Models"),
        ("/queue", "Queue"),
    ],
)
def test_hostile_text_is_text(hostile: Window, address: str, shows: str):
    tab = hostile.open(address)
    expect(tab.locator("body")).to_contain_text(shows, timeout=LONG_MS)
    looks(tab, address)
    # All that scrolls, to its end: what is virtual is mounted then.
    for share in (0.25, 0.5, 0.75, 1):
        tab.evaluate(
            "share => document.querySelectorAll('*').forEach(one => {"
            " if (one.scrollHeight > one.clientHeight + 50) one.scrollTop = one.scrollHeight * share; })",
            share,
        )
        tab.wait_for_load_state("networkidle")
        looks(tab, f"{address} at {share}")
    tab.close()


def test_hostile_columns_groups_and_tips_are_text(hostile: Window):
    tab = hostile.open(f"/runs?cols={quote(','.join(f'config:{key}' for key in ESCAPED[:24]))}")
    tab.get_by_text("config-1").first.wait_for()
    looks(tab, "columns")
    tab.get_by_role("button", name="Columns", exact=True).click()
    tab.get_by_role("textbox", name="Find a column").or_(tab.get_by_label("Find a column")).first.fill("data-xss")
    looks(tab, "column picker")
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Group", exact=True).click()
    looks(tab, "group menu")
    tab.keyboard.press("Escape")
    for cell in tab.get_by_role("grid", name="Runs").locator("[data-tip]").all()[:12]:
        cell.hover()
        looks(tab, "tooltip")
    tab.get_by_role("combobox", name="Filter runs").fill("<")
    tab.wait_for_load_state("networkidle")
    looks(tab, "completions")
    tab.close()


ESCAPED = [payload.replace("%", "%25").replace(",", "%2C").replace(".", "_") for payload in PAYLOADS]


WORDS = "q sort group cols sel chart x run new parent set model show target zoom zoomy".split()


def test_an_address_is_no_script(hostile: Window):
    hostile.may_fail = True  # what is asked for is not there
    tab = hostile.open()
    for number, payload in enumerate(PAYLOADS[::16]):
        place = ("runs", "models", "insight")[number % 3]
        hostile.go(tab, f"/{place}?" + "&".join(f"{word}={quote(payload)}" for word in WORDS))
        tab.get_by_role("dialog").first.wait_for()
        looks(tab, payload)
    tab.close()
    hostile.may_fail = False


def test_what_terminals_obey_is_not_obeyed_and_links_lead_nowhere(hostile: Window):
    tab = hostile.open("/runs?run=hostile&tab=output")
    expect(tab.get_by_role("dialog")).to_contain_text("data-xss", timeout=LONG_MS)
    text = tab.get_by_role("dialog").inner_text()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert tab.get_by_role("dialog").locator("a[href]:not([href^='/api/'])").count() == 0
    tab.close()


EVIL = """<!doctype html><title>evil</title><script>
async function attack(address) {
    const said = {};
    for (const path of ['/api/session', '/api/runs', '/', '/openapi.json'])
        said[path] = await fetch(address + path, { credentials: 'include' })
            .then(a => a.text().then(t => a.status + t), e => 'refused');
    said.post = await fetch(address + '/api/actions', { method: 'POST', credentials: 'include',
        headers: { 'Content-Type': 'application/json', 'X-Hypertuner': '1' },
        body: JSON.stringify({ action: 'trash', names: ['calm-otter'] }) }).then(a => a.status, e => 'refused');
    said.socket = await new Promise(done => { const s = new WebSocket(address.replace('http', 'ws') + '/api/live');
        s.onopen = () => done('open'); s.onerror = () => done('refused'); });
    return said;
}</script>"""


class _Evil(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(EVIL.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def evil() -> Iterator[int]:
    """The port of another site on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Evil)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_that_is_bound_anew_to_the_server_reads_and_changes_nothing(project: Path, evil: int):
    """evil.test is 127.0.0.1 to a browser that is logged in: its site's page asks the server, by both names."""
    with serving(project, "train.py") as served:
        said = _attacked(served, evil)
        assert said["page"] in (400, 403, 421), said
        for how in ("rebound", "direct"):
            assert set(said[how].values()) <= {"refused", 403, 400}, said
        assert served.ask("GET", "/api/runs/calm-otter").status == 200


def _attacked(served: Served, evil: int) -> dict[str, Any]:
    """What a page of evil.test could read and do. The rule is one of the command line's: a browser of its own, in a
    thread of its own, as Playwright wants it."""
    said: dict[str, Any] = {}

    def attack() -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=[*FLAGS, "--host-resolver-rules=MAP evil.test 127.0.0.1"]
            )
            tab = browser.new_page()
            tab.goto(f"http://{served.host}/#token={served.token}")
            tab.get_by_text("calm-otter").first.wait_for(timeout=LONG_MS)
            answer = tab.goto(f"http://evil.test:{served.port}/")
            said["page"] = answer.status if answer else None
            tab.goto(f"http://evil.test:{evil}/")
            said["rebound"] = tab.evaluate("address => attack(address)", f"http://evil.test:{served.port}")
            said["direct"] = tab.evaluate("address => attack(address)", f"http://{served.host}")
            browser.close()

    thread = threading.Thread(target=attack)
    thread.start()
    thread.join()
    return said
