"""`hypertuner verify`: checkpoints, read whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypertuner.checkpoint import reference
from hypertuner.checkpoint.format import archive
from hypertuner.checkpoint.format.archive import Verified
from hypertuner.cli import terminal
from hypertuner.cli.run import shown_path
from hypertuner.cli.show import run_named
from hypertuner.errors import CorruptFileError
from hypertuner.store import Run, Storage

# A file that cannot be read is no whole one, and no reason to leave the others unread.
_Result = Verified | CorruptFileError | OSError


def verify(what: Sequence[str], storage: Storage, *, as_json: bool = False) -> int:
    """Print for each file whether it is whole; 1 when any is not, else 0. Raises: what resolving a reference does."""
    paths = files_named(what, storage) if what else _once(path for run in storage.list() for path in _files(run))
    results = []
    for path, result in _verified(paths):
        results.append(_facts(path, result))
        if not as_json:
            _show(path, result)
    damaged = sum(not facts["ok"] for facts in results)
    if as_json:
        terminal.show_json(results)
    elif not paths:
        terminal.say(f"No checkpoints in {storage.path} yet: `saver.save()` in a script writes one.")
    else:
        whole = f"{terminal.count_text(len(paths) - damaged, 'file')} whole"
        terminal.say(f"{whole}, {damaged} damaged" if damaged else whole, "bold red" if damaged else "")
    return int(damaged > 0)


def files_named(what: Sequence[str], storage: Storage) -> list[Path]:
    """The files that these words name, each once: of a run, all its checkpoints. Raises: what resolving does."""
    return _once(_named(what, storage))


def _named(what: Sequence[str], storage: Storage) -> Iterator[Path]:
    for name in what:
        run = run_named(name, storage)
        if run is None:
            yield reference.resolve(name, storage).path
        else:
            yield from _files(run)


def _files(run: Run) -> Iterator[Path]:
    for file in run.checkpoints():
        yield file.path
    for path in (run.layout.model, run.layout.parent):
        if path.exists():
            yield path


def _once(paths: Iterable[Path]) -> list[Path]:
    """Each file once, under the first of its names: model.pt is a second name of a checkpoint."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        status = path.stat()
        found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


def _verified(paths: Sequence[Path]) -> Iterator[tuple[Path, _Result]]:
    """Each file with what was found; on a terminal, with a bar that counts bytes."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = terminal.stderr()
    with Progress(
        TextColumn("verifying"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=sum(path.stat().st_size for path in paths))
        for path in paths:
            try:
                yield path, archive.verify(path)
            except (CorruptFileError, OSError) as error:
                yield path, error
            progress.advance(task, path.stat().st_size)


def _facts(path: Path, result: _Result) -> dict[str, Any]:
    if isinstance(result, (CorruptFileError, OSError)):
        return {"path": str(path), "ok": False, "problem": str(result)}
    return {
        "path": str(path),
        "ok": True,
        "format": result.format,
        "checked": result.level,
        "nbytes": result.nbytes,
        "tensors": result.tensors,
        "seconds": result.seconds,
    }


def _show(path: Path, result: _Result) -> None:
    if isinstance(result, (CorruptFileError, OSError)):
        terminal.show_parts(("✗ damaged  ", "bold red"), (shown_path(path), ""))
        terminal.show_line(f"  {terminal.plain_lines(result)}".replace("\n", "\n  "))
    else:
        how = f"{terminal.size_text(result.nbytes)}, {result.level}"
        terminal.show_parts(("✓ ok       ", "green"), (shown_path(path), ""), (f"  ({how})", "dim"))
