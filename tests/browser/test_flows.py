"""The five things that people come for, in as few actions as the design promises, on runs that really train."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect
from tests.browser.conftest import Window
from tests.browser.hands import Hands
from tests.browser.seen import LONG_MS, await_state, chart, names, numbers, row, until, wait_until_drawn

QUICK = """
import time
import hypertuner

args = hypertuner.Args(learning_rate=0.1, steps=400, pause=0.02)
logger = hypertuner.Logger()
for step in range(args.steps):
    logger.log({"train/loss": 1 / (1 + step * args.learning_rate)}, step)
    time.sleep(args.pause)
"""


def test_the_first_run_takes_four_actions_and_its_curve_grows_by_itself(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text(QUICK)
    window = serve(tmp_path, "train.py")  # the first action: `hypertuner train.py`
    tab = window.open()
    hands = Hands(tab, ["hypertuner train.py"])
    expect(tab.get_by_text("No runs yet")).to_be_visible()
    hands.click(tab.get_by_role("banner").get_by_role("button", name="New run"))
    sheet = tab.get_by_role("dialog")
    expect(sheet.get_by_role("textbox", name="learning_rate")).to_have_value("0.1")
    hands.click(sheet.get_by_role("button", name="Run now"))
    drawn = wait_until_drawn(chart(tab, "train/loss"))
    assert hands.count <= 4
    wait_until_drawn(chart(tab, "train/loss"), more_than=drawn)  # it is live: nobody touched anything
    expect(sheet).to_be_hidden()


def test_the_best_of_all_runs_takes_three_actions(window: Window):
    tab = window.open()
    tab.get_by_text("calm-otter").first.wait_for()
    hands = Hands(tab)
    hands.type("/train/loss<0.3")
    expect(row(tab, "no-steps")).to_have_count(0, timeout=LONG_MS)
    hands.click(tab.get_by_role("columnheader", name="train/loss").get_by_role("button"))
    until(tab, lambda: "sort=train/loss" in tab.url)
    last = names(tab)[-1]
    hands.click(row(tab, last).get_by_role("gridcell").last, shift=True)
    assert hands.count == 3
    shown = names(tab)
    expect(tab.get_by_text(f"{len(shown)} runs").first).to_be_visible()
    expect(tab.get_by_role("region", name="What differs")).to_contain_text("learning_rate")
    wait_until_drawn(chart(tab, "train/loss"))
    assert set(numbers(chart(tab, "train/loss"))) == set(shown)
    ends = [float(numbers(chart(tab, "train/loss"))[name][-1]) for name in shown]
    assert ends == sorted(ends), "the best is first"


def test_weights_are_used_again_in_three_actions_and_the_childs_curve_goes_on_where_the_parents_was(window: Window):
    tab = window.open("/runs?sel=calm-otter")
    marks = chart(tab, "train/loss").get_by_role("button", name="Weights calm-otter@")
    marks.last.wait_for()
    hands = Hands(tab)
    hands.click(marks.last)
    sheet = tab.get_by_role("dialog")
    hands.put(sheet.get_by_role("textbox", name="learning_rate"), "0.05")
    expect(sheet.get_by_role("status").filter(has_text="fit").first).to_be_visible(timeout=LONG_MS)
    hands.press("Control+Enter")
    assert hands.count == 3
    sheet.wait_for(state="hidden", timeout=LONG_MS)
    until(tab, lambda: set(names(tab)) - BEFORE, "the child is in the table")
    (child,) = set(names(tab)) - BEFORE
    await_state(tab, child, "finished")

    asked = window.served.ask("GET", f"/api/lineage?run={child}&metric=train/loss").json
    assert [edge["parent"] for edge in asked["edges"] if edge["child"] == child] == ["calm-otter"]
    window.go(tab, f"/runs?sel=calm-otter,{child}&x=root")
    assert wait_until_drawn(chart(tab, "train/loss"))
    # The child's first mark stands where the parent's last is, and five of its steps on.
    places = {
        mark.get_attribute("aria-label"): mark.bounding_box()["x"]
        for mark in chart(tab, "train/loss").get_by_role("button", name="Weights ").all()
    }
    per_step = (places["Weights calm-otter@19"] - places["Weights calm-otter@4"]) / 15
    behind = (places[f"Weights {child}@4"] - places["Weights calm-otter@19"]) / per_step
    assert abs(behind - 4) < 1.2, places
    window.go(tab, "/models")
    tab.get_by_role("main").get_by_text("Family tree").click()
    tree = tab.get_by_role("main")
    expect(tree.get_by_text(child).first).to_be_visible()
    expect(tree.get_by_text("calm-otter").first).to_be_visible()
    expect(tree.get_by_text("learning_rate").first).to_be_visible()


BEFORE = {"calm-otter", "swift-fjord", "bright-maple", "no-steps", "broken-crow"}


def test_a_grid_of_values_is_queued_in_three_actions(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text(QUICK.replace("steps=400", "steps=2"))
    tab = serve(tmp_path, "train.py").open()
    tab.get_by_text("No runs yet").wait_for()
    hands = Hands(tab)
    hands.press("n")
    sheet = tab.get_by_role("dialog")
    hands.put(sheet.get_by_role("textbox", name="learning_rate"), "0.1, 0.2, 0.3")
    hands.click(sheet.get_by_role("button", name="Queue 3 runs"))
    assert hands.count == 3
    expect(tab.get_by_role("grid", name="Runs").get_by_text("finished")).to_have_count(3, timeout=LONG_MS)


def test_why_a_run_failed_is_one_action_away(window: Window):
    tab = window.open()
    tab.get_by_text("broken-crow").first.wait_for()
    hands = Hands(tab)
    hands.click(tab.get_by_role("button", name="broken-crow", exact=True))
    panel = tab.get_by_role("dialog")
    expect(panel.get_by_role("heading", name="no such data set")).to_be_visible()
    expect(panel).to_contain_text("before")  # the last lines that it printed
    assert hands.count == 1


def test_of_several_runs_the_mark_on_the_curve_that_is_pointed_at_begins_a_run_in_three_actions(window: Window):
    tab = window.open("/runs?sel=calm-otter,swift-fjord,bright-maple")
    card = chart(tab, "train/loss")
    wait_until_drawn(card)
    over = card.locator(".u-over")
    shared = card.get_by_role("button", name="Weights of 3 checkpoints").first
    shared.wait_for()
    marked, box = shared.bounding_box(), over.bounding_box()
    assert marked and box
    x = marked["x"] + marked["width"] / 2 - box["x"]
    # Down the line of the marks, to where the pointer says that one of them can be had.
    for y in range(2, int(box["height"]), 4):
        over.hover(position={"x": x, "y": y})
        if over.evaluate("over => over.style.cursor") == "pointer":
            break
    else:
        raise AssertionError("no mark on a curve")
    name = card.locator("[class*=who]").inner_text()
    hands = Hands(tab)
    hands.click(over, at=(x, y))
    sheet = tab.get_by_role("dialog")
    until(tab, lambda: f"parent={name}@" in tab.url, "it starts from that run's weights")
    hands.put(sheet.get_by_role("textbox", name="learning_rate"), "0.05")
    expect(sheet.get_by_role("status").filter(has_text="fit").first).to_be_visible(timeout=LONG_MS)
    hands.press("Control+Enter")
    assert hands.count == 3
    sheet.wait_for(state="hidden", timeout=LONG_MS)
    until(tab, lambda: set(names(tab)) - BEFORE, "the child is in the table")


def test_marks_that_coincide_ask_whose_is_meant(window: Window):
    tab = window.open("/runs?sel=calm-otter,swift-fjord")
    chart(tab, "train/loss").get_by_role("button", name="Weights of 2 checkpoints").last.click()
    asked = tab.get_by_role("menu")
    expect(asked.get_by_role("menuitem", name="swift-fjord@")).to_be_visible()
    asked.get_by_role("menuitem", name="calm-otter@").click()
    until(tab, lambda: "parent=calm-otter@" in tab.url, "it starts from that run's weights")
