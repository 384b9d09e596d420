"""What somebody sees who opens the GUI."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.browser.conftest import Window
from tests.browser.seen import LONG_MS, chart, until, wait_until_drawn
from tests.conftest import script_environment
from tests.server.made import trained


def test_the_page_opens_on_the_runs_and_the_token_leaves_the_address(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    assert "#token" not in tab.url
    wait_until_drawn(chart(tab, "train/loss"))
    wait_until_drawn(chart(tab, "val/loss"))


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("/runs", "/api/runs?offset=0&limit=200"),
        ("/runs?sel=calm-otter,swift-fjord", "/api/runs/rows?name=calm-otter&name=swift-fjord"),
    ],
)
def test_first_rows_and_curves_are_asked_for_once_before_there_is_anything_to_show_them(
    window: Window, where: str, rows: str
):
    asked: list[str] = []
    window.context.on("request", lambda one: asked.append(one.url.partition(window.served.host)[2]))

    def hold(route) -> None:
        """Who we are is answered once all is asked for: until then there is neither a table nor a chart."""
        answer = route.fetch()
        tab = route.request.frame.page
        for what in ("/api/runs?offset=0&limit=200", rows, "/api/series?"):
            until(tab, lambda what=what: any(one.startswith(what) for one in asked), f"{what} is asked for")
        route.fulfill(response=answer)

    window.context.route("**/api/session", hold, times=1)
    tab = window.open(where)
    for metric in ("train/loss", "val/loss"):
        wait_until_drawn(chart(tab, metric))
    assert asked.count("/api/runs?offset=0&limit=200") == asked.count(rows) == 1
    series = [one.rpartition("&metric=")[2] for one in asked if one.startswith("/api/series?")]
    assert len(series) == len(set(series))


def test_what_happened_while_the_page_was_loading_is_shown(serve, tmp_path: Path):
    storage = tmp_path / "storage"
    trained(storage, "one", {"lr": 0.1}, [0.5, 0.4])
    window = serve(tmp_path)
    root = f"http://{window.served.host}"

    def hold(route) -> None:
        """Who we are is answered once there is another run, and the server knows it; the rows were answered before."""
        answer = route.fetch()
        route.request.frame.page.wait_for_timeout(500)
        trained(storage, "two", {"lr": 0.2}, [0.6, 0.3])
        headers = {"Authorization": f"Bearer {window.served.token}"}
        until(
            route.request.frame.page,
            lambda: window.context.request.get(f"{root}/api/runs", headers=headers).json()["matched"] == 2,
            "the server knows both",
        )
        route.request.frame.page.wait_for_timeout(3000)  # and has looked again: it has nothing more to tell
        route.fulfill(response=answer)

    window.context.route("**/api/session", hold, times=1)
    tab = window.open()
    tab.get_by_role("grid").get_by_text("two").first.wait_for(timeout=LONG_MS)
    until(tab, lambda: chart(tab, "train/loss").get_by_text("two").count() > 0, "its curve is drawn, too")


@contextlib.contextmanager
def opened_by_hypertuner(folder: Path) -> Iterator[str]:
    """The address with which `hypertuner`, typed in a terminal where there is a screen, starts the user's browser."""
    browser = folder / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$1" > {folder}/said.part; mv {folder}/said.part {folder}/said\n')
    browser.chmod(0o755)
    variables = {"DISPLAY": ":9", "BROWSER": f"{browser} %s", "HYPERTUNER_STORAGE": str(folder / "storage")}
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hypertuner", "--port", "0"],
        cwd=folder,
        env=script_environment({**variables, "HYPERTUNER_HOME": str(folder / "home")}),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 60
        while not (folder / "said").exists():
            assert process.poll() is None
            assert time.monotonic() < end, "no browser was started"
            time.sleep(0.05)
        yield (folder / "said").read_text().strip()
    finally:
        process.send_signal(signal.SIGINT)
        os.close(terminal)
        process.wait(30)
        os.close(ours)


def test_the_browser_that_hypertuner_starts_is_let_in_once_and_then_by_its_cookie(chromium: Browser, tmp_path: Path):
    trained(tmp_path / "storage", "calm-otter", {"lr": 0.1}, [0.5, 0.4])
    with opened_by_hypertuner(tmp_path) as address, contextlib.closing(chromium.new_context()) as context:
        tab = context.new_page()
        tab.goto(address)
        tab.get_by_role("grid").get_by_text("calm-otter").first.wait_for()
        wait_until_drawn(chart(tab, "train/loss"))
        tab.reload()
        tab.get_by_role("grid").get_by_text("calm-otter").first.wait_for()
        with contextlib.closing(chromium.new_context()) as other:  # who read the address in the list of processes
            late = other.new_page()
            late.goto(address)
            late.get_by_text("This page needs the link that hypertuner printed").wait_for()
