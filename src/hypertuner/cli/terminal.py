"""What is printed, and how: tables, states, numbers, ages, errors.

On a terminal there is colour (not under NO_COLOR) and rich's tables; into a pipe or a file goes plain aligned text
with nothing cut. Whatever a script chose as a name or a value is shown as text: no control sequence and no markup in
it reaches the terminal.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 2
_WIDEST = 36  # of a column on a terminal, where it may be cut
_STATES: Mapping[str, tuple[str, str]] = {
    "draft": ("○", "dim"),
    "queued": ("…", "cyan"),
    "running": ("▶", "bold blue"),
    "finished": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "stopped": ("■", "yellow"),
    "pruned": ("✂", "yellow"),
    "crashed": ("!", "bold red"),
    "unknown": ("?", "magenta"),
}


@dataclass(frozen=True)
class Cell:
    """One value of a table."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """One column; where there is no room, the columns of the highest `rank` go first, and those of 0 never."""

    title: str
    cells: Sequence[Cell]
    is_number: bool = False
    rank: int = 0

    @property
    def width(self) -> int:
        """Places that it takes on a terminal."""
        return max(map(cell_len, [self.title, *(cell.text for cell in self.cells)]))


@cache
def stdout() -> Console:
    """Where results go."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


@cache
def stderr() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def is_terminal() -> bool:
    """Whether results are read by a person now."""
    return sys.stdout.isatty()


def plain(text: object) -> str:
    """`text` on one line, with what would steer a terminal or turn the direction of writing spelled out."""
    text = str(text)
    return text if text.isprintable() else "".join(sign if sign.isprintable() else _spelled(sign) for sign in text)


def _spelled(sign: str) -> str:
    return sign.encode("unicode_escape").decode() if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def plain_lines(text: object) -> str:
    """The same for text of several lines."""
    return "\n".join(plain(line.replace("\t", "    ")) for line in str(text).split("\n"))


def show_line(text: str = "", style: str = "") -> None:
    """Print one line of the result, which must be plain."""
    stdout().print(Text(text, style=style))


def show_parts(*parts: tuple[str, str]) -> None:
    """Print one line of (plain text, style) pairs."""
    stdout().print(Text.assemble(*parts))


def show_title(text: str) -> None:
    """Print the title of a part of the result, after an empty line."""
    stdout().print()
    stdout().print(Text(text, style="bold"))


def show_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and their values one below the other; those without a value are left out."""
    known = [(plain(name), plain(value)) for name, value in facts if value not in (None, "")]
    width = max((cell_len(name) for name, _ in known), default=0)
    for name, value in known:
        stdout().print(Text.assemble("  ", (name, "dim"), " " * (width - cell_len(name) + _GAP), value))


def say(text: str, style: str = "") -> None:
    """Print something beside the result, on stderr."""
    stderr().print(plain_lines(text), style=style or None)


def say_error(message: str) -> None:
    """Print an error on stderr: what happened, where, what to do."""
    stderr().print(Text.assemble(("error: ", "bold red"), plain_lines(message)))


def ask(question: str) -> bool:
    """What a person at the terminal answers; no answer is no."""
    stderr().print(Text(f"{question} [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def show_json(value: object) -> None:
    """Print a result as JSON, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def json_safe(value: Any) -> Any:
    """`value` as strict JSON can hold it: NaN and the infinities are spelled."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    return [json_safe(item) for item in value] if isinstance(value, (list, tuple)) else value


def show_table(columns: Sequence[Column]) -> list[str]:
    """Print a table; the titles of the columns for which this terminal had no room."""
    if is_terminal():
        kept = _fitting(columns, stdout().width)
        _show_rich(kept)
    else:
        kept = list(columns)
        _show_plain(kept)
    return [column.title for column in columns if column not in kept]


def without_room(columns: Sequence[Column]) -> list[str]:
    """The titles of the columns for which this terminal has no room."""
    kept = _fitting(columns, stdout().width)
    return [column.title for column in columns if column not in kept]


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    kept = list(columns)
    while sum(_places(column) + _GAP for column in kept) - _GAP > width:
        worst = max(range(len(kept)), key=lambda at: (kept[at].rank, at))
        if kept[worst].rank == 0:
            break
        del kept[worst]
    return kept


def _places(column: Column) -> int:
    return column.width if column.rank == 0 else min(column.width, _WIDEST)


def _show_rich(columns: Sequence[Column]) -> None:
    stdout().print(_rich_table(columns), soft_wrap=False)


def drawn(columns: Sequence[Column]) -> Table:
    """A table as rich draws it, with the columns for which this terminal has room."""
    return _rich_table(_fitting(columns, stdout().width))


def _rich_table(columns: Sequence[Column]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold", expand=False)
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.is_number else "left",
            # Names are what the next command is typed with: they fold, and are never cut.
            overflow="fold" if column.rank == 0 else "ellipsis",
            no_wrap=column.rank != 0,
            max_width=None if column.rank == 0 else _WIDEST,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    return table


def _show_plain(columns: Sequence[Column]) -> None:
    widths = [column.width for column in columns]
    rows = [[column.title for column in columns]]
    rows += [[cell.text for cell in row] for row in zip(*(column.cells for column in columns), strict=True)]
    for row in rows:
        padded = []
        for text, width, column in zip(row, widths, columns, strict=True):
            space = " " * (width - cell_len(text))
            padded.append(space + text if column.is_number else text + space)
        sys.stdout.write((" " * _GAP).join(padded).rstrip() + "\n")


def state_cell(state: str, more: str = "") -> Cell:
    """A run's state with its mark, as colour is never the only sign, and what else there is to say of it."""
    mark, style = _STATES.get(state, ("?", ""))
    return Cell(f"{mark} {plain(state)}{more}", style)


def value_text(value: Any) -> str:
    """A value as a table shows it: four significant digits of a float, text as it is, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(value) if isinstance(value, str) else plain(json.dumps(value, ensure_ascii=False, default=str))


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is aligned to the right."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def age_text(seconds: float) -> str:
    """How long ago something was: '3 min ago'."""
    for size, unit in ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 1 else "just now"


def since_text(moment: float) -> str:
    """How long ago a moment, in seconds since 1970, was."""
    return age_text(time.time() - moment) if moment else ""


def duration_text(seconds: float | None) -> str:
    """How long something took: '1 h 5 min', '12.3 s'."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def rough_text(seconds: float) -> str:
    """About how long something takes: '45 s', '12 min', '3 h 5 min', '2 d 4 h'."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def size_text(nbytes: float) -> str:
    """Bytes in the unit that people speak of: '4.2 MB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}" if unit != "B" else f"{int(nbytes)} B"
        nbytes /= 1000
    return f"{nbytes:.4g} TB"


def count_text(number: int, noun: str, plural: str = "") -> str:
    """'1 run', '2,000 runs'; with a plural of its own '2 processes'."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
