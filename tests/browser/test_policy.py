"""A whole session at the page breaks its content policy nowhere (S30). What the console says fails the test as well."""

from __future__ import annotations

import subprocess
import sys

from playwright.sync_api import Page, expect
from tests.browser.conftest import Window
from tests.browser.seen import chart, row, wait_until_drawn
from tests.conftest import script_environment

LISTEN = """
addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sourceFile, lineNumber }) =>
    console.error('policy', violatedDirective, blockedURI, sourceFile, lineNumber));
"""
MEDIA = """
import hypertuner
import numpy

logger = hypertuner.Logger()
logger.log({"image": hypertuner.Image(numpy.zeros((8, 8, 3), dtype="uint8")), "loss": 1.0}, 0)
logger.log({"weights": hypertuner.Histogram([0.0, 1.0, 1.0]), "said": hypertuner.Text("so")}, 0)
"""


def test_the_listener_hears_a_breach(window: Window):
    window.context.add_init_script(LISTEN)
    tab = window.open()
    tab.evaluate("() => { document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/x.png' })); }")
    tab.wait_for_event("console", lambda line: line.text.startswith("policy img-src"))
    assert window.problems
    window.problems.clear()


def test_a_whole_session_breaks_the_policy_nowhere(window: Window):
    folder = window.served.folder
    (folder / "media.py").write_text(MEDIA)
    places = {"HYPERTUNER_STORAGE": str(folder / "storage"), "HYPERTUNER_HOME": str(folder / "home")}
    environment = script_environment({**places, "HYPERTUNER_RUN": "pictured"})
    subprocess.run([sys.executable, "media.py"], cwd=folder, env=environment, check=True, capture_output=True)
    window.context.add_init_script(LISTEN)
    tab = window.open("/runs?sel=calm-otter,swift-fjord")
    charts_and_table(tab)
    panel(tab)
    sheet(tab)
    for place in ("Insight", "Models", "Queue"):
        tab.get_by_role("navigation").get_by_role("link", name=place).click()
        tab.wait_for_load_state("networkidle")
        if place == "Models":
            tab.get_by_role("button", name="at step").first.click()
            tab.get_by_role("complementary").get_by_text("0.weight").first.wait_for()
            tab.get_by_text("Family tree").click()
            tab.wait_for_load_state("networkidle")
            tab.get_by_role("button", name="Make room…").click()
            tab.get_by_role("dialog").wait_for()
            tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    tab.get_by_role("dialog").get_by_text("This list").wait_for()
    tab.keyboard.press("Escape")
    tab.keyboard.press("t")
    tab.keyboard.press("Control+k")
    tab.get_by_role("combobox", name="Command or run").fill("calm")
    tab.get_by_role("option", name="calm-otter").click()
    tab.get_by_role("dialog").wait_for()


def charts_and_table(tab: Page) -> None:
    card = chart(tab, "train/loss")
    wait_until_drawn(card)
    with tab.expect_download() as saved:
        card.get_by_role("button", name="More").click()
        tab.get_by_role("menuitem", name="Save as PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    card.get_by_role("button", name="Fill the place").click()
    wait_until_drawn(card)
    card.get_by_role("button", name="Small again").click()
    tab.get_by_role("slider", name="Smooth").fill("0.6")
    tab.get_by_role("button", name="Columns", exact=True).click()
    tab.get_by_role("textbox", name="Find a column").fill("p")
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Group", exact=True).click()
    tab.get_by_role("menuitemcheckbox", name="hidden", exact=True).click()
    wait_until_drawn(card)
    tab.go_back()
    row(tab, "calm-otter").hover()
    tab.get_by_role("combobox", name="Filter runs").fill("learn")
    tab.get_by_role("option").first.wait_for()
    tab.get_by_role("combobox", name="Filter runs").fill("")
    tab.keyboard.press("Escape")
    tab.keyboard.press("Escape")


def panel(tab: Page) -> None:
    row(tab, "calm-otter").get_by_role("button", name="calm-otter", exact=True).click()
    tabs = tab.get_by_role("dialog").get_by_role("tab")
    tabs.first.wait_for()
    assert tabs.count() > 4
    for one in tabs.all():
        one.click()
        tab.wait_for_load_state("networkidle")
    tab.keyboard.press("Escape")
    row(tab, "pictured").get_by_role("button", name="pictured", exact=True).click()
    tab.get_by_role("dialog").get_by_role("tab", name="Media").click()
    tab.get_by_role("dialog").locator("img[src]").first.wait_for()
    tab.wait_for_load_state("networkidle")
    tab.keyboard.press("Escape")
    row(tab, "broken-crow").get_by_role("button", name="broken-crow", exact=True).click()
    expect(tab.get_by_role("dialog")).to_contain_text("no such data set")
    tab.keyboard.press("Escape")


def sheet(tab: Page) -> None:
    tab.get_by_role("button", name="New run").first.click()
    made = tab.get_by_role("dialog")
    made.get_by_role("button", name="Paste JSON or YAML").click()
    made.get_by_role("textbox", name="Settings as JSON or YAML").fill("learning_rate: 0.2\nhidden: 8")
    made.get_by_role("button", name="Use 2 settings").click()
    made.get_by_role("textbox", name="steps").fill("5,6")
    expect(made.get_by_role("button", name="Run 2 now")).to_be_visible()
    tab.wait_for_load_state("networkidle")
    tab.keyboard.press("Escape")
