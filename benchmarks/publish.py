"""The page of the documentation from a result: its tables between two marks, and its pictures.

python -m benchmarks.publish benchmarks/results/<date>-<machine>
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import measurement, plots, report
from benchmarks.measurement import REPOSITORY

PAGE = REPOSITORY / "docs" / "benchmarks.md"
PICTURES = REPOSITORY / "docs" / "benchmarks"
LINES = "measurements.jsonl"
_BEGIN, _END = "<!-- from the result: begin -->", "<!-- from the result: end -->"


def part(folder: Path) -> str:
    """What the page shows of the result in `folder`."""
    measurements, places = measurement.read(folder / LINES)
    pictures = "\n\n".join(
        f"![{report.TITLES[path.stem.partition('-')[0]]}](benchmarks/{path.name})"
        for path in sorted(folder.glob("*.png"))
    )
    source = f"Source: `benchmarks/results/{folder.name}/{LINES}`."
    return f"{source} {report.markdown(measurements, places)}\n\n### Pictures\n\n{pictures}".rstrip()


def shown() -> str:
    """What the page shows now."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(_BEGIN) + len(_BEGIN) : text.index(_END)].strip()


def publish(folder: Path) -> None:
    """Put the result into the page."""
    measurements, _ = measurement.read(folder / LINES)
    plots.draw(measurements, folder)
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    for picture in folder.glob("*.png"):
        (PICTURES / picture.name).write_bytes(picture.read_bytes())
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(_BEGIN)], text[text.index(_END) :]
    PAGE.write_text(f"{before}{_BEGIN}\n\n{part(folder)}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    publish(Path(sys.argv[1]).resolve())
