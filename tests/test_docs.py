"""The documentation does what it shows, and leaves nothing out.

A page's blocks: ```python title="name.py"``` is a file, ```console``` is what a shell shows; both are taken in order.
```py``` is a piece of a script: it is Python, and not run. A line `…` of an output stands for any lines. Numbers, times
and the order of lines are another machine's; every other word is as the page has it.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.conftest import REPOSITORY, script_environment

import hypertuner
from hypertuner import settings
from hypertuner.store import records

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
STORY = ["tutorial.md", *(f"howto/{name}.md" for name in ("resume", "fork", "start-from", "load-and-share", "tidy-up"))]
STORY += ["howto/keep-and-clean.md", "howto/command-line.md"]
NIGHT = "howto/queue.md"
RECIPES = sorted(str(path.relative_to(DOCS)) for path in (DOCS / "recipes").glob("*.md"))


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str


class Command(NamedTuple):
    """A command of a console block, and the lines that the page says it prints."""

    line: str
    shown: list[str]


def blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```', text, re.M | re.S)]


def commands(block: Block) -> Iterator[Command]:
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        line, *shown = part.splitlines()
        yield Command(line, [text for text in shown if text.strip() not in ("", "…")])


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A function that runs a command as a reader would: (exit code, what the terminal shows)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("python", ""), ("hypertuner", "-m hypertuner ")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        (folder / name).chmod(0o755)
    place = tmp_path / "digits"
    place.mkdir()

    def run(line: str) -> tuple[int, str]:
        environment = script_environment({"HYPERTUNER_STORAGE": None, "COLUMNS": "100"})
        environment["PATH"] = f"{folder}:{environment['PATH']}"
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout.replace(str(place), "/home/you/digits")

    run.place = place
    return run


def words(line: str) -> str:
    """A line without what is another machine's: numbers, sizes, ages, who and where, the widths of columns."""
    line = re.sub(r"\bby +\S+ on [^\s,:]+", "by YOU on HOST", line)
    line = re.sub(r"\+(cpu|cu\d+)\b", "", line)  # of torch's version
    line = re.sub(r"just now|\d+ (s|min|h) ago|\b\d+ ?s\b", "AGE", line)
    line = re.sub(r"-?\d[\d.]*(e[-+]?\d+)?( ([kMG]?B)\b)?", "#", line.replace(",", ""))
    return " ".join(re.sub(r"[▁-█─]+", "~", line).split())


def follow(page: str, shell) -> None:
    for block in blocks(page):
        if block.title:
            (shell.place / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command in commands(block):
                code, said = shell(command.line)
                print(f"{page}: $ {command.line}\n{said}")
                printed = {words(line) for line in said.splitlines()}
                missing = [line for line in command.shown if words(line) not in printed]
                assert missing == [], f"{page} shows for `{command.line}` what it does not print"
                is_failure = any("✗" in line or "Error:" in line for line in command.shown)
                assert code == 0 or is_failure, f"`{command.line}` ended with {code}"


def test_the_tutorial_and_the_how_tos_do_what_they_show(shell):
    for package in ("torch", "sklearn", "safetensors"):
        pytest.importorskip(package)
    for page in STORY:
        follow(page, shell)


def test_the_night_of_the_queue_goes_as_its_page_shows(shell):
    follow(NIGHT, shell)


@pytest.mark.parametrize("page", RECIPES)
def test_a_recipe_does_what_it_shows(page, shell):
    pytest.importorskip("torch")
    follow(page, shell)


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"),
    [
        ("wide  ✓ finished   0.91   3 s ago", "wide ✓ finished 0.9238 12 s ago", True),
        ("2 runs (146 kB) moved", "2 runs (1.2 MB) moved", True),
        ("wide  ✓ finished  0.91", "wide  ✗ failed  0.91", False),
        ("kept 4 of 4 tensors", "kept 4 of 4 parameters", False),
    ],
)
def test_what_is_compared_is_the_words(shown, printed, is_same):
    assert (words(shown) == words(printed)) is is_same


@pytest.mark.parametrize("page", [str(path.relative_to(DOCS)) for path in PAGES])
def test_every_piece_of_python_is_python(page):
    for block in blocks(page):
        if block.language in ("py", "python"):
            compile(block.text, page, "exec")


# --- nothing is left out


def every_command() -> Iterator[tuple[str, list[list[str]]]]:
    """Every command, with the spellings of each of its options."""
    from hypertuner.cli import whole_command

    for name, command in whole_command().commands.items():
        options = [option.opts for option in command.params if option.param_type_name == "option"]
        yield name, [option for option in options if not {"--help", "--storage"} & set(option)]


def test_every_command_and_option_is_on_the_page_of_the_command_line():
    page = (DOCS / "howto" / "command-line.md").read_text(encoding="utf-8")
    for name, options in every_command():
        row = next((line for line in page.splitlines() if re.match(rf"\| `{name}\b", line)), None)
        assert row, f"docs/howto/command-line.md has no row for `{name}`"
        place = page if name == "run" else row  # its options have a table of their own
        assert [option for option in options if not any(spelling in place for spelling in option)] == [], name
    assert "--storage" in page


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    documented = {line.rpartition(".")[2] for line in re.findall(r"^::: (\S+)$", page, re.M)}
    assert set(hypertuner.__all__) - {"__version__"} <= documented


def test_every_setting_is_in_the_reference_with_its_default():
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    for setting in settings.ALL:
        assert f"| `{setting.variable}` | `{setting.default}` |" in page


def test_every_variable_that_is_read_is_in_the_reference():
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "src").rglob("*.py"))
    read = set(re.findall(r'"(HYPERTUNER_[A-Z_]+)"', source))
    assert "HYPERTUNER_HOME" in read
    assert sorted(name for name in read if f"`{name}`" not in page) == []


def test_every_page_is_in_the_contents():
    contents = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    assert [str(page.relative_to(DOCS)) for page in PAGES if str(page.relative_to(DOCS)) not in contents] == []


@pytest.mark.parametrize("record", ["RunRecord", "Parent", "Notes", "Started", "Exit", "ParentLoaded"])
def test_every_field_of_a_runs_files_is_in_the_format(record):
    page = (DOCS / "format.md").read_text(encoding="utf-8")
    fields = [field.name for field in dataclasses.fields(getattr(records, record))]
    assert [name for name in fields if f"`{name}`" not in page] == []
