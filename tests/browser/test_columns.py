"""The columns of the table of runs and of the list of checkpoints are chosen in one way."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Window


@pytest.mark.parametrize("place", ["/runs", "/models"])
def test_a_setting_is_found_by_typing_and_is_a_column_until_the_usual_ones_are(window: Window, place: str):
    tab = window.open(place)
    tab.get_by_role("button", name="Columns", exact=True).click()
    picker = tab.get_by_role("dialog", name="Columns of the")
    expect(picker.get_by_role("checkbox", name="pause", exact=True)).to_be_hidden()
    expect(picker.get_by_text("Equal in all")).to_be_visible()
    picker.get_by_role("textbox", name="Find a column").fill("PAU")
    picker.get_by_role("checkbox", name="pause", exact=True).check()
    expect(picker.get_by_role("checkbox")).to_have_count(1)
    column = tab.locator("[role=columnheader], th, [aria-label^=Sort]").filter(has_text="pause").first
    expect(column).to_be_visible()
    picker.get_by_role("button", name="The usual columns").click()
    expect(column).to_be_hidden()


def test_a_metric_is_a_column_by_its_least_as_well(window: Window):
    tab = window.open("/runs?cols=metric:train/loss")
    tab.get_by_role("columnheader", name="train/loss").wait_for()
    tab.get_by_role("button", name="Columns", exact=True).click()
    tab.get_by_role("combobox", name="Which value of train/loss").select_option("min")
    expect(tab.get_by_role("columnheader", name="min")).to_be_visible()
    tab.get_by_role("checkbox", name="train/loss", exact=True).uncheck()
    expect(tab.get_by_role("columnheader", name="train/loss")).to_have_count(0)
