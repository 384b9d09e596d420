"""The page in a real browser, on a real server, with runs that a real script has trained.

Debian's Chromium (or the one that `CHROMIUM` names), driven by Playwright. Whatever the page logs as an error, and
every breach of its content policy, fails the test that it came up in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from tests.conftest import REPOSITORY, script_environment
from tests.server.serving import Served, serving

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
BUILT = REPOSITORY / "src" / "hypertuner" / "web" / "index.html"

# Without these Chromium looks for Google's hosts at every start, and wants a sandbox that root cannot have.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
_READY_MS = 20_000

TRAIN = """
import time
import torch
import hypertuner

args = hypertuner.Args(learning_rate=0.1, hidden=4, steps=20, seed=0, pause=0.0)
torch.manual_seed(args.seed)
net = torch.nn.Sequential(torch.nn.Linear(2, args.hidden), torch.nn.Tanh(), torch.nn.Linear(args.hidden, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=args.learning_rate)
saver = hypertuner.Saver(net, optimizer=optimizer, monitor="val/loss", mode="min", keep_last=3)
logger = hypertuner.Logger()
inputs = torch.rand(64, 2)
targets = inputs.sum(1, keepdim=True)
for step in range(args.steps):
    loss = ((net(inputs) - targets) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    logger.log({"train/loss": loss.item(), "val/loss": loss.item() * 1.1}, step)
    print(f"step {step} loss {loss.item():.4f}", flush=True)
    if step % 5 == 4:
        saver.save(step=step)
    time.sleep(args.pause)
"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.fail("There is no Chromium: apt install chromium, or name one by CHROMIUM=/path/to/it")
    if not BUILT.exists():
        pytest.fail("The page is not built: make web")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Window:
    """Tabs of one browser that is logged in to one server."""

    context: BrowserContext
    served: Served
    problems: list[str] = field(default_factory=list)
    may_fail: bool = False
    """The test takes the server away: what then cannot be fetched is no fault of the page's."""

    def open(self, path: str = "/") -> Page:
        """A new tab, logged in, with the page ready."""
        tab = self.context.new_page()
        tab.set_default_timeout(_READY_MS)
        tab.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        tab.on("console", lambda line: self._hear(line.type, line.text))
        with (  # both at once; whoever goes on to another address needs the cookie of the second
            tab.expect_response(lambda answer: "/api/session" in answer.url and answer.ok),
            tab.expect_response(lambda answer: "/api/login" in answer.url and answer.ok),
        ):
            tab.goto(f"http://{self.served.host}{path}#token={self.served.token}")
        return tab

    def go(self, tab: Page, path: str) -> None:
        """Another address of the same server, in the same tab."""
        tab.goto(f"http://{self.served.host}{path}")

    def _hear(self, kind: str, text: str) -> None:
        is_missing = "Failed to load" in text or "Refused to apply style" in text
        if kind in ("error", "warning") and not ((self.may_fail and is_missing) or "WebSocket" in text):
            self.problems.append(f"{kind}: {text}")


@contextlib.contextmanager
def window_on(chromium: Browser, served: Served, **options: object) -> Iterator[Window]:
    """A fresh browser profile. What went wrong in the page fails the test as it is closed."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, **options)  # type: ignore[arg-type]
    window = Window(context, served)
    try:
        yield window
    finally:
        context.close()
    assert window.problems == []


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with train.py and four runs of it, one of which failed; copied for each test."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.py").write_text(textwrap.dedent(TRAIN))
    environment = script_environment(
        {"HYPERTUNER_STORAGE": str(folder / "storage"), "HYPERTUNER_HOME": str(folder / "home")}
    )

    def hypertuner(*words: str, code: int = 0) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "hypertuner", *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout

    hypertuner("run", "train.py", "learning_rate=0.1", "--name", "calm-otter")
    hypertuner("run", "train.py", "learning_rate=0.3", "--name", "swift-fjord")
    hypertuner("run", "train.py", "learning_rate=0.01", "hidden=8", "--name", "bright-maple")
    hypertuner("run", "train.py", "hidden=0", "steps=-1", "--name", "no-steps")
    (folder / "broken.py").write_text(
        "import hypertuner\nhypertuner.Logger().log({'loss': 1.0})\n"
        "print('before')\nraise ValueError('no such data set')\n"
    )
    hypertuner("run", "broken.py", "--name", "broken-crow", "--queue")
    hypertuner("queue", "--cpu", code=1)
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained project, for one test alone."""
    shutil.copytree(trained, tmp_path, symlinks=True, dirs_exist_ok=True)
    for record in tmp_path.glob("storage/*/run.json"):  # the script that may be started again is this one
        record.write_text(record.read_text().replace(str(trained), str(tmp_path)))
    return tmp_path


@pytest.fixture
def window(chromium: Browser, project: Path) -> Iterator[Window]:
    """A browser at the GUI of the trained project."""
    with serving(project, "train.py") as served, window_on(chromium, served) as made:
        yield made


@pytest.fixture
def serve(chromium: Browser) -> Iterator[Callable[..., Window]]:
    """`serve(folder, *words)`: a browser at the GUI of another folder."""
    with contextlib.ExitStack() as stack:

        def make(folder: Path, *words: object, **options: object) -> Window:
            served = stack.enter_context(serving(folder, *words))
            return stack.enter_context(window_on(chromium, served, **options))

        yield make
