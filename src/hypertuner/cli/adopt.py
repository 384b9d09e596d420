"""`hypertuner adopt`: what was made of a heap of model files, and what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypertuner.checkpoint.adoption import Skipped
from hypertuner.cli import terminal
from hypertuner.cli.run import shown_path
from hypertuner.cli.terminal import Cell, Column, count_text, plain
from hypertuner.frameworks.adopting import Adopted
from hypertuner.frameworks.adopting import adopt as adopt_
from hypertuner.store import Storage


def adopt(paths: Sequence[Path], storage: Storage, *, trust: bool, as_json: bool) -> int:
    """Make runs of the files and print them; 1 when nothing was adopted and something could not be read."""
    made: list[Adopted] = []
    left: list[Skipped] = []
    for outcome in adopt_(paths, storage, trust=trust):
        if isinstance(outcome, Adopted):
            made.append(outcome)
            terminal.say(f"adopted {outcome.run.name} from {shown_path(outcome.paths[0])}", "dim")
        else:
            left.append(outcome)
    if as_json:
        terminal.show_json({"adopted": list(map(_facts, made)), "skipped": [_skip_facts(one) for one in left]})
    else:
        _show(made, left)
    return int(not made and any(not _is_harmless(one) for one in left))


def _show(made: Sequence[Adopted], left: Sequence[Skipped]) -> None:
    if made:
        terminal.show_table(
            [
                Column("run", [Cell(plain(one.run.name), "bold") for one in made]),
                Column("made by", [Cell(plain(one.made_by)) for one in made], rank=3),
                Column("checkpoints", [Cell(_steps(one)) for one in made], rank=1),
                Column("settings", [Cell(str(one.settings)) for one in made], is_number=True, rank=2),
                Column("metrics", [Cell(plain(", ".join(one.metrics[:4]))) for one in made], rank=2),
                Column("from", [Cell(shown_path(_origin(one)), "dim") for one in made], rank=1),
            ]
        )
        for one in made:
            if one.left_out:
                terminal.say(
                    f"{one.run.name}: not kept, for it is no plain value: {', '.join(one.left_out[:8])}", "dim"
                )
    if left:
        terminal.show_title(f"left out: {count_text(len(left), 'file')}")
        for skipped in left:
            terminal.show_line(
                f"  {shown_path(skipped.path)}: {terminal.plain_lines(skipped.why)}".replace("\n", "\n    ")
            )
    if made:
        terminal.say(
            f"{count_text(len(made), 'run')} made; the files stay as they are.\n"
            f"  hypertuner ls; hypertuner run train.py --from {made[-1].run.name}"
        )


def _steps(one: Adopted) -> str:
    if len(one.steps) == 1:
        return f"1 (step {one.steps[0]})"
    return f"{len(one.steps)} (steps {one.steps[0]} to {one.steps[-1]})"


def _origin(one: Adopted) -> Path:
    return one.paths[0] if len(one.paths) == 1 else one.paths[0].parent


def _is_harmless(one: Skipped) -> bool:
    return one.why.startswith(("was adopted before", "is hypertuner's", "holds the same"))


def _facts(one: Adopted) -> dict[str, Any]:
    return {
        "run": one.run.name,
        "paths": list(map(str, one.paths)),
        "steps": list(one.steps),
        "made_by": one.made_by,
        "settings": one.settings,
        "metrics": list(one.metrics),
        "left_out": list(one.left_out),
    }


def _skip_facts(one: Skipped) -> dict[str, Any]:
    return {"path": str(one.path), "why": one.why}
