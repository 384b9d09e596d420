"""Which runs a command is about: names and queries, mixed, as people type them.

A word that may be a name is one, and never a query: `rm loss` is about a run called so, or about none. Nothing else is
taken for a run: no pattern, no '.', no '..', no empty text, and no folder outside the storage.

An archived run is out of sight: by its name it is found, by a query only when that says `archived`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypertuner.errors import QueryError, RunNotFoundError
from hypertuner.index.query import Query
from hypertuner.index.runs import runs
from hypertuner.index.table import RunTable
from hypertuner.store import Run, Storage
from hypertuner.store.names import is_name


def select(words: Sequence[str], storage: Storage, *, archived: bool = False) -> list[Run]:
    """The runs that `words` name or describe, each once, in the order of the words; with `archived`, a query is about
    archived runs alone.

    Raises: RunNotFoundError for a name without a run; QueryError for a query that cannot be read; either, for a word
    that is neither.
    """
    found: dict[str, Run] = {}
    for word in words:
        for name in _named(word, storage, archived):
            found.setdefault(name, Run(storage.path / name))
    return list(found.values())


def described(query: str | None, storage: Storage) -> RunTable:
    """The runs that `query` describes, or all, without the archived ones unless it asks about them.

    Raises: QueryError.
    """
    table = runs(query, storage)
    return table if query is not None and "archived" in Query(query).names else table.in_sight()


def _named(word: str, storage: Storage, archived: bool) -> list[str]:
    if is_name(word):
        return [storage.open(word).name]
    if (name := _folder_in(word, storage)) is not None:
        return [name]
    if not word.strip() or set(word) <= set("./*?\\ "):
        raise RunNotFoundError(
            f"{word!r} names no run.\n  Name runs, or describe them: 'age > \"30d\" and not starred'. All: 'age > 0'."
        )
    try:
        table = runs(word, storage).filter("archived") if archived else described(word, storage)
        return [row.name for row in table]
    except QueryError as error:
        if "/" in word or "*" in word:
            raise RunNotFoundError(
                f"{word!r} is neither a run of {storage.path} nor a query.\n"
                "  Runs are named by their names; several by a query: 'name.startswith(\"brave\")'.",
                path=storage.path,
            ) from error
        raise


def _folder_in(word: str, storage: Storage) -> str | None:
    """The run whose folder `word` is, as a shell completes it: a folder that lies in the storage itself."""
    path = Path(word)
    if ".." in path.parts or not is_name(path.name) or ("/" not in word and "\\" not in word):
        return None
    if path.absolute().parent != storage.path or not Run(storage.path / path.name).exists():
        return None
    return path.name
