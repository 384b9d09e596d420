"""The whole view is in the address, and the page needs no other host than its server."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import Window, window_on
from tests.browser.seen import chart, names, until, wait_until_drawn


def view(tab: Page) -> dict[str, object]:
    """What stands on the screen, as far as somebody chose it."""
    return {
        "runs": names(tab),
        "selected": tab.get_by_role("grid", name="Runs").locator("[aria-selected=true]").count(),
        "columns": tab.get_by_role("columnheader").all_inner_texts(),
        "sorted": tab.locator("[aria-sort=ascending], [aria-sort=descending]").all_inner_texts(),
        "x": tab.get_by_role("combobox", name="X axis").input_value(),
        "log": tab.get_by_role("checkbox", name="Log y").is_checked(),
        "smooth": tab.get_by_role("slider", name="Smooth").input_value(),
        "query": tab.get_by_role("combobox", name="Filter runs").input_value(),
        "charts": tab.locator("[data-metric]").count(),
        "summary": chart(tab, "val/loss").get_by_role("img").first.get_attribute("aria-label"),
    }


def test_a_reload_and_the_address_in_another_browser_show_the_same(window: Window, chromium: Browser):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    tab.keyboard.press("/")
    tab.keyboard.type("learning_rate > 0.05")
    until(tab, lambda: "bright-maple" not in names(tab))
    tab.get_by_role("columnheader", name="val/loss").get_by_role("button").click()
    tab.get_by_role("checkbox", name="Show calm-otter in the charts").click()
    tab.get_by_role("combobox", name="X axis").select_option("time")
    tab.get_by_role("checkbox", name="Log y").click()
    tab.get_by_role("slider", name="Smooth").fill("0.6")
    until(tab, lambda: "smooth=0.6" in tab.url)
    wait_until_drawn(chart(tab, "val/loss"))
    before = view(tab)
    address = tab.url
    tab.reload()
    wait_until_drawn(chart(tab, "val/loss"))
    until(tab, lambda: view(tab) == before, "a reload shows the same")
    with window_on(chromium, window.served) as other:
        there = other.open(address.partition(window.served.host)[2])
        wait_until_drawn(chart(there, "val/loss"))
        until(there, lambda: view(there) == before, "another browser shows the same")
        assert there.url == address


def test_back_takes_back_what_was_done(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    tab.get_by_role("button", name="calm-otter", exact=True).click()
    tab.get_by_role("dialog").wait_for()
    tab.go_back()
    expect(tab.get_by_role("dialog")).to_be_hidden()


def test_nothing_is_asked_of_another_host(window: Window):
    hosts: set[str] = set()
    window.context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    tab = window.open()
    tab.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))
    for place, text in {
        "/runs": "calm-otter",
        "/insight": "learning_rate",
        "/models?model=calm-otter@19": "calm-otter",
        "/queue": "Queue",
        "/runs?run=calm-otter&tab=files": "calm-otter",
        "/runs?new=calm-otter": "New run from",
    }.items():
        window.go(tab, place)
        expect(tab.locator("body")).to_contain_text(text)
        tab.wait_for_load_state("networkidle")
    assert hosts == {window.served.host}
    linked = tab.evaluate(
        "() => [...performance.getEntriesByType('resource').map(one => one.name),"
        " ...[...document.querySelectorAll('[src],[href]')].map(one => one.src || one.href)]"
        ".map(one => new URL(one, location).host)"
    )
    assert set(linked) == {window.served.host}
