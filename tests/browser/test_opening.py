"""What somebody sees who opens the GUI."""

from __future__ import annotations

from tests.browser.conftest import Window


def test_the_page_opens_on_the_runs_and_the_token_leaves_the_address(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    assert "#token" not in tab.url
    assert tab.locator("canvas").count() >= 2
