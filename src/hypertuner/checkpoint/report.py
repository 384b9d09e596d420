"""LoadReport: what became of each tensor when weights were put into a model, in numbers and in words."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ROWS_SHOWN = 20


@dataclass(frozen=True)
class Mismatch:
    """A tensor whose shapes in the file and in the model differ."""

    name: str
    saved: tuple[int, ...]
    model: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {_shape(self.saved)}→{_shape(self.model)}"


def _escaped(text: str) -> str:
    """`text` as HTML shows it, without control characters."""
    return html.escape("".join(sign if sign.isprintable() else "�" for sign in text))


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class LoadReport:
    """What was loaded, what the file lacked, what the model has no place for, and what did not fit."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """In the model, not in the file: they keep the values they had."""
    unexpected: tuple[str, ...]
    """In the file, not in the model."""
    mismatched: tuple[Mismatch, ...]
    share: float
    """Share of the model's parameters that came from the file, 0 to 1."""

    @property
    def is_complete(self) -> bool:
        """Whether every tensor of the file went into the model, and none of the model was left."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        return self.explained({}, {})

    def likely_rename(self) -> tuple[str, str] | None:
        """(beginning in the file, beginning in the model) that would bring most names together; None when none does."""
        missing = set(self.missing)
        best: tuple[int, tuple[str, str]] | None = None
        for old, new in dict.fromkeys(
            pair for one in self.unexpected[:50] for pair in _beginnings(one, self.missing[:500])
        ):
            fit = sum(name.startswith(old) and new + name[len(old) :] in missing for name in self.unexpected)
            if best is None or (fit, len(new)) > (best[0], len(best[1][1])):
                best = fit, (old, new)
        return best[1] if best else None

    def _repr_html_(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        percent = 100 * self.share
        colour = "#2e7d32" if self.is_complete else "#b26a00"
        rows = [(mismatch.name, f"{_shape(mismatch.saved)} → {_shape(mismatch.model)}") for mismatch in self.mismatched]
        rows += [(name, "not in the file") for name in self.missing]
        rows += [(name, "not in the model") for name in self.unexpected]
        lines = "".join(
            f'<tr><td style="text-align:left">{_escaped(name)}</td>'
            f'<td style="text-align:left">{_escaped(what)}</td></tr>'
            for name, what in rows[:_ROWS_SHOWN]
        )
        more = f"<div>… and {len(rows) - _ROWS_SHOWN:,} more</div>" if len(rows) > _ROWS_SHOWN else ""
        table = f"<table><thead><tr><th>tensor</th><th>why not</th></tr></thead><tbody>{lines}</tbody></table>"
        return (
            f'<div class="hypertuner-report">kept {len(self.loaded)} of {total} tensors, {percent:.1f} % of parameters'
            f'<div style="background:#ddd;width:200px;height:6px">'
            f'<div style="background:{colour};width:{2 * percent:.0f}px;height:6px"></div></div>'
            f"{table if rows else ''}{more}</div>"
        )

    def explained(self, saved_config: Mapping[str, Any], config: Mapping[str, Any]) -> str:
        """The report in words; a mismatch is explained by the setting that changed alike, if there is one.

        The cause is a guess from numbers that agree, and worded so.
        """
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [f"kept {len(self.loaded)} of {total} tensors, {100 * self.share:.1f} % of parameters"]
        for mismatch in self.mismatched[:8]:
            lines.append(f"  {mismatch}{cause(mismatch, saved_config, config)}: new")
        if len(self.mismatched) > 8:
            lines.append(f"  … and {len(self.mismatched) - 8} more that do not fit")
        for names, what, grew in (
            (self.missing, "not in the file", True),
            (self.unexpected, "not in the model", False),
        ):
            if names:
                lines.append(f"  {what}: {_listed(names)}{_cause_of_names(names, saved_config, config, grew=grew)}")
        return "\n".join(lines)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _beginnings(name: str, others: tuple[str, ...]) -> list[tuple[str, str]]:
    """How `name` and each other begin before what both end with, in whole parts."""
    found = []
    for other in others:
        ends = zip(reversed(name.split(".")), reversed(other.split(".")), strict=False)
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], ends))
        if same:
            old, new = (text.split(".")[:-same] for text in (name, other))
            found.append(("".join(f"{part}." for part in old), "".join(f"{part}." for part in new)))
    return found


def _cause_of_names(names: tuple[str, ...], saved: Mapping[str, Any], config: Mapping[str, Any], *, grew: bool) -> str:
    """The setting that added or took away numbered parts: with depth 2→3, 'blocks.2.weight' is new."""
    for key in saved:
        low, high = (saved[key], config.get(key)) if grew else (config.get(key), saved[key])
        if type(low) is not int or type(high) is not int:
            continue
        if all(any(part.isdecimal() and low <= int(part) < high for part in name.split(".")) for name in names):
            return f", probably because {key} {saved[key]}→{config[key]}"
    return ""


def cause(mismatch: Mismatch, saved: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The setting that changed as a shape did: ', probably because hidden 32→64'; '' where none did."""
    changed = {key: (saved[key], config[key]) for key in saved if key in config and saved[key] != config[key]}
    pairs = [pair for pair in zip(mismatch.saved, mismatch.model, strict=False) if pair[0] != pair[1]]
    likely = [key for key, pair in changed.items() if pair in pairs]
    # A layer of 4·hidden units changes by the same factor as `hidden`.
    likely = likely or [
        key
        for key, (old, new) in changed.items()
        if all(isinstance(value, int) and value > 0 for value in (old, new))
        and any(before * new == after * old for before, after in pairs)
    ]
    if not likely:
        return ""
    key = likely[0]
    return f", probably because {key} {changed[key][0]}→{changed[key][1]}"
