"""What somebody sees who opens the GUI."""

from __future__ import annotations

from pathlib import Path

from tests.browser.conftest import Window
from tests.browser.seen import chart, until, wait_until_drawn
from tests.server.made import trained


def test_the_page_opens_on_the_runs_and_the_token_leaves_the_address(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    assert "#token" not in tab.url
    wait_until_drawn(chart(tab, "train/loss"))
    wait_until_drawn(chart(tab, "val/loss"))


def test_the_first_rows_are_asked_for_once_before_the_page_is_there_to_show_them(window: Window):
    tab = window.open("/runs?sel=calm-otter,swift-fjord")
    wait_until_drawn(chart(tab, "train/loss"))
    asked = tab.evaluate(
        """performance.getEntriesByType('resource').map(one => [
            one.name.replace(location.origin, ''), one.startTime, one.responseEnd])"""
    )
    known = next(end for name, _, end in asked if name == "/api/session")
    for what in ("/api/runs?offset=0&limit=200", "/api/runs/rows?name=calm-otter&name=swift-fjord"):
        (begun,) = [begun for name, begun, _ in asked if name == what]
        assert begun < known


def test_what_happened_while_the_page_was_loading_is_shown(serve, tmp_path: Path):
    storage = tmp_path / "storage"
    trained(storage, "one", {"lr": 0.1}, [0.5, 0.4])
    window = serve(tmp_path)
    root = f"http://{window.served.host}"

    def hold(route) -> None:
        """Who we are is answered once there is another run, and the server knows it; the rows were answered before."""
        answer = route.fetch()
        route.request.frame.page.wait_for_timeout(500)
        trained(storage, "two", {"lr": 0.2}, [0.6, 0.3])
        headers = {"Authorization": f"Bearer {window.served.token}"}
        until(
            route.request.frame.page,
            lambda: window.context.request.get(f"{root}/api/runs", headers=headers).json()["matched"] == 2,
            "the server knows both",
        )
        route.request.frame.page.wait_for_timeout(3000)  # and has looked again: it has nothing more to tell
        route.fulfill(response=answer)

    window.context.route("**/api/session", hold, times=1)
    tab = window.open()
    tab.get_by_role("grid").get_by_text("two").first.wait_for(timeout=10_000)
    until(tab, lambda: chart(tab, "train/loss").get_by_text("two").count() > 0, "its curve is drawn, too")
