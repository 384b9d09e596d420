"""What charts show, and what they say where there is nothing to show."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.browser.conftest import Window
from tests.browser.seen import chart, names, wait_until_drawn


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
