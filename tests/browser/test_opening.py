"""What somebody sees who opens the GUI."""

from __future__ import annotations

from tests.browser.conftest import Window
from tests.browser.seen import chart, wait_until_drawn


def test_the_page_opens_on_the_runs_and_the_token_leaves_the_address(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    assert "#token" not in tab.url
    wait_until_drawn(chart(tab, "train/loss"))
    wait_until_drawn(chart(tab, "val/loss"))
