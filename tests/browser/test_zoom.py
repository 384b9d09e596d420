"""What is dragged over in a chart is what its axes then show: read off the numbers that they write."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.conftest import Window
from tests.browser.seen import chart, until, wait_until_drawn
from tests.server.made import log, make_run, start

# What a canvas says since it was last wiped.
HEAR = """
const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.clearRect = function (...where) {
    this.canvas.said = [];
    return clearRect.apply(this, where);
};
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    (this.canvas.said ??= []).push({ text, x: x / devicePixelRatio, y: y / devicePixelRatio, side: this.textAlign });
    return fillText.call(this, text, x, y);
};
"""


@dataclass
class Axis:
    """From its first and last number: which value is at which pixel."""

    low: tuple[float, float]
    high: tuple[float, float]
    is_log: bool

    def at(self, pixel: float) -> float:
        """The value there."""
        share = (pixel - self.low[0]) / (self.high[0] - self.low[0])
        if not self.is_log:
            return self.low[1] + share * (self.high[1] - self.low[1])
        return math.exp(math.log(self.low[1]) + share * math.log(self.high[1] / self.low[1]))


def axis(card: Locator, which: str, *, is_log: bool = False) -> Axis:
    """Pixels are counted from the left, or the top, of the canvas."""
    side = {"x": "center", "y": "right"}[which]
    said = card.locator("canvas").first.evaluate("canvas => canvas.said")
    ticks = [(one[which], float(one["text"].replace("−", "-"))) for one in said if one["side"] == side]
    assert len(ticks) > 1, said
    return Axis(min(ticks, key=lambda one: one[1]), max(ticks, key=lambda one: one[1]), is_log)


def ends(card: Locator, which: str, *, is_log: bool = False) -> tuple[float, float]:
    """The least and the greatest value that an axis has room for."""
    canvas, over = card.locator("canvas").first.bounding_box(), card.locator(".u-over").bounding_box()
    assert canvas and over
    found = axis(card, which, is_log=is_log)
    if which == "x":
        return found.at(over["x"] - canvas["x"]), found.at(over["x"] + over["width"] - canvas["x"])
    top = over["y"] - canvas["y"]
    return found.at(top + over["height"]), found.at(top)


def drag(card: Locator, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place to another, in shares of the room between the axes."""
    over = card.locator(".u-over").bounding_box()
    assert over
    mouse = card.page.mouse
    mouse.move(over["x"] + begin[0] * over["width"], over["y"] + begin[1] * over["height"])
    mouse.down()
    mouse.move(over["x"] + end[0] * over["width"], over["y"] + end[1] * over["height"], steps=4)
    mouse.up()


def is_near(found: tuple[float, float], expected: tuple[float, float], *, is_log: bool = False) -> bool:
    """By some pixels of some hundred."""
    if is_log:
        found, expected = (math.log(found[0]), math.log(found[1])), (math.log(expected[0]), math.log(expected[1]))
    span = expected[1] - expected[0]
    return all(abs(one - other) < 0.04 * span for one, other in zip(found, expected, strict=True))


def part(whole: tuple[float, float], low: float, high: float, *, is_log: bool = False) -> tuple[float, float]:
    """Of a range."""
    if is_log:
        between = part((math.log(whole[0]), math.log(whole[1])), low, high)
        return math.exp(between[0]), math.exp(between[1])
    return whole[0] + low * (whole[1] - whole[0]), whole[0] + high * (whole[1] - whole[0])


@pytest.fixture
def live(serve, tmp_path: Path):
    """A run that goes on: its page, and what logs a step more."""
    run = make_run(tmp_path / "storage", "calm-otter")
    attempt = start(run)
    steps = iter(range(1000))

    def more(loss: float) -> None:
        step = next(steps)
        log(attempt, step, {"loss": loss, "accuracy": 1 / loss})

    for at in range(41):
        more(10 ** (1 - at / 20))
    window: Window = serve(tmp_path)
    window.context.add_init_script(HEAR)
    return window, more


def ready(window: Window, path: str = "/runs") -> Page:
    """With both charts drawn."""
    tab = window.open(path)
    for metric in ("loss", "accuracy"):
        wait_until_drawn(chart(tab, metric))
    return tab


@pytest.mark.parametrize("is_log", [False, True])
def test_a_drag_upwards_zooms_y_of_one_chart_until_it_is_taken_back(live, is_log: bool):
    window, more = live
    tab = ready(window, "/runs?log=y" if is_log else "/runs")
    loss, accuracy = chart(tab, "loss"), chart(tab, "accuracy")
    whole, beside, along = ends(loss, "y", is_log=is_log), ends(accuracy, "y"), ends(loss, "x")
    drag(loss, (0.5, 0.75), (0.53, 0.25))
    lower = part(whole, 0.25, 0.75, is_log=is_log)
    until(tab, lambda: is_near(ends(loss, "y", is_log=is_log), lower, is_log=is_log), "y is what was dragged over")
    assert is_near(ends(loss, "x"), along), "x is as it was"
    assert ends(accuracy, "y") == beside, "the other chart is as it was"

    more(100.0)
    until(tab, lambda: ends(accuracy, "y") != beside, "the new step is drawn")
    assert is_near(ends(loss, "y", is_log=is_log), lower, is_log=is_log), "what is logged beyond it moves nothing"
    until(tab, lambda: "zoomy=loss" in tab.url, "the address says it")
    tab.reload()
    wait_until_drawn(chart(tab, "accuracy"))
    until(tab, lambda: is_near(ends(loss, "y", is_log=is_log), lower, is_log=is_log), "a reload shows the same")
    tab.keyboard.press("0")
    until(tab, lambda: ends(loss, "y", is_log=is_log)[1] > 100, "all is there again")
    expect(tab.get_by_role("button", name="Reset zoom")).to_have_count(0)


def test_a_drag_sideways_zooms_x_of_all_charts_and_a_box_both(live):
    window, _ = live
    tab = ready(window)
    loss, accuracy = chart(tab, "loss"), chart(tab, "accuracy")
    x, y, beside = ends(loss, "x"), ends(loss, "y"), ends(accuracy, "y")
    drag(loss, (0.2, 0.5), (0.6, 0.52))
    for card in (loss, accuracy):
        until(tab, lambda card=card: is_near(ends(card, "x"), part(x, 0.2, 0.6)), "x is what was dragged over")
    expect(tab.get_by_role("button", name="Reset zoom")).to_be_visible()
    loss.locator(".u-over").dblclick(position={"x": 30, "y": 30})
    until(tab, lambda: is_near(ends(loss, "x"), x) and is_near(ends(loss, "y"), y), "all is there again")

    drag(loss, (0.1, 0.1), (0.5, 0.9))
    until(tab, lambda: is_near(ends(loss, "x"), part(x, 0.1, 0.5)), "x of the box")
    until(tab, lambda: is_near(ends(loss, "y"), part(y, 0.1, 0.9)), "y of the box")
    assert not is_near(ends(accuracy, "y"), part(beside, 0.1, 0.9)), "y of the other chart is not the box's"
    loss.locator(".u-over").dblclick(position={"x": 30, "y": 30})
    until(tab, lambda: is_near(ends(loss, "x"), x) and is_near(ends(loss, "y"), y), "all is there again")
    until(tab, lambda: "zoom" not in tab.url, "nor does the address say anything of it")


def test_the_list_of_keys_says_that_a_drag_zooms_either_axis(live):
    window, _ = live
    tab = ready(window)
    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog").get_by_text("Zoom to what is dragged over: x, y or both")).to_be_visible()
