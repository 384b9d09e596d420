"""What charts show, and what they say where there is nothing to show."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.browser.conftest import Window
from tests.browser.seen import chart, wait_until_drawn


def test_the_marks_of_weights_stand_where_their_steps_are_on_the_axis(window: Window):
    tab = window.open("/runs?sel=calm-otter,swift-fjord&log=y&chart=train/loss")
    card = chart(tab, "train/loss")
    wait_until_drawn(card)
    mark = card.get_by_role("button", name="Weights of 2 checkpoints").first
    mark.wait_for()
    tab.wait_for_timeout(500)  # for what would be drawn anew
    axis, strip = card.locator(".u-over").bounding_box(), mark.locator("..").bounding_box()
    assert axis and strip
    assert abs(axis["x"] - strip["x"]) < 1, (axis, strip)
    assert abs(axis["width"] - strip["width"]) < 1, (axis, strip)


def test_what_the_filter_hides_is_said_beside_the_charts(window: Window):
    tab = window.open("/runs?sel=calm-otter&q=learning_rate > 0.2")
    tab.get_by_role("button", name="1 of 1 hidden by the filter: show the matches").click()
    expect(chart(tab, "train/loss").get_by_role("img").first).to_have_attribute("aria-label", re.compile("swift-fjord"))
    window.go(tab, "/runs?q=learning_rate > 7")
    expect(tab.get_by_text("No run with a curve passes the filter").first).to_be_visible()
    expect(tab.get_by_text("No run is selected")).to_have_count(0)


def test_a_chart_over_a_metric_that_a_run_never_logged_says_so(window: Window):
    tab = window.open("/runs?sel=calm-otter&x=m:val/acc&chart=train/loss")
    expect(chart(tab, "train/loss")).to_contain_text("calm-otter did not log val/acc.")
