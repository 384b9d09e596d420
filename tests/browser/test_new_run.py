"""What the New run sheet says of what is typed, and who may open it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect
from tests.browser.conftest import Window
from tests.browser.seen import LONG_MS
from tests.conftest import script_environment

DECLARES = """
import hypertuner

args = hypertuner.Args(learning_rate=0.1, layers=[8], width=4)
"""


def test_a_wrong_field_leaves_what_is_said_of_the_others(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text(DECLARES)
    tab = serve(tmp_path, "train.py").open("/runs?new=")
    sheet = tab.get_by_role("dialog")
    sheet.get_by_role("button", name="Paste JSON or YAML").click()
    sheet.get_by_role("textbox", name="Settings as JSON or YAML").fill("lerning_rate: 0.2")
    sheet.get_by_role("button", name="Use 1 setting").click()
    said = sheet.get_by_text("does not declare")
    expect(said.first).to_be_visible(timeout=LONG_MS)
    sheet.get_by_role("textbox", name="width").fill("wide")
    expect(sheet.get_by_text("must be a whole number")).to_be_visible()
    tab.wait_for_load_state("networkidle")
    expect(said.first).to_be_visible()


def test_the_buttons_and_the_sum_say_what_several_values_make(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text(DECLARES)
    tab = serve(tmp_path, "train.py").open("/runs?new=")
    sheet = tab.get_by_role("dialog")
    sheet.get_by_role("textbox", name="layers").fill("[8,8],[4,4]")
    expect(sheet.get_by_text("2 values: [8,8], [4,4]")).to_be_visible()
    expect(sheet.get_by_text("layers [8] → [[8,8], [4,4]]")).to_be_visible()
    expect(sheet.get_by_role("button", name="Run 2 now")).to_be_visible()


def test_a_setting_that_an_address_asks_for_is_in_the_sheet_as_changed(window: Window):
    """The way to it: a run that failed, and the setting that its panel says to try instead."""
    tab = window.open("/runs?new=calm-otter&set=learning_rate%3D0.25")
    sheet = tab.get_by_role("dialog")
    expect(sheet.get_by_role("textbox", name="learning_rate")).to_have_value("0.25")
    expect(sheet.get_by_text("learning_rate 0.1 → 0.25")).to_be_visible()


def test_who_may_only_look_is_told_why_there_is_no_new_run(serve, tmp_path: Path):
    (tmp_path / "train.py").write_text(DECLARES)
    window = serve(tmp_path, "train.py")
    environment = {"HYPERTUNER_HOME": str(tmp_path / "home"), "HYPERTUNER_STORAGE": str(tmp_path / "storage")}
    shared = subprocess.run(
        [sys.executable, "-m", "hypertuner", "share"],
        env=script_environment(environment),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    window.served.token = shared.stdout.strip().partition("#token=")[2]
    tab = window.open("/queue")
    why = "This link may not: it lacks the right to edit"
    expect(tab.get_by_text("Nothing runs and nothing waits")).to_be_visible()
    for button in tab.get_by_role("button", name="New run").all():
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("data-tip", why)
    tab.keyboard.press("n")
    expect(tab.get_by_text(why)).to_be_visible()
    expect(tab.get_by_role("dialog")).to_have_count(0)
    window.go(tab, "/queue?new=")
    expect(tab.get_by_role("dialog").get_by_text(why)).to_be_visible()
    expect(tab.get_by_role("dialog").get_by_role("textbox")).to_have_count(0)
