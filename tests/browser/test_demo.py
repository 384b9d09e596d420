"""`hypertuner demo` at a terminal ends in the GUI, with three hints for whoever sees it for the first time."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.conftest import script_environment


@pytest.mark.timeout(600)
def test_the_demo_ends_in_the_gui_whose_hints_are_dismissed_for_ever(chromium: Browser, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        [sys.executable, "-m", "hypertuner", "demo"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=script_environment({"HYPERTUNER_PORT": "0", "TERM": "dumb", "DISPLAY": None, "WAYLAND_DISPLAY": None}),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        said = b""
        while b"Ctrl-C" not in said:
            said += os.read(ours, 65536)
        address = re.search(r"http://127\.0\.0\.1:\d+/#token=\S+", said.decode())
        assert address is not None, said.decode()
        context = chromium.new_context(viewport={"width": 1440, "height": 900})
        tab = context.new_page()
        tab.goto(address[0])
        hints = tab.get_by_role("complementary", name="Three hints")
        expect(hints).to_contain_text("Which run did better?")
        hints.get_by_role("button", name="Sort by val_accuracy").click()
        expect(tab).to_have_url(re.compile(r"sort=best\(val_accuracy\)"))
        hints.get_by_role("button", name="Next").click()
        hints.get_by_role("button", name="Start one from the best").click()
        expect(tab).to_have_url(re.compile("parent="))
        tab.keyboard.press("Escape")
        hints.get_by_role("button", name="Next").click()
        hints.get_by_role("button", name="Show the family tree").click()
        expect(tab).to_have_url(re.compile("/models.*show=tree"))
        hints.get_by_role("button", name="Done").click()
        expect(hints).to_have_count(0)
        tab.goto(address[0].partition("#")[0])
        expect(tab.get_by_role("button", name="New run").first).to_be_visible()
        expect(hints).to_have_count(0)
        context.close()
        os.write(ours, b"\x03")  # as a terminal sends Ctrl-C: nobody owns this one, so it is sent below, too
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=60) == 0
    finally:
        demo.kill()
        demo.wait()
        os.close(ours)
