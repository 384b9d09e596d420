"""The archive: the same table and charts, of the runs that were put out of sight."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from benchmarks.runs_made import make_folders
from playwright.sync_api import Page, expect
from tests.browser.seen import LONG_MS, chart, row, until

from hypertuner.store import records
from hypertuner.store.layout import RunLayout


@pytest.fixture
def archive(serve, tmp_path: Path) -> tuple[Page, list[str]]:
    """The archive of all but one run of ten, filtered to more of them than an address holds names of; their names."""
    storage = tmp_path / "storage"
    make_folders(storage, 500, 2)
    notes = records.to_bytes(records.Notes(archived=True))
    within = []
    for number, place in enumerate(map(RunLayout, sorted(storage.iterdir()))):
        if number % 10:
            place.notes.write_bytes(notes)
        if number % 10 and json.loads(place.config.read_bytes())["dropout"] < 0.6:
            within.append(place.folder.name)
    assert len(within) > 200
    tab = serve(tmp_path).open("/runs?archived=1&q=dropout < 0.6&sort=name&desc=0")
    expect(row(tab, within[0])).to_be_visible(timeout=LONG_MS)
    return tab, within


def exported(tab: Page, words: str) -> list[str]:
    """The names in the file that a menu's item saves, from the top."""
    with tab.expect_download() as saved:
        tab.get_by_role("menuitem", name=words).click()
    with saved.value.path().open(newline="", encoding="utf-8") as file:
        return [one["name"] for one in csv.DictReader(file)]


def test_the_archive_is_exported_as_it_stands_there_and_so_is_all_that_is_selected(archive: tuple[Page, list[str]]):
    tab, within = archive
    tab.get_by_role("button", name="More", exact=True).first.click()
    assert exported(tab, "Export these runs as CSV") == within
    tab.get_by_role("checkbox", name="Select all").click()
    expect(tab.get_by_text(f"{len(within)} runs", exact=True).first).to_be_visible()
    tab.get_by_role("button", name="More to do with them").click()
    assert sorted(exported(tab, "Export as CSV")) == within


def test_charts_and_groups_of_the_archive_are_of_its_runs(archive: tuple[Page, list[str]]):
    tab, within = archive
    drawn = chart(tab, "train/loss").get_by_role("img", name=re.compile("^train.loss"))
    expect(drawn).to_have_attribute("aria-label", re.compile("train/loss of 10 runs"), timeout=LONG_MS)
    label = drawn.get_attribute("aria-label")
    assert label is not None
    ends = re.findall(r"\(([\w-]+)\)", label)
    assert len(ends) == 2
    assert set(ends) <= set(within)
    tab.get_by_role("button", name="Group", exact=True).click()
    tab.get_by_role("menuitemcheckbox", name="batch_size", exact=True).click()
    expect(drawn).to_have_attribute("aria-label", re.compile("train/loss of 3 groups"))

    def counts() -> list[int]:
        return [int(one) for one in re.findall(r"mean of (\d+) runs", str(drawn.get_attribute("aria-label")))]

    until(tab, lambda: len(counts()) == 2 and all(20 < one < len(within) for one in counts()), "the groups are large")
