"""A server that is killed and comes back, many tabs, and what a script logs on its way to the screen."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import expect
from tests.browser.conftest import BUILT
from tests.browser.seen import LONG_MS, chart, coloured, numbers, until, wait_until_drawn
from tests.conftest import script_environment
from tests.server.made import trained
from tests.server.serving import serving

# Logs a step whenever it is told to, so that a test decides what happens before what.
TOLD = """
import sys
import hypertuner

logger = hypertuner.Logger()
step = 0
for line in sys.stdin:
    for _ in range(int(line)):
        logger.log({"train/loss": 1 / (1 + step)}, step)
        step += 1
    print("logged", flush=True)
"""


class Told:
    """A script that trains as a test tells it to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def log(self, count: int) -> None:
        """Log so many steps more; they are in the file when this returns."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        while "logged" not in (line := self._process.stdout.readline()):
            assert line, "the script has ended"


@contextlib.contextmanager
def told(folder: Path) -> Iterator[Told]:
    (folder / "told.py").write_text(TOLD)
    environment = script_environment(
        {"HYPERTUNER_STORAGE": str(folder / "storage"), "HYPERTUNER_HOME": str(folder / "home")}
    )
    process = subprocess.Popen(
        [sys.executable, "told.py"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    try:
        yield Told(process)
    finally:
        process.communicate()


def test_a_killed_server_costs_no_point_and_doubles_none(serve, tmp_path: Path):
    with told(tmp_path) as script:
        script.log(50)
        window = serve(tmp_path)
        window.may_fail = True
        tab = window.open()
        card = chart(tab, "train/loss")
        wait_until_drawn(card)
        script.log(50)
        until(tab, lambda: points(card) == 100, "what was logged is there")

        window.served.close()
        os.killpg(window.served.process.pid, signal.SIGKILL)
        window.served.process.wait()
        script.log(50)
        bar = tab.get_by_text("Not connected: training goes on.")
        expect(bar).to_be_visible(timeout=LONG_MS)
        assert coloured(card), "everything stays readable"
        with serving(tmp_path, f"--port={window.served.port}"):
            expect(bar).to_be_hidden(timeout=LONG_MS)
            script.log(50)
            until(tab, lambda: points(card) == 200, "all that was logged is there, once")
            (said,) = numbers(card).values()
            assert said[1] == "199"


def points(card) -> int:
    """Of the only run in a chart."""
    (said,) = numbers(card).values()
    return int(said[0].replace(",", ""))


def test_eight_tabs_are_all_live_and_what_is_logged_is_drawn(serve, tmp_path: Path):
    with told(tmp_path) as script:
        script.log(5)
        window = serve(tmp_path)
        tabs = [window.open() for _ in range(8)]
        before = [wait_until_drawn(chart(tab, "train/loss")) for tab in tabs]
        assert all(before)
        script.log(95)
        for tab in tabs:
            until(tab, lambda tab=tab: points(chart(tab, "train/loss")) == 100, "this tab is live")


def test_a_run_with_one_point_shows_it(serve, tmp_path: Path):
    with told(tmp_path) as script:
        script.log(1)
        window = serve(tmp_path)
        wait_until_drawn(chart(window.open(), "train/loss"), more_than=8)


def test_a_new_run_that_is_opened_while_the_server_is_gone_can_be_made_when_it_is_back(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text("import hypertuner\n\nargs = hypertuner.Args(learning_rate=0.1)\n")
    window = serve(tmp_path, "train.py")
    window.may_fail = True
    tab = window.open()
    tab.get_by_text("No runs yet").wait_for()
    read = "performance.getEntriesByType('resource').some(one => one.name.includes('NewRunSheet'))"
    until(tab, lambda: tab.evaluate(read), "the sheet is there before it is asked for")
    window.served.close()
    os.killpg(window.served.process.pid, signal.SIGKILL)
    window.served.process.wait()
    tab.get_by_text("Not connected: training goes on.").wait_for(timeout=LONG_MS)
    tab.keyboard.press("n")
    sheet = tab.get_by_role("dialog")
    expect(sheet.get_by_role("heading", name="No new run can be made now")).to_be_visible()
    with serving(tmp_path, "train.py", f"--port={window.served.port}"):
        expect(sheet.get_by_role("textbox", name="learning_rate")).to_have_value("0.1", timeout=LONG_MS)


def test_what_is_first_opened_while_the_server_is_gone_comes_when_it_is_back(serve, tmp_path: Path):
    trained(tmp_path / "storage", "calm-otter", {"lr": 0.1}, [0.5, 0.25])
    window = serve(tmp_path)
    window.may_fail = True
    parts = {"Insight": "/insight", "Models": "/models", "Queue": "/queue", "RunPanel": "/runs?run=calm-otter"}
    for part, path in parts.items():
        gone = re.compile(f"/assets/{part}-.*\\.js")
        window.context.route(gone, lambda route: route.abort())
        tab = window.context.new_page()
        with tab.expect_event("requestfailed", lambda request, gone=gone: bool(gone.search(request.url))):
            tab.goto(f"http://{window.served.host}{path}#token={window.served.token}")
        place = tab.get_by_role("dialog") if part == "RunPanel" else tab.locator("main > :not(h1)").first
        expect(place).to_have_count(0)
        window.context.unroute(gone)
        expect(place).to_be_visible(timeout=LONG_MS)
        tab.close()


# `hypertuner`, with the page in a folder of its own.
OTHER_PAGE = """
import sys
from pathlib import Path
from hypertuner.server import app, page

app.Page = lambda: page.Page(Path({folder!r}))
from hypertuner.cli import main

sys.exit(main(sys.argv[1:]))
"""


def test_a_page_whose_server_was_updated_says_so_and_keeps_what_is_typed_until_one_reloads(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text("import hypertuner\n\nargs = hypertuner.Args(learning_rate=0.1)\n")
    trained(tmp_path / "storage", "calm-otter", {"lr": 0.1}, [0.5, 0.25])
    window = serve(tmp_path, "train.py")
    window.may_fail = True
    tab = window.open("/runs?new=")
    field = tab.get_by_role("dialog").get_by_role("textbox", name="learning_rate")
    field.fill("0.25")
    window.served.close()
    os.killpg(window.served.process.pid, signal.SIGKILL)
    window.served.process.wait()
    gone = tab.get_by_text("Not connected: training goes on.")
    gone.wait_for(timeout=LONG_MS)

    renamed(BUILT.parent, tmp_path / "page")
    program = tmp_path / "updated.py"
    program.write_text(OTHER_PAGE.format(folder=str(tmp_path / "page")))
    with serving(tmp_path, "train.py", f"--port={window.served.port}", program=program):
        gone.wait_for(state="hidden", timeout=LONG_MS)
        said = tab.get_by_text("hypertuner was updated")
        expect(said).to_have_count(0)
        tab.get_by_role("link", name="Insight").click()
        expect(said).to_be_visible(timeout=LONG_MS)
        expect(field).to_have_value("0.25")
        tab.get_by_role("button", name="Reload", exact=True).click()
        expect(tab.get_by_role("heading", name="Insight")).to_be_attached(timeout=LONG_MS)
        expect(tab.locator("main > :not(h1)").first).to_be_visible(timeout=LONG_MS)
        expect(said).to_have_count(0)


def renamed(built: Path, folder: Path) -> None:
    """The page as another version of it: its parts have other names."""
    files = {
        path.relative_to(built): path.read_bytes() for path in built.rglob("*.*") if path.suffix not in (".gz", ".br")
    }
    hashes = [found[1] for name in files if (found := re.search(r"-([\w-]{8})\.(?:js|css)$", name.name))]
    assert hashes
    for name, content in files.items():
        spelled = name.as_posix()
        for one in hashes:
            content = content.replace(one.encode(), f"{one}x".encode())
            spelled = spelled.replace(one, f"{one}x")
        (folder / spelled).parent.mkdir(parents=True, exist_ok=True)
        (folder / spelled).write_bytes(content)
