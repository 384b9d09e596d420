"""`hypertuner clean --to SIZE`: what a storage can do without, shown, asked about, and moved into its trash."""

from __future__ import annotations

import importlib.util
import re

from hypertuner.checkpoint import cleaning
from hypertuner.checkpoint.cleaning import Kind, Plan
from hypertuner.cli import terminal
from hypertuner.cli.terminal import Cell, Column, count_text, size_text
from hypertuner.cli.trash import agreed, list_lines
from hypertuner.errors import ConfigError
from hypertuner.frameworks.adapter import torch_adapter
from hypertuner.store import Storage
from hypertuner.store.trash import Trash, freed_bytes

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?:([kmgtp])(i?)b?|b)", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """Bytes of '20GB', '500 MB', '1.5T', '8GiB'. ConfigError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--to {text!r} is no size.\n  Write 20GB, 500MB or 1.5TB (or GiB, of 1024 each).", key="to")
    number, unit, binary = match.groups()
    power = " kmgtp".index(unit.lower()) if unit else 0
    return int(float(number) * (1024 if binary else 1000) ** power)


def clean_to(storage: Storage, size: str, *, older_than: str | None, yes: bool, dry_run: bool) -> int:
    """Move into the trash what is least worth until the storage takes at most `size`; 1 when the answer was no.

    1 too when something could not be moved, or when what must stay takes more. Raises: ConfigError.
    """
    most_bytes = size_bytes(size)
    if older_than is not None:
        raise ConfigError(
            "--to cleans a storage and --older-than its trash: one after the other.\n"
            "  hypertuner clean --to SIZE; hypertuner clean --older-than AGE",
            key="to",
        )
    can_thin = importlib.util.find_spec("torch") is not None  # imported only to do it: that takes seconds
    plan = cleaning.plan(storage, most_bytes, can_thin=can_thin)
    if not can_thin:
        terminal.say("PyTorch is not installed here, so training state stays: pip install 'hypertuner[torch]'")
    if not plan.gone:
        terminal.say(f"{storage.path} takes {size_text(plan.before)}. {_what_stays(plan, most_bytes)}".rstrip())
        _say_trash(storage)
        return int(plan.before > most_bytes)
    _show(plan)
    if plan.after > most_bytes:
        terminal.say(_what_stays(plan, most_bytes))
    if dry_run:
        terminal.say("Nothing was moved (--dry-run).")
        return 0
    if not agreed("Move all of this into the trash?", yes):
        terminal.say("Nothing was moved.")
        return 1
    problems = cleaning.carry_out(storage, plan, lambda path: torch_adapter().thin(path))
    for problem in problems:
        terminal.say(f"left as it is: {problem}")
    now = cleaning.storage_bytes(storage)
    terminal.say(f"{storage.path} takes {size_text(now)} now.")
    _say_trash(storage)
    return int(bool(problems) or now > most_bytes)


def _show(plan: Plan) -> None:
    kinds = [kind for kind in Kind if any(item.kind == kind for item in plan.gone)]
    of = {kind: [item for item in plan.gone if item.kind == kind] for kind in kinds}
    left, leaves = plan.before, []
    for kind in kinds:
        left -= sum(item.nbytes for item in of[kind])
        leaves.append(left)
    terminal.show_table(
        [
            Column("what goes", [Cell(str(kind)) for kind in kinds]),
            Column("count", [Cell(f"{len(of[kind]):,}") for kind in kinds], is_number=True),
            Column("frees", [Cell(size_text(sum(item.nbytes for item in of[kind]))) for kind in kinds], is_number=True),
            Column("leaves", [Cell(size_text(left)) for left in leaves], is_number=True),
        ]
    )
    for kind, what in ((Kind.empty_runs, "failed without a checkpoint"), (Kind.runs, "goes whole, with its weights")):
        list_lines([f"{item.run.name} {what} ({size_text(item.nbytes)})" for item in of.get(kind, [])])
    if last := of.get(Kind.last_training):
        names = list(dict.fromkeys(item.run.name for item in last))
        terminal.say(f"{count_text(len(names), 'run')} can be started from, but no longer resumed or forked:")
        list_lines(names)


def _what_stays(plan: Plan, most_bytes: int) -> str:
    if plan.after <= most_bytes:
        return ""
    return (
        f"{size_text(plan.after)} stay, more than {size_text(most_bytes)}: what is pinned, needed or starred, and runs "
        "that are not over."
    )


def _say_trash(storage: Storage) -> None:
    there = [trashed.run for trashed in Trash(storage.path).list()]
    if there:
        terminal.say(
            f"The trash lies on the same disk: hypertuner clean   frees {size_text(freed_bytes(there))}, "
            "hypertuner restore NAME   brings back."
        )
