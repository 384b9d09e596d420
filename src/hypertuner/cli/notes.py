"""`hypertuner tag`, `note`, `star`, `pin`, `archive` and `mv`: what people say about runs, and what they call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypertuner.checkpoint import pins
from hypertuner.checkpoint.reference import resolve
from hypertuner.cli import terminal
from hypertuner.cli.terminal import Cell, Column, count_text, plain
from hypertuner.errors import ConfigError
from hypertuner.index.runs import runs
from hypertuner.index.selection import select
from hypertuner.store import Run, Storage
from hypertuner.store.care import check_tag, rename, retag


def tag(storage: Storage, words: Sequence[str]) -> None:
    """Add (`+a`) and remove (`-b`) tags of the runs that the other words name; without changes, print the tags.

    Raises: ConfigError for a word that can be no tag; what selecting does.
    """
    added = [_tag(word) for word in words if word.startswith("+")]
    removed = [_tag(word) for word in words if word.startswith("-")]
    which = [word for word in words if not word.startswith(("+", "-"))]
    if not which:
        if added or removed:
            raise ConfigError(f"Which runs? hypertuner tag RUN … {' '.join(words)}", key="tag")
        _show_all(storage)
        return
    chosen = select(which, storage)
    if not added and not removed:
        for run in chosen:
            terminal.show_line(f"{plain(run.name)}  {plain(', '.join(run.notes().tags))}".rstrip())
        return
    retag(chosen, added, removed)
    changes = ", ".join([*(f"+{name}" for name in added), *(f"-{name}" for name in removed)])
    terminal.say(f"{count_text(len(chosen), 'run')}: {changes}" if chosen else "No run matches; nothing was changed.")


def _tag(word: str) -> str:
    try:
        return check_tag(word[1:])
    except ConfigError:
        raise ConfigError(
            f"{word!r} adds or removes no tag: a tag is one word, without commas.\n  hypertuner tag RUN +baseline -old",
            key="tag",
        ) from None


def _show_all(storage: Storage) -> None:
    counted = Counter(name for row in runs(storage=storage) for name in row.tags)
    if not counted:
        terminal.say("No run has a tag yet: hypertuner tag RUN +baseline")
        return
    names = sorted(counted)
    terminal.show_table(
        [
            Column("tag", [Cell(plain(name), "bold") for name in names]),
            Column("runs", [Cell(f"{counted[name]:,}") for name in names], is_number=True),
        ]
    )


def note(storage: Storage, name: str, text: str | None) -> None:
    """Write a run's note, or print it; an empty one removes it. Raises: RunNotFoundError."""
    (run,) = select([name], storage)
    if text is None:
        terminal.show_line(terminal.plain_lines(run.notes().note))
        return
    run.write_notes(replace(run.notes(), note=text))
    terminal.say(f"{run.name}: {'note written' if text else 'note removed'}")


def star(storage: Storage, words: Sequence[str], *, off: bool) -> None:
    """Give runs a star, or take it away. Raises: what selecting does."""
    chosen = select(words, storage)
    for run in chosen:
        run.write_notes(replace(run.notes(), starred=not off))
    terminal.say(f"{count_text(len(chosen), 'run')} {'without a star' if off else 'with a star'}")


def pin(storage: Storage, references: Sequence[str], *, off: bool) -> None:
    """Pin checkpoints, or no longer. Raises: what resolving does; CheckpointError for what is none of a run's."""
    found = [resolve(reference, storage) for reference in references]
    for one in found:
        run, file = pins.pin(one, off=off)
        terminal.say(f"{run.name}: step {file.step} {'is pinned no longer' if off else 'is pinned'} ({file.path.name})")


def archive(storage: Storage, words: Sequence[str]) -> None:
    """Take runs out of sight. Raises: what selecting does."""
    _archive(select(words, storage), archived=True)


def unarchive(storage: Storage, words: Sequence[str]) -> None:
    """Bring archived runs back into sight; a query is about these alone. Raises: what selecting does."""
    _archive(select(words, storage, archived=True), archived=False)


def _archive(chosen: Sequence[Run], *, archived: bool) -> None:
    for run in chosen:
        run.write_notes(replace(run.notes(), archived=archived))
    hint = "; hypertuner ls --archived lists them" if archived and chosen else ""
    terminal.say(f"{count_text(len(chosen), 'run')} {'archived' if archived else 'in sight again'}{hint}")


def mv(storage: Storage, name: str, new: str) -> None:
    """Give a run another name. Raises: RunNotFoundError; RunExistsError; ConfigError; StorageError for one in use."""
    before = storage.open(name)
    after = rename(storage, before, new)
    terminal.say(f"{before.name} is called {after.name} now: {after.folder}")
