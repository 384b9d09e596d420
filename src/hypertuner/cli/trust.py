"""`hypertuner trust`: files of other people whose code one vouches for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypertuner.checkpoint import vouching
from hypertuner.checkpoint.vouching import Vouched
from hypertuner.cli import terminal
from hypertuner.cli.run import shown_path
from hypertuner.cli.terminal import plain
from hypertuner.cli.verify import files_named
from hypertuner.store import Storage

_LISTED = 8


def trust(what: Sequence[str], storage: Storage, *, take_back: bool = False, as_json: bool = False) -> None:
    """Vouch for files, or no longer. Raises: CorruptFileError; what resolving a reference does."""
    done = [vouching.vouch(path, take_back=take_back) for path in files_named(what, storage)]
    if as_json:
        terminal.show_json([_facts(each, take_back) for each in done])
        return
    for each in done:
        terminal.show_parts((_word(each, take_back), "bold"), ("  ", ""), (shown_path(each.path), ""))
        if not take_back and each.was is None:
            terminal.show_line(f"  made by {plain(each.user)} on {plain(each.host)}", "dim")
            more = f" and {len(each.runs) - _LISTED} more" if len(each.runs) > _LISTED else ""
            terminal.show_line(f"  loading it may run: {', '.join(map(plain, each.runs[:_LISTED]))}{more}", "dim")


def _word(each: Vouched, take_back: bool) -> str:
    if take_back:
        return {"yours": "yours: it carries your mark", "vouched": "no longer trusted", None: "was not trusted"}[
            each.was
        ]
    return {"yours": "yours already", "vouched": "trusted already", None: "trusted from now on"}[each.was]


def _facts(each: Vouched, take_back: bool) -> dict[str, Any]:
    is_trusted = each.was == "yours" or not take_back
    return {
        "path": str(each.path),
        "is_trusted": is_trusted,
        "was_trusted": each.was is not None,
        "user": each.user,
        "host": each.host,
        "runs": list(each.runs),
    }
