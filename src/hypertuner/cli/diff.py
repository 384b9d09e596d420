"""`hypertuner diff`: what tells two runs apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypertuner.cli import terminal
from hypertuner.cli.terminal import Cell, Column, plain, value_text
from hypertuner.index.difference import ABSENT, Change, Difference, difference
from hypertuner.store import Storage

_CODE_LINES = 200
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def diff(a: str, b: str, storage: Storage, *, as_json: bool = False, all_code: bool = False) -> None:
    """Print what differs. Raises: what resolving a reference does; CorruptFileError."""
    found = difference(a, b, storage)
    if as_json:
        terminal.show_json(_facts(found))
        return
    for title, changes in (
        ("config", found.config),
        ("metrics", found.metrics),
        ("environment", found.environment),
    ):
        if changes:
            terminal.show_title(title)
            _show_changes(changes, found)
    if found.code:
        terminal.show_title("code")
        _show_code(found, None if all_code else _CODE_LINES)
    for side in (found.a, found.b):
        if not side.source:
            terminal.say(f"no code was kept with {plain(side.name)}")
    if found.is_empty:
        terminal.say(f"{plain(a)} and {plain(b)} do not differ")


def _show_changes(changes: Mapping[str, Change], found: Difference) -> None:
    pairs = [_texts(pair) for pair in changes.values()]
    terminal.show_table(
        [
            Column("", [Cell(plain(key)) for key in changes]),
            Column(plain(found.a.name), [Cell(one, "red") for one, _ in pairs]),
            Column(plain(found.b.name), [Cell(other, "green") for _, other in pairs]),
        ]
    )


def _texts(pair: Change) -> tuple[str, str]:
    one, other = ("—" if value is ABSENT else value_text(value) or repr(value) for value in pair)
    if one == other:  # numbers that differ beyond the digits shown
        one, other = plain(repr(pair.a)), plain(repr(pair.b))
    return one, other


def _show_code(found: Difference, most: int | None) -> None:
    lines = [line for file in found.code.values() for line in file]
    for line in lines[:most]:
        is_name = line.startswith(("--- ", "+++ "))
        terminal.show_line(terminal.plain_lines(line), "bold" if is_name else _STYLES.get(line[:1], ""))
    if most is not None and len(lines) > most:
        terminal.show_line(f"… and {len(lines) - most:,} lines more (--all-code shows them)", "dim")


def _facts(found: Difference) -> dict[str, Any]:
    def told(changes: Mapping[str, Change]) -> dict[str, Any]:
        return {
            key: {side: value for side, value in zip("ab", pair, strict=True) if value is not ABSENT}
            for key, pair in changes.items()
        }

    safe: dict[str, Any] = terminal.json_safe(
        {
            "a": found.a.name,
            "b": found.b.name,
            "config": told(found.config),
            "metrics": told(found.metrics),
            "environment": told(found.environment),
            "code": {name: "\n".join(lines) for name, lines in found.code.items()},
        }
    )
    return safe
