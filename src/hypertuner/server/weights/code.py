"""Python that loads a checkpoint, to be copied: it runs as it stands, wherever it is run on this machine."""

from __future__ import annotations

from pathlib import Path

from hypertuner.checkpoint import vouching
from hypertuner.checkpoint.format.archive import Archive
from hypertuner.checkpoint.format.table import FORMAT
from hypertuner.errors import ConfigError, StorageError
from hypertuner.server.contract.models import Trust
from hypertuner.store import Run

_TRUSTED = {
    "yours": "Yours: it carries your mark. hypertuner.load() gives the model object.",
    "vouched": "You vouched for it (hypertuner trust). hypertuner.load() gives the model object.",
}
_NOT_OURS = "Another program's file: its weights load. Code in it is not run."


def load_code(run: Run, which: str | None, *, has_object: bool) -> str:
    """Code that loads a checkpoint of a run; `which` is None for the model it offers."""
    place = f"{run.folder}@{which}" if which is not None else str(run.folder)
    if has_object:
        return f"import hypertuner\n\nmodel = hypertuner.load({place!r})\n"
    return f"import hypertuner\n\nweights = hypertuner.load({place!r}, weights=True)  # the tensors by name\n"


def trust_of(path: Path) -> Trust:
    """Whether the code of a file runs when it is loaded, and why. Raises: CorruptFileError; OSError."""
    try:
        with Archive.open(path) as archive:
            if archive.kind != FORMAT:
                return Trust(is_trusted=False, message=_NOT_OURS)
            trusted = vouching.trusted_as(archive)
            made = archive.index.environment
    except ConfigError as error:
        return Trust(is_trusted=False, message=f"Not known: {error}".partition("\n")[0])
    except StorageError:
        return Trust(is_trusted=False, message=_NOT_OURS)
    if trusted is not None:
        return Trust(is_trusted=True, message=_TRUSTED[trusted])
    who = f"{made.get('user') or 'somebody'} on {made.get('host') or 'another host'}"
    return Trust(
        is_trusted=False,
        message=f"Not marked as yours ({who} made it): its weights load, the code of its model object does not run "
        "unless you vouch for it: hypertuner trust",
    )


def has_object(path: Path) -> bool:
    """Whether loading gives a model object here without a word about trust."""
    try:
        with Archive.open(path) as archive:
            if archive.kind != FORMAT or archive.index.recipe is None:
                return False
            return vouching.trusted_as(archive) is not None
    except (StorageError, ConfigError, OSError):
        return False
