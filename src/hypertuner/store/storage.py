"""Storage: the folder that holds runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypertuner import files, settings
from hypertuner.errors import ConfigError, RunExistsError, RunNotFoundError, StorageError, did_you_mean
from hypertuner.store import layout, lineage, names, records
from hypertuner.store.run import Run


class Storage:
    """The runs in one folder, `./storage` unless told otherwise. Making the object touches nothing."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path).absolute() if path is not None else settings.storage_path()

    def __repr__(self) -> str:
        return f"Storage({str(self.path)!r})"

    def create(
        self,
        name: str | None,
        record: records.RunRecord,
        config: Mapping[str, Any],
        *,
        parent_file: Path | None = None,
    ) -> Run:
        """Make a run's folder, with a friendly name when `name` is None.

        `parent_file` is the checkpoint it begins from; the run keeps its own link to it (parent.pt).
        Raises: ConfigError for a name that cannot be; RunExistsError for one that is taken, also when only
        the case of its letters differs.
        """
        if name is not None:
            self.check_is_free(name)
        taken = {run.casefold() for run in self.folder_names()}
        self._make()
        # Filled under another name: whoever sees the run sees all of it, also when its maker is killed.
        draft = Run(files.draft_folder(self.path / (name or "run")))
        run = draft
        try:
            if parent_file is not None:
                files.link_or_copy(parent_file, draft.layout.parent)
            files.put_new(draft.layout.config, records.to_bytes(dict(config)))
            files.put_new(draft.layout.record, records.to_bytes(record))
            while True:
                run = Run(self.path / (name or names.friendly_name(taken)))
                try:
                    files.move(draft.folder, run.folder)
                except FileExistsError:
                    if name is not None:
                        raise self._taken(name) from None
                    taken.add(run.name.casefold())
                else:
                    return run
        except (OSError, StorageError):
            # Half a run would keep the name from the next try.
            with contextlib.suppress(OSError):
                files.remove_folder(draft.folder if draft.folder.exists() else run.folder)
            raise

    def check_is_free(self, name: str) -> None:
        """Raises: ConfigError for a name that cannot be; RunExistsError for one that is taken."""
        if names.check_name(name).casefold() in {run.casefold() for run in self.folder_names()}:
            raise self._taken(name)

    def _taken(self, name: str) -> RunExistsError:
        twin = next((other for other in self.folder_names() if other.casefold() == name.casefold()), name)
        same = "" if twin == name else f" (as {twin!r}: case does not tell runs apart)"
        return RunExistsError(
            f"A run called {name!r} is in {self.path} already{same}.\n  Choose another name, or leave it out.",
            path=self.path / twin,
        )

    def open(self, name: str) -> Run:
        """The run of that name. RunNotFoundError, with names that resemble it, when there is none."""
        with contextlib.suppress(ConfigError):
            names.check_name(name)
            run = Run(self.path / name)
            if run.exists():
                return run
        known = [run.name for run in self.list()]
        if (now := lineage.renamed_to(self.path, str(name))) is not None:
            hint = f" It is called {now!r} now."
        elif not known:
            hint = " It holds no runs yet: a script that calls hypertuner makes the first."
        else:
            hint = did_you_mean(name, known) or f" It holds {len(known)}: `hypertuner ls` lists them."
        raise RunNotFoundError(f"No run called {str(name)[:80]!r} in {self.path}.{hint}", path=self.path)

    def list(self) -> Iterator[Run]:
        """All runs, by name."""
        for name in self.folder_names():
            run = Run(self.path / name)
            if run.exists():
                yield run

    def delete(self, run: Run) -> Path:
        """Move a run into the storage's trash; where it is now."""
        from hypertuner.store.trash import Trash

        return Trash(self.path).put(run)

    def folder_names(self) -> tuple[str, ...]:
        """What lies in it and may be a run, by name; () when there is no such folder."""
        try:
            # A hundred thousand of them: a Path of each would cost more than all the rest.
            return tuple(sorted(name for name in os.listdir(self.path) if not name.startswith(".")))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def _make(self) -> None:
        files.make_folder(self.path)
        with contextlib.suppress(FileExistsError):
            if not (self.path / layout.GITIGNORE).exists():
                files.put_new(self.path / layout.GITIGNORE, b"*\n")
