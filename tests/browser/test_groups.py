"""Runs grouped by their settings: a mean and its spread in the table and in the charts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.seen import chart, coloured, numbers, until, wait_until_drawn
from tests.server.made import trained


@pytest.fixture
def grouped(serve, tmp_path: Path) -> Page:
    """Three seeds of one learning rate, and two of another, of which one logged a single step."""
    for seed, losses in enumerate([[1.0, 0.5, 0.25], [2.0, 1.0, 0.25], [3.0, 1.5, 0.25]]):
        trained(tmp_path / "storage", f"low-{seed}", {"lr": 0.1, "seed": seed}, losses)
    trained(tmp_path / "storage", "high-0", {"lr": 0.5, "seed": 0}, [4.0, 4.0, 4.0])
    trained(tmp_path / "storage", "high-1", {"lr": 0.5, "seed": 1}, [6.0])
    return serve(tmp_path).open("/runs")


def drawing(card: Locator) -> Locator:
    """What says in words what is drawn."""
    return card.get_by_role("img", name="train/loss")


def group_by(tab: Page, what: str) -> Locator:
    """Choose it in the menu; the chart of the loss."""
    tab.get_by_role("columnheader", name="lr").wait_for()  # until then nobody knows what differs
    tab.get_by_role("button", name="Group", exact=True).click()
    tab.get_by_role("menuitemcheckbox", name=what, exact=True).click()
    return chart(tab, "train/loss")


def test_grouped_charts_draw_one_mean_a_group_and_say_of_how_many_runs(grouped: Page):
    card = group_by(grouped, "everything but the seed")
    expect(drawing(card)).to_have_attribute(
        "aria-label",
        "train/loss of 2 groups: from 0.25 (lr 0.1: mean of 3 runs) to 4 (lr 0.5: mean of 2 runs) at their ends.",
    )
    expect(card).to_contain_text(re.compile(r"0\.1\s*×3.*0\.5\s*×2", re.DOTALL))
    assert "group=lr" in grouped.url
    card.get_by_role("button", name="More").click()
    grouped.get_by_role("menuitem", name="Show as table").click()
    rows = grouped.get_by_role("dialog").locator("tbody tr")
    # points, last step, first, lowest, highest, last, std at the end, runs
    expect(rows.nth(0)).to_have_text(re.compile(r"lr 0\.1\s*3\s*2\s*2\s*0\.25\s*2\s*0\.25\s*0\s*3"))
    expect(rows.nth(1)).to_have_text(re.compile(r"lr 0\.5\s*3\s*2\s*5\s*4\s*5\s*4\s*0\s*2"))


def test_the_crosshair_reads_mean_and_spread_and_of_how_many_runs_they_are(grouped: Page):
    card = group_by(grouped, "lr")
    wait_until_drawn(card)
    over = card.locator(".u-over")
    box = over.bounding_box()
    assert box
    # At step 1 the lower group is 0.5, 1 and 1.5, the upper one has lost a run: 4 of a range of some 0.25 to 6.4.
    for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9):
        over.hover(position={"x": box["width"] / 2, "y": box["height"] * share})
        said = card.locator("header").inner_text()
        if re.search(r"lr 0\.1\s*1 ± 0\.5\s*at 1, 3 runs", said):
            break
    else:
        pytest.fail(said)
    for share in (0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5):
        over.hover(position={"x": box["width"] / 2, "y": box["height"] * share})
        said = card.locator("header").inner_text()
        if re.search(r"lr 0\.5\s*4\s*at 1, 1 of 2 runs", said):
            break
    else:
        pytest.fail(said)


def test_each_run_is_one_key_away_and_in_the_address(grouped: Page):
    card = group_by(grouped, "lr")
    wait_until_drawn(card)
    assert coloured(card, least=20) > 3 * coloured(card), "bands are paler than curves, and wider"
    grouped.keyboard.press("b")
    until(grouped, lambda: coloured(card, least=20) < 2 * coloured(card), "the bands are gone, the means are there")
    grouped.keyboard.press("m")
    expect(drawing(card)).to_have_attribute("aria-label", re.compile(r"^train/loss of 5 runs: "))
    expect(grouped).to_have_url(re.compile("curves=each"))
    assert len(numbers(card)) == 5
    grouped.get_by_role("radio", name="Mean ± std").click()
    expect(drawing(card)).to_have_attribute("aria-label", re.compile(r"^train/loss of 2 groups: "))


def test_a_chosen_group_is_the_only_mean(grouped: Page):
    card = group_by(grouped, "lr")
    table = grouped.get_by_role("grid", name="Groups of runs")
    colour = table.get_by_role("row").filter(has_text="0.5").get_by_role("img").get_attribute("aria-label")
    table.get_by_role("row").filter(has_text="0.5").click()
    expect(drawing(card)).to_have_attribute("aria-label", "train/loss of lr 0.5: mean of 2 runs: 4 at its end.")
    expect(card.locator("header").get_by_role("img")).to_have_attribute("aria-label", colour or "")
