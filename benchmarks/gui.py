"""gui: pages beside the peers', in one Chromium over the same runs; and hypertuner's with 100,000 runs, and live.

Every load is a first visit: a fresh profile without cache or cookies, in a browser that has started, 1440 × 900,
without a GPU. Products take turns.
A chart counts once its curves have a colour on the screen, not once its frame is there; `blocked` is what long tasks
took beyond 50 ms each, until two seconds after that. How a product chooses what it shows stays as it is: MLflow draws
ten runs of those that are there, Aim none before it is asked for one.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import children, guis, runs_made
from benchmarks.guis import GUIS, Gui
from benchmarks.measurement import NOT_INSTALLED, OURS, Measurement, median, missing
from benchmarks.options import Options

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "gui"
FIRST_CHART = "first chart"
FIRST_PAINT = "first paint"
SCRIPT = "JavaScript on the wire"
BLOCKED = "main thread blocked"
_LOADED = {FIRST_PAINT: "s", FIRST_CHART: "s", BLOCKED: "s", SCRIPT: "bytes", "all on the wire": "bytes"}
LIVE = "log() to pixel, 95 of 100"
SCROLLING = "a frame of scrolling"
MANY = 100_000

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
_FLAGS = (
    "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)
_PROBE = Path(__file__).with_name("gui_probe.js").read_text(encoding="utf-8")
_PATIENCE_S = 30
# For a new window Chromium first loads pages of its own, on all cores: a visit is timed once it has done so.
_BROWSER_S = 3.0
_AFTER_S = 2.0


def rows(runs: int) -> str:
    """Name of the measure."""
    return f"page to rows, {runs:,} runs"


def filtered(runs: int) -> str:
    """Name of the measure."""
    return f"key to rows, {runs:,} runs"


def measure(options: Options, folder: Path) -> Iterator[Measurement]:
    """All of it; or that there is no browser."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            yield from (missing(NAME, measure, OURS, unit) for measure, unit in _LOADED.items())
            return
        if not CHROMIUM:
            yield from (missing(NAME, measure, OURS, unit, "no Chromium") for measure, unit in _LOADED.items())
            return
        # Root can have no sandbox.
        flags = [*_FLAGS.split(), *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        chromium = stack.enter_context(sync_playwright()).chromium
        browser = stack.enter_context(chromium.launch(executable_path=CHROMIUM, args=flags))
        yield from _loads(options, folder, browser)
        yield from _live(options, folder / "live", browser)
        yield from _many(options, folder / "many", browser)


# --- a first visit, of every product


def _loads(options: Options, folder: Path, browser: Browser) -> Iterator[Measurement]:
    runs, points = options.pick(tiny=(3, 50), quick=(50, 2_000), normal=(50, 2_000))
    rounds = options.rounds(tiny=1, quick=3, normal=7)
    found: dict[str, list[dict[str, float]]] = {one.name: [] for one in GUIS if one.is_installed()}
    with contextlib.ExitStack() as servers:
        addresses = {}
        for name in found:
            place = folder / name
            children.call("benchmarks.guis:fill", place, name, runs, points, timeout_s=1200)
            serving = guis.serving(guis.gui(name), place, children.environment(place))
            addresses[name] = servers.enter_context(serving)
        for name, address in addresses.items():
            _visit(browser, guis.gui(name), address, runs)  # whatever a server reads once, it has read
        for _ in range(rounds):
            for name, address in addresses.items():
                found[name].append(_visit(browser, guis.gui(name), address, runs))
    for one in GUIS:
        for measure, unit in _LOADED.items():
            if one.name not in found:
                yield missing(NAME, measure, one.name, unit, NOT_INSTALLED)
                continue
            values = [visit[measure] for visit in found[one.name] if measure in visit]
            if values:
                drawn = runs if one.opens_with is None else min(runs, one.opens_with)
                yield median(NAME, measure, one.name, unit, values, runs=runs, points=points, drawn=drawn)
            else:
                yield missing(NAME, measure, one.name, unit, "none as it opens")


def _visit(browser: Browser, one: Gui, address: str, runs: int) -> dict[str, float]:
    root, _, fragment = address.partition("/#")
    url = f"{root.rstrip('/')}{one.page(runs)}{'#' + fragment if fragment else ''}"
    draws = one.opens_with != 0
    with _tab(browser, one.curves if draws else "") as tab:
        wire = _Wire(tab)
        tab.goto(url, wait_until="commit")
        end = time.monotonic() + _PATIENCE_S
        seen: dict[str, Any] = {}
        while time.monotonic() < end:
            tab.wait_for_timeout(200)
            seen = tab.evaluate("window.__measured ?? {}")
            if not draws or seen.get("curvesMs"):
                tab.wait_for_timeout((_AFTER_S if draws else _AFTER_S * 2) * 1000)
                seen = tab.evaluate("window.__measured")
                break
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        found = {BLOCKED: seen["blockedMs"] / 1000, SCRIPT: wire.script, "all on the wire": wire.all}
        if paint:
            found[FIRST_PAINT] = paint / 1000
        if seen.get("curvesMs"):
            found[FIRST_CHART] = seen["curvesMs"] / 1000
        return found


class _Wire:
    """Bytes that a page was sent, as they went over the wire."""

    def __init__(self, tab: Page) -> None:
        self.script = self.all = 0.0
        kinds: dict[str, str] = {}
        session = tab.context.new_cdp_session(tab)

        def ended(event: dict[str, Any]) -> None:
            self.all += event["encodedDataLength"]
            if kinds.get(event["requestId"]) == "Script":
                self.script += event["encodedDataLength"]

        session.on("Network.responseReceived", lambda event: kinds.__setitem__(event["requestId"], event["type"]))
        session.on("Network.loadingFinished", ended)
        session.send("Network.enable")


@contextlib.contextmanager
def _tab(browser: Browser, curves: str = "") -> Iterator[Page]:
    """A tab in a profile of its own, with the probe in it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(_PATIENCE_S * 1000)
    try:
        tab = context.new_page()
        tab.add_init_script(f"window.__curves = {curves!r};\n{_PROBE}")
        tab.wait_for_timeout(_BROWSER_S * 1000)
        yield tab
    finally:
        context.close()


# --- from log() to the pixel

# Watches one canvas, a frame at a time: when its picture last changed, in the time of the machine's clock. What a frame
# finds was drawn in the one before, and is on the screen by now.
_WATCH = """canvas => {
    const copy = new OffscreenCanvas(256, 64).getContext('2d', { willReadFrequently: true });
    let before = null;
    window.__changes = [];
    const look = () => {
        copy.clearRect(0, 0, 256, 64);
        copy.drawImage(canvas, 0, 0, 256, 64);
        const now = copy.getImageData(0, 0, 256, 64).data;
        if (before !== null && now.some((value, at) => value !== before[at])) {
            window.__changes.push(performance.timeOrigin + performance.now());
        }
        before = now;
        requestAnimationFrame(look);
    };
    look();
}"""


def _live(options: Options, folder: Path, browser: Browser) -> Iterator[Measurement]:
    """A script logs a record at a time, told when; the next one once the page has shown the last."""
    folder.mkdir()
    environment = children.environment(folder)
    records = options.pick(tiny=5, quick=100, normal=300)
    delays = []
    with (
        _Logging(folder, environment) as logging,
        guis.serving(guis.gui(OURS), folder, environment) as address,
        _tab(browser) as tab,
    ):
        root, _, token = address.partition("/#")
        tab.goto(f"{root}/runs#{token}")
        canvas = tab.locator("canvas").first
        canvas.wait_for()
        tab.wait_for_timeout(1500)
        canvas.evaluate(_WATCH)
        tab.wait_for_timeout(500)
        pause = random.Random(0)
        for _ in range(records):
            tab.wait_for_timeout(200 + 200 * pause.random())
            tab.evaluate("window.__changes.length = 0")
            logged = logging.log() * 1000
            delays.append((_first_change(tab, logged) - logged) / 1000)
    ordered = sorted(delays)
    late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    yield Measurement(NAME, LIVE, OURS, "s", late, tuple(delays))
    yield median(NAME, "log() to pixel, median", OURS, "s", delays)


class _Logging:
    """A script that logs when it is told to."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            children.command("benchmarks.gui:log_when_told"),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> _Logging:
        self.log()
        self.log()  # two points are a curve
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def log(self) -> float:
        """When it began to log, in seconds since the epoch."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("log\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def _first_change(tab: Page, after_ms: float) -> float:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        found: list[float] = tab.evaluate("window.__changes")
        if later := [at for at in found if at >= after_ms]:
            return min(later)
        tab.wait_for_timeout(30)
    raise children.ChildFailed("a logged record never came onto the screen")


def log_when_told() -> None:
    """What the child does: for each line that it is sent a record, whose moment it says. A zigzag: each point shows."""
    import hypertuner

    logger = hypertuner.Logger()
    for step, _ in enumerate(sys.stdin):
        now = time.time()
        logger.log({guis.METRIC: step % 2}, step)
        print(now, flush=True)


# --- 100,000 runs

_ROWS = "[role=grid] [role=row] button[class*=name]"
# When the first name in the table is another than `before`.
_OTHER_ROWS = """([selector, before]) => new Promise(found => {
    const look = () => {
        const name = document.querySelector(selector)?.innerText;
        if (name && name !== before) found(performance.now()); else requestAnimationFrame(look);
    };
    look();
})"""
_KEY = "addEventListener('keydown', () => { window.__keyMs = performance.now(); }, { capture: true });"
# Milliseconds a frame, of a table that is scrolled by some rows each.
_SCROLL = """seconds => new Promise(done => {
    const box = document.querySelector('[role=grid]');
    const begun = performance.now();
    let frames = 0;
    const next = () => {
        const past = performance.now() - begun;
        if (past > seconds * 1000) { done(past / frames); return; }
        frames += 1;
        box.scrollTop += 120;
        requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
})"""


def _many(options: Options, folder: Path, browser: Browser) -> Iterator[Measurement]:
    count = options.pick(tiny=60, quick=MANY, normal=MANY)
    rounds = options.rounds(tiny=1, quick=3, normal=7)
    seconds = options.pick(tiny=0.2, quick=3.0, normal=3.0)
    environment = children.environment(folder)
    (folder / "storage").mkdir(parents=True)
    words = ["--thin", "--runs", str(count), "--into", "storage"]
    subprocess.run([sys.executable, "-m", runs_made.__name__, *words], cwd=folder, env=environment, check=True)
    loads, filters, frames = [], [], []
    with guis.serving(guis.gui(OURS), folder, environment) as address:
        root, _, token = address.partition("/#")
        for number in range(rounds + 1):
            with _tab(browser) as tab:
                tab.add_init_script(_KEY)
                tab.goto(f"{root}/runs#{token}", wait_until="commit")
                loaded = tab.evaluate(_OTHER_ROWS, [_ROWS, ""])
                tab.wait_for_timeout(1500)
                shown = tab.evaluate(_SCROLL, seconds)
                tab.locator("[role=grid]").first.evaluate("box => { box.scrollTop = 0; }")
                tab.wait_for_timeout(500)
                first = tab.locator(_ROWS).first.inner_text()
                # Without its last character it is no query yet, and with it no query that was asked before.
                tab.keyboard.press("/")
                tab.keyboard.type(f'learning_rate < 9{number} and name != "{first}')
                tab.wait_for_timeout(1000)
                tab.keyboard.press('"')
                changed = tab.evaluate(_OTHER_ROWS, [_ROWS, first]) - tab.evaluate("window.__keyMs")
            if number:  # a first visit warms the server, here as of every product
                loads.append(loaded / 1000)
                frames.append(shown / 1000)
                filters.append(changed / 1000)
    yield median(NAME, rows(count), OURS, "s", loads)
    yield median(NAME, filtered(count), OURS, "s", filters)
    yield median(NAME, SCROLLING, OURS, "s", frames, runs=count)
