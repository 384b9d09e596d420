"""Many runs, long curves: rows are there, the last one can be reached, a filter works; only what is in view exists."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.runs_made import make_folders, make_thin
from playwright.sync_api import Page, expect
from tests.browser.conftest import Window
from tests.browser.seen import LONG_MS, chart, coloured, names, until, wait_until_drawn
from tests.server import made


def walk(window: Window, count: int) -> None:
    """From the first run to the last, and to a few of them."""
    tab = window.open()
    grid = tab.get_by_role("grid", name="Runs")
    expect(grid).to_have_attribute("aria-rowcount", str(count + 1), timeout=LONG_MS)
    until(tab, lambda: len(names(tab)) > 10, "rows are there")
    assert len(names(tab)) < 100, "only rows in view are in the page"
    first = names(tab)[0]
    grid.focus()
    tab.keyboard.press("End")
    until(tab, lambda: tab.locator(f"#row-{count - 1} button").count() == 1, "the last run is there")
    tab.keyboard.press("Home")
    until(tab, lambda: first in names(tab), "the first run is back")
    for share in (0.3, 0.5, 0.8):
        grid.evaluate("(box, share) => { box.scrollTop = (box.scrollHeight - box.clientHeight) * share; }", share)
        until(tab, lambda: len(names(tab)) > 10, "rows are there in the middle")
    tab.keyboard.press("/")
    tab.keyboard.type("learning_rate < 0.02 and dropout < 0.5")
    matched = tab.get_by_text(f"of {count:,} runs")
    expect(matched).to_be_visible(timeout=LONG_MS)
    until(tab, lambda: len(names(tab)) > 10, "the filtered rows are there")


def test_two_thousand_runs(serve, tmp_path: Path):
    make_thin(tmp_path / "storage", 2_000)
    walk(serve(tmp_path), 2_000)


def test_select_all_takes_every_run_that_matches_and_says_how_many_the_charts_show(serve, tmp_path: Path):
    make_folders(tmp_path / "storage", 500, 2)
    window = serve(tmp_path)
    tab = window.open("/runs?q=dropout < 0.6")
    expect(tab.get_by_text(" of 500 runs")).to_be_visible(timeout=LONG_MS)
    matched = window.served.ask("GET", "/api/runs?query=dropout%20%3C%200.6&limit=1").json["matched"]
    assert 200 < matched < 500
    expect(tab.get_by_text(f"{matched} of 500 runs")).to_be_visible(timeout=LONG_MS)
    tab.get_by_role("checkbox", name="Select all").click()
    expect(tab.get_by_text(f"{matched} runs", exact=True).first).to_be_visible()
    expect(tab.get_by_text("charts show the newest 200")).to_be_visible()
    tab.reload()
    expect(tab.get_by_text(f"{matched} runs", exact=True).first).to_be_visible()
    tab.get_by_role("button", name=f"Star {matched} runs").click()
    until(
        tab, lambda: window.served.ask("GET", "/api/runs?query=starred").json["matched"] == matched, "all are starred"
    )
    # One fewer of so many is more than an address holds, and that is said.
    tab.get_by_role("gridcell").get_by_role("checkbox").first.click()
    expect(tab.get_by_text(f"200 of these {matched - 1} runs are selected")).to_be_visible()


@pytest.mark.slow
def test_a_hundred_thousand_runs(serve, tmp_path: Path):
    make_thin(tmp_path / "storage", 100_000)
    walk(serve(tmp_path), 100_000)


@pytest.mark.slow
def test_ten_thousand_runs_with_their_folders(serve, tmp_path: Path):
    make_folders(tmp_path / "storage", 10_000, 5)
    walk(serve(tmp_path), 10_000)


def many_curves(storage: Path, runs: int, points: int) -> None:
    for number in range(runs):
        run = made.make_run(storage, f"run-{number:03}", {"seed": number})
        attempt = made.start(run)
        for step in range(points):
            made.log(
                attempt, step, {f"part-{part}/loss": 1 / (1 + step) + number / runs for part in range(3)}, when=step
            )
        made.end(run, attempt)


def see_curves(tab: Page, runs: int, low: str, high: str) -> None:
    expect(tab.get_by_role("grid", name="Runs")).to_have_attribute("aria-rowcount", str(runs + 1), timeout=LONG_MS)
    until(tab, lambda: len(names(tab)) > 15)
    tab.get_by_role("checkbox", name="Select all").click()
    for metric in ("part-0/loss", "part-1/loss"):
        card = chart(tab, metric)
        wait_until_drawn(card, more_than=200)
        # The last point of each curve: 1 / points, and what tells the runs apart.
        said = f"{metric} of {runs} runs: from {low} (run-000) to {high} (run-{runs - 1:03}) at their ends."
        expect(card.get_by_role("img", name=said)).to_be_visible(timeout=LONG_MS)


def test_twenty_curves_of_a_thousand_points(serve, tmp_path: Path):
    many_curves(tmp_path / "storage", 20, 1_000)
    see_curves(serve(tmp_path).open(), 20, "0.001", "0.951")


@pytest.mark.slow
def test_a_hundred_curves_of_ten_thousand_points(serve, tmp_path: Path):
    many_curves(tmp_path / "storage", 100, 10_000)
    see_curves(serve(tmp_path).open(), 100, "1e-4", "0.9901")


def test_only_charts_in_view_are_mounted(serve, tmp_path: Path):
    run = made.make_run(tmp_path / "storage", "wide", {})
    attempt = made.start(run)
    for step in range(3):
        made.log(attempt, step, {f"layer-{number:03}": step + number for number in range(300)})
    made.end(run, attempt)
    tab = serve(tmp_path).open()
    wait_until_drawn(chart(tab, "layer-000"))
    assert tab.locator("canvas").count() <= 24
    chart(tab, "layer-000").evaluate(
        "card => { let box = card; while (box.scrollHeight <= box.clientHeight + 50) box = box.parentElement;"
        " box.scrollTop = box.scrollHeight; }"
    )
    wait_until_drawn(chart(tab, "layer-299"))
    assert tab.locator("canvas").count() <= 24
    assert chart(tab, "layer-000").count() == 0


@pytest.mark.parametrize("smooth", [0, 0.6])
def test_a_spike_of_one_step_among_ten_thousand_is_seen(serve, tmp_path: Path, smooth: float):
    run = made.make_run(tmp_path / "storage", "spiky", {})
    attempt = made.start(run)
    for step in range(10_000):
        made.log(attempt, step, {"loss": 10.0 if step == 6_789 else 0.5}, when=step)
    made.end(run, attempt)
    tab = serve(tmp_path).open(f"/runs?sel=spiky&chart=loss&smooth={smooth}")
    card = chart(tab, "loss")
    wait_until_drawn(card, more_than=200)
    columns = card.locator("canvas").first.evaluate(
        """canvas => {
            const { width, height } = canvas;
            const copy = Object.assign(document.createElement('canvas'), { width, height });
            const context = copy.getContext('2d', { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const { data } = context.getImageData(0, 0, width, height);
            const found = [];
            for (let x = 0; x < width; x++) {
                let count = 0;
                for (let y = 0; y < height / 2; y++) {
                    const [r, g, b, a] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
                    if (a > 20 && Math.max(r, g, b) - Math.min(r, g, b) > 15) count += 1;
                }
                if (count > height / 8) found.push(x / width);
            }
            return found;
        }"""
    )
    assert columns, "the spike is drawn, up to the upper half"
    assert all(0.6 < at < 0.75 for at in columns), "where it is"
    assert coloured(card)
