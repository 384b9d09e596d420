"""The list of checkpoints: which columns it has, and what it is sorted by."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.browser.conftest import Window
from tests.browser.seen import until


def test_checkpoints_show_the_settings_that_made_them_and_are_sorted_by_any(window: Window):
    tab = window.open("/models")
    column = tab.get_by_role("button", name="Sort by learning_rate", exact=True)
    expect(column).to_be_visible()
    column.click()
    rows = tab.get_by_role("button", name="at step")
    expect(rows.first).to_have_attribute("aria-label", re.compile("bright-maple at step"))
    until(tab, lambda: "msort=config.learning_rate" in tab.url)
    column.click()
    expect(rows.first).to_have_attribute("aria-label", re.compile("swift-fjord at step"))
    tab.get_by_role("button", name="Columns").click()
    tab.get_by_role("checkbox", name="steps", exact=True).check()
    expect(tab.get_by_role("button", name="Sort by steps")).to_be_visible()
    tab.get_by_role("checkbox", name="val/loss", exact=True).uncheck()
    expect(tab.get_by_role("button", name="Sort by val/loss")).to_have_count(0)
    until(tab, lambda: "mcols" in tab.url)
