"""Make the pictures of the docs: `python scripts/screenshots.py`.

They show the demo's own seven runs, trained for this, in real Chromium: docs/images/*.png, 1440 × 900. Needs the page
to be built (`make web`), PyTorch, scikit-learn, Playwright for Python and a Chromium (or CHROMIUM=/path/to/it).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "docs" / "images"
WIDTH, HEIGHT = 1440, 900
MOST_BYTES = 300_000
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@dataclass(frozen=True)
class Picture:
    """What a picture shows: an address, a text that says that it is there, and what is done before it is taken."""

    name: str
    address: str
    shows: str
    then: Callable[[Page], None] = lambda tab: None
    schemes: tuple[str, ...] = ("dark",)


_COLUMNS = "metric:val_accuracy,config:learning_rate,config:channels,config:dropout"


def _point_at(name: str) -> Callable[[Page], None]:
    """At a run's row: its curves stand out."""
    return lambda tab: tab.get_by_role("row").filter(has_text=name).hover(position={"x": 16, "y": 14})


def _open_a_mark(tab: Page) -> None:
    tab.locator("[data-metric]").first.get_by_role("button", name="Weights ").last.click(button="right")
    tab.get_by_role("menu").wait_for()


def _wait_for_a_strip(tab: Page) -> None:
    tab.wait_for_timeout(15_000)  # of the machine's last minutes there is some to see


def pictures(best: str, child: str) -> list[Picture]:
    """All of them; `best` is the run that did best, `child` the one that began with its weights."""
    return [
        Picture("runs", f"/runs?sort=val_accuracy&cols={_COLUMNS}", child, _point_at(best), ("dark", "light")),
        Picture("mark", f"/runs?sel={best},{child}&x=root", child, _open_a_mark),
        Picture("new-run", f"/runs?sel={best}&new={best}&parent={best}@best&set=learning_rate%3D0.001", "fit"),
        Picture("run", f"/runs?run={child}&tab=config", "learning_rate"),
        Picture("models", f"/models?model={best}@best", "features.0.weight"),
        Picture("family", "/models?show=tree", child),
        Picture("insight", "/insight?target=val_accuracy", "learning_rate"),
        Picture("queue", "/queue", "1 run running, 2 waiting", _wait_for_a_strip),
    ]


def _hypertuner(folder: Path, *words: str) -> None:
    environment = {**os.environ, "HYPERTUNER_HOME": str(folder / "home")}
    environment.pop("HYPERTUNER_STORAGE", None)
    command = [sys.executable, "-m", "hypertuner", *words]
    inside = folder if folder.exists() else None
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment, cwd=inside)


@contextlib.contextmanager
def _training(folder: Path) -> Iterator[None]:
    """Meanwhile the server has three runs to start, one after the other."""
    _hypertuner(folder, "run", "digits.py", "learning_rate=0.1,0.05,0.02", "epochs=200", "--queue")
    try:
        yield
    finally:
        _hypertuner(folder, "stop", "epochs == 200")


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder, with its token."""
    environment = {**os.environ, "HYPERTUNER_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1"}
    environment.pop("SSH_CONNECTION", None)
    command = [sys.executable, "-m", "hypertuner", "digits.py", "--storage", "storage", "--no-browser", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        assert server.stdout is not None
        yield next(line.strip() for line in server.stdout if "#token=" in line)
    finally:
        server.terminate()
        server.wait()


def _take(browser: Browser, address: str, picture: Picture, scheme: str, path: Path) -> None:
    place, _, token = address.partition("/#")
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)  # type: ignore[arg-type]
    tab = context.new_page()
    with tab.expect_response(lambda answer: "/api/session" in answer.url and answer.ok):
        tab.goto(f"{place}{picture.address}#{token}")
    tab.get_by_text(picture.shows).first.wait_for(timeout=60_000)
    tab.wait_for_load_state("networkidle")
    picture.then(tab)
    tab.wait_for_timeout(1500)  # what is drawn at the next frames
    tab.screenshot(path=path)
    context.close()
    assert path.stat().st_size <= MOST_BYTES, f"{path} is larger than {MOST_BYTES:,} bytes"


def main() -> None:
    """Train, serve, take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=IMAGES)
    parser.add_argument("--project", type=Path, help="the folder of a demo that has been run already")
    parser.add_argument("--only", help="one picture's name")
    given = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    given.into.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        # Not a name drawn by chance: the pictures show it.
        folder = given.project or Path(tempfile.gettempdir()) / "digits"
        if given.project is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if not folder.exists():
            _hypertuner(folder, "demo", "--no-gui", "--folder", str(folder))
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        with _served(folder) as address:
            for picture in pictures(*_best_and_child(folder)):
                if given.only not in (None, picture.name):
                    continue
                with _training(folder) if picture.name == "queue" else contextlib.nullcontext():
                    for scheme in picture.schemes:
                        name = picture.name if scheme == picture.schemes[0] else f"{picture.name}-{scheme}"
                        _take(browser, address, picture, scheme, given.into / f"{name}.png")
                        print(given.into / f"{name}.png")
        browser.close()


def _best_and_child(folder: Path) -> tuple[str, str]:
    import hypertuner

    for run in hypertuner.runs(storage=str(folder / "storage")):
        if run.parent:
            return str(run.parent).partition("@")[0], run.name
    raise SystemExit(f"{folder} has no run that began with the weights of another: is it the demo's?")


if __name__ == "__main__":
    main()
