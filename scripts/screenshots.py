"""Make the pictures of the documentation: the demo's seven runs in the GUI, in docs/images/.

    python scripts/screenshots.py                     trains the demo first, which takes a minute
    python scripts/screenshots.py --project FOLDER    takes the demo that was made there

Needs Chromium (`CHROMIUM` names another than the one on the path) and the built page (`make web`).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURES = REPOSITORY / "docs" / "images"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
_BEST_FIRST = "sort=best(val_accuracy)&desc=1"


@contextmanager
def _served(project: Path) -> Iterator[str]:
    """The address of the GUI of a project, with its token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hypertuner", "digits.py", "--no-browser", "--port", "0"],
        cwd=project,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://\S+#token=\S+", line):
                yield found[0]
                return
        raise SystemExit(f"the GUI ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Camera:
    """Takes pictures of one tab."""

    def __init__(self, tab: Page, address: str) -> None:
        self._tab = tab
        self._address = address.partition("#")[0].rstrip("/")

    def go(self, path: str) -> Page:
        """Show a place, with all that it fetches."""
        self._tab.goto(f"{self._address}{path}")
        self._tab.wait_for_timeout(2500)  # what is drawn has no end that one could wait for
        return self._tab

    def take(self, name: str) -> None:
        """Keep what is shown."""
        self._tab.mouse.move(830, 63)  # where nothing answers to it
        self._tab.wait_for_timeout(400)
        path = PICTURES / f"{name}.png"
        self._tab.screenshot(path=path)
        print(f"{path.relative_to(REPOSITORY)}  {path.stat().st_size / 1000:.0f} kB")


def _pictures(camera: Camera, theme: str) -> None:
    camera.go(f"/runs?{_BEST_FIRST}")
    camera.take(f"runs-{theme}")
    if theme == "light":
        return
    tab = camera.go(f"/runs?{_BEST_FIRST}&x=root")
    camera.take("since-root")
    tab = camera.go(f"/runs?{_BEST_FIRST}")
    tab.get_by_role("button", name="Weights ").last.click()
    camera.take("weights-menu")
    tab.get_by_role("menuitem").first.click()
    tab.wait_for_timeout(2500)
    camera.take("new-run")
    camera.go("/models")
    camera.take("models")
    camera.go("/models?show=tree")
    camera.take("family")
    camera.go("/insight")
    camera.take("insight")
    camera.go("/queue")
    camera.take("queue")
    tab = camera.go(f"/runs?{_BEST_FIRST}")
    tab.get_by_role("grid", name="Runs").get_by_role("row").nth(1).dblclick()
    tab.wait_for_timeout(2000)
    camera.take("run-panel")


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--project", type=Path)
    project = parser.parse_args().project
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        if project is None:
            project = Path(made) / "digits"
            words = ["demo", "--no-gui", "--folder", str(project)]
            subprocess.run([sys.executable, "-m", "hypertuner", *words], check=True)
        with _served(project) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
            for theme in ("dark", "light"):
                context = browser.new_context(
                    viewport={"width": 1440, "height": 900},
                    color_scheme="dark" if theme == "dark" else "light",
                    reduced_motion="reduce",
                )
                tab = context.new_page()
                tab.goto(address)
                tab.get_by_role("grid", name="Runs").wait_for()
                _pictures(Camera(tab, address), theme)
            browser.close()


if __name__ == "__main__":
    main()
