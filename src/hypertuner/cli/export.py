"""`hypertuner export`: a model's weights as a file for other programs."""

from __future__ import annotations

from pathlib import Path

from hypertuner.checkpoint import reference
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.cli import given, terminal
from hypertuner.cli.run import shown_path
from hypertuner.errors import MissingExtraError, StorageError, did_you_mean
from hypertuner.store import Storage

_ENDINGS = {"safetensors": ".safetensors", "state_dict": ".pth"}


def export(what: str, form: str | None, output: Path | None, storage: Storage, *, force: bool = False) -> None:
    """Write the file and print its path.

    Raises: GivenError for a kind of file that is none; StorageError when it exists; what resolving and reading do.
    """
    if form not in _ENDINGS:
        said = "Which kind of file?" if form is None else f"--format {form!r} is no kind of file that is written here."
        near = did_you_mean(form, _ENDINGS) if form else ""
        raise given.GivenError(f"{said}{near}\n  --format {' or --format '.join(_ENDINGS)}")
    found = reference.resolve(what, storage)
    target = output or Path(f"{found.run.name if found.run else found.path.stem}{_ENDINGS[form]}")
    if not force and target.exists():
        raise StorageError(f"{target} exists already.\n  --force replaces it; --output names another.", path=target)
    try:
        from hypertuner.frameworks.torch.export import export as export_
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "torch", "hypertuner export") from error
    with Archive.open(found.path) as archive:
        notes = export_(archive, target, form, replace=force)
    terminal.show_line(shown_path(target.absolute()))
    for note in notes:
        terminal.say(note)
