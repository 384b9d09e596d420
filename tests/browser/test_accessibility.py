"""Everybody can use it: no serious finding of axe in any place and theme, and a keyboard is enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import Window, window_on
from tests.browser.seen import LONG_MS, chart, names, until, wait_until_drawn
from tests.conftest import REPOSITORY
from tests.server.serving import serving

AXE = REPOSITORY / "web" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
PLACES = {
    "/runs": "calm-otter",
    "/insight?target=train/loss": "learning_rate",
    "/models": "calm-otter",
    "/queue": "waits",
    "/runs?new=calm-otter": "New run from calm-otter",
    "/runs?run=calm-otter&tab=config": "learning_rate",
    "/runs?run=broken-crow": "no such data set",
    "/models?model=calm-otter@19": "0.weight",
    "/runs?group=learning_rate": "0.01",
}
"""What axe looks at, and a text that says that it is there."""


@pytest.fixture(scope="module", params=["light", "dark"])
def themed(request, chromium: Browser, trained) -> Iterator[Window]:
    with (
        serving(trained, "train.py") as served,
        window_on(
            chromium,
            served,
            color_scheme=request.param,
            reduced_motion="reduce",  # what is still fading in has no contrast yet
        ) as made,
    ):
        yield made


def findings(tab: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page: rule, where, what."""
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {node['html'][:160]} | {node['failureSummary'][:300]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def test_nothing_serious_stands_in_anybodys_way(themed: Window):
    tab = themed.open()
    found = {}
    for place, text in PLACES.items():
        themed.go(tab, place)
        expect(tab.locator("body")).to_contain_text(text, timeout=LONG_MS)
        found[place] = findings(tab)
    assert found == {place: [] for place in PLACES}


def focused(tab: Page) -> str:
    """The name and role of what has the focus."""
    return str(
        tab.evaluate(
            "() => { const e = document.activeElement;"
            " return `${e.getAttribute('role') ?? e.tagName.toLowerCase()} ${e.getAttribute('aria-label') ?? ''}` }"
        )
    )


def test_a_keyboard_is_enough_from_the_filter_to_a_new_run(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    keys = tab.keyboard
    keys.press("/")
    assert focused(tab) == "combobox Filter runs"
    keys.type("learning_rate < 0.2")
    until(tab, lambda: "swift-fjord" not in names(tab), "the filter is taken over")
    keys.press("Escape")
    keys.press("Escape")
    keys.press("j")
    assert focused(tab) == "grid Runs"
    keys.press("k")
    keys.press("ArrowDown")
    keys.press("Space")
    until(tab, lambda: "sel=" in tab.url, "a run was selected")
    keys.press("Enter")
    panel = tab.get_by_role("dialog")
    panel.wait_for()
    opened = tab.evaluate("() => new URLSearchParams(location.search).get('run')")
    expect(panel.get_by_role("heading", name=opened)).to_be_visible()
    keys.press("[")
    until(tab, lambda: f"run={opened}" not in tab.url, "the previous run")
    keys.press("Escape")
    expect(panel).to_be_hidden()
    assert focused(tab) == "grid Runs"
    keys.press("n")
    expect(panel.get_by_role("heading", name="New run")).to_be_visible()
    keys.press("Escape")
    expect(panel).to_be_hidden()
    keys.press("2")
    until(tab, lambda: "/insight" in tab.url)
    keys.press("1")
    until(tab, lambda: "/runs" in tab.url)


def test_the_keys_are_listed_and_sleep_while_one_types(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    tab.keyboard.press("?")
    dialog = tab.get_by_role("dialog", name="Keys")
    for does in ("Filter runs", "New run", "Log y", "Next run", "Commands"):
        expect(dialog.get_by_text(does, exact=True).first).to_be_visible()
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    before = tab.url
    tab.keyboard.press("/")
    tab.keyboard.type("n")  # were it a key, the sheet would open
    expect(tab.get_by_role("combobox", name="Filter runs")).to_have_value("n")
    expect(tab.get_by_role("dialog")).to_have_count(0)
    assert tab.url == before


def test_single_letters_can_be_switched_off(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    tab.keyboard.press("?")
    tab.get_by_role("dialog").get_by_text("Single letters are keys").click()
    tab.keyboard.press("Escape")
    tab.keyboard.press("n")
    tab.keyboard.press("l")
    expect(tab.get_by_role("dialog")).to_have_count(0)
    assert "log=" not in tab.url
    tab.keyboard.press("Control+k")
    expect(tab.get_by_role("dialog")).to_be_visible()


def test_a_chart_can_be_read_without_seeing_it(window: Window):
    tab = window.open("/runs?sel=calm-otter")
    card = chart(tab, "train/loss")
    wait_until_drawn(card)
    expect(card.get_by_role("img")).to_have_attribute("aria-label", "train/loss of calm-otter: 0.06145 at its end.")


def test_nothing_moves_for_those_who_asked_for_that(chromium: Browser, project):
    with (
        serving(project, "train.py") as served,
        window_on(chromium, served, reduced_motion="reduce") as window,
    ):
        tab = window.open("/runs?run=calm-otter")
        tab.get_by_role("dialog").wait_for()
        moving = tab.evaluate(
            """() => [...document.querySelectorAll('*')].filter(e => {
                const { animationName, animationDuration, transitionDuration } = getComputedStyle(e);
                const lasts = text => text.split(',').some(one => parseFloat(one) > 0.01);
                return (animationName !== 'none' && lasts(animationDuration)) || lasts(transitionDuration);
            }).map(e => e.outerHTML.slice(0, 120))"""
        )
    assert moving == []
