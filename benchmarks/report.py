"""Measurements as people read them: a table on the terminal, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import OURS, Measurement, Place
from benchmarks.targets import Comparison, compare

TITLES = {
    "log": "log(): three numbers",
    "kills": "Records lost to kill -9",
    "import": "Import",
    "start": "Start of a run",
    "size": "File size",
    "save": "save() and load()",
    "background": "Saving in the background",
    "gpu": "On a GPU",
    "lazy": "5,000 tensors",
    "runs": "Listing runs",
    "server": "The GUI's server",
    "fit": "Which weights will fit",
    "gui": "The GUI",
}
_TARGET_COLUMNS = ("what", OURS, "compared with", "theirs", "ratio", "target", "reached")


def spelled(value: float | None, unit: str) -> str:
    """A value with its unit, in three digits."""
    if value is None:
        return "–"
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if abs(value) * factor >= 1:
                return f"{value * factor:.3g} {name}"
        return f"{value * 1e6:.2g} µs"
    if unit == "bytes":
        return f"{value:,.0f} B"
    if unit == "share":
        return f"{value:.0%}" if value in (0, 1) or value >= 0.1 else f"{value:.1%}"
    return f"{value:g}"


def target_rows(measurements: Iterable[Measurement]) -> list[tuple[str, ...]]:
    """Rows of the table of targets."""
    rows: list[tuple[str, ...]] = []
    for row in compare(measurements):
        if row.target is None:
            continue
        rows.append(
            (
                f"{TITLES[row.benchmark]}: {row.measure}",
                spelled(row.ours, row.unit),
                row.peer or "–",
                spelled(row.theirs, row.unit) if row.theirs is not None or not row.peer else "not measured",
                "–" if row.ratio is None else f"{row.ratio:.3g}",
                row.target.words(),
                _reached(row),
            )
        )
    return rows


def _reached(row: Comparison) -> str:
    return {True: "yes", False: "no", None: "–"}[row.is_reached]


def peer_tables(measurements: Sequence[Measurement]) -> list[tuple[str, list[str], list[list[str]]]]:
    """A table for each benchmark: its title, its columns (what was measured), a row for each subject."""
    tables = []
    for benchmark in dict.fromkeys(one.benchmark for one in measurements):
        mine = [one for one in measurements if one.benchmark == benchmark]
        measures = list(dict.fromkeys(one.measure for one in mine))
        found = {(one.subject, one.measure): one for one in mine}
        rows = []
        for subject in dict.fromkeys(one.subject for one in mine):
            rows.append([subject, *(_cell(found.get((subject, measure))) for measure in measures)])
        tables.append((TITLES[benchmark], ["", *measures], rows))
    return tables


def _cell(one: Measurement | None) -> str:
    if one is None:
        return ""
    if one.missing:
        return one.missing
    text = spelled(one.value, one.unit)
    if "lost" in one.details:
        text += f" ({one.details['lost']} of {one.details['acknowledged']})"
    return text


def show(measurements: Sequence[Measurement], places: Mapping[str, Place], console: Console) -> None:
    """Print all tables."""
    for title, columns, rows in peer_tables(measurements):
        _print(console, title, columns, rows)
    if rows_of_targets := target_rows(measurements):
        _print(console, "Targets", _TARGET_COLUMNS, rows_of_targets)
    for place in places.values():
        console.print(about(place))


def _print(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row, style="bold" if row[0] == OURS else "red" if row[-1] == "no" else None)
    console.print(table)


def about(place: Place) -> str:
    """Where and with what was measured, in one paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in place.versions.items())
    return (
        f"{place.date}, {place.machine}, {place.memory_gb} GB, {place.file_system}, {place.platform}, "
        f"Python {place.python}, commit {place.commit}, load average {place.load} before it began. {versions}."
    )


def markdown(measurements: Sequence[Measurement], places: Mapping[str, Place]) -> str:
    """All tables and where they come from, for the documentation."""
    parts = [*map(about, places.values()), _markdown(_TARGET_COLUMNS, target_rows(measurements))]
    for title, columns, rows in peer_tables(measurements):
        parts += [f"### {title}", _markdown(columns, rows)]
    return "\n\n".join(parts)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, [":--", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
