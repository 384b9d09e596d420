"""What is on the screen, asked as precisely as a test needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

LONG_MS = 120_000
"""A run that imports torch on a machine that has other things to do."""

# Pixels of a canvas that are as saturated as curves are: grid and text are grey. Of a copy, which says that it is read.
_COLOURED = """(canvas, opacity) => {
    const { width, height } = canvas;
    if (!width || !height) return 0;
    const copy = Object.assign(document.createElement('canvas'), { width, height });
    const context = copy.getContext('2d', { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
        const most = Math.max(data[i], data[i + 1], data[i + 2]);
        const least = Math.min(data[i], data[i + 1], data[i + 2]);
        if (data[i + 3] > opacity && most - least > 40) count += 1;
    }
    return count;
}"""
_EVERY_MS = 50


def until(tab: Page, holds: Callable[[], object], what: str = "") -> None:
    """Wait for it. (The page's content policy forbids what Playwright's own wait_for_function does.)"""
    end = time.monotonic() + LONG_MS / 1000
    while not holds():
        assert time.monotonic() < end, f"it never came to hold: {what}"
        tab.wait_for_timeout(_EVERY_MS)


def chart(tab: Page, metric: str) -> Locator:
    """The card of a metric, in the charts beside the table."""
    return tab.locator(f"[data-metric={metric!r}]").first


def coloured(card: Locator, least: int = 60) -> int:
    """How many pixels of its canvas are coloured, and more opaque than that (of 255): bands are some 40."""
    return int(card.locator("canvas").first.evaluate(_COLOURED, least))


def wait_until_drawn(card: Locator, more_than: int = 0) -> int:
    """Until more pixels than that are coloured; how many are."""
    card.locator("canvas").first.wait_for(timeout=LONG_MS)
    until(card.page, lambda: coloured(card) > more_than, "a curve is drawn")
    return coloured(card)


def row(tab: Page, name: str) -> Locator:
    """The row of a run in the table."""
    return (
        tab.get_by_role("grid", name="Runs")
        .get_by_role("row")
        .filter(has=tab.get_by_role("button", name=name, exact=True))
    )


def names(tab: Page) -> list[str]:
    """Of the runs whose rows are in the table, from the top."""
    return tab.get_by_role("grid", name="Runs").get_by_role("row").locator("button[class*=name]").all_inner_texts()


def await_state(tab: Page, name: str, state: str) -> None:
    """Until the table says it of a run."""
    expect(row(tab, name)).to_contain_text(state, timeout=LONG_MS)


def numbers(card: Locator) -> dict[str, list[str]]:
    """A chart as its table says it: run → points, last step, first, lowest, highest, last."""
    card.get_by_role("button", name="More").click()
    card.page.get_by_role("menuitem", name="Show as table").click()
    dialog = card.page.get_by_role("dialog")
    dialog.get_by_role("rowheader").first.wait_for()
    said: Any = dialog.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.children].map(cell => cell.innerText.trim()))"
    )
    card.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    return {cells[0].split()[-1]: cells[1:] for cells in said}
