"""What the ranks that train one run tell each other: which run it is, what rank 0 decided, why one failed.

Rank 0 never waits; the others wait for its word, and say so when it takes long. No collective is used: a lone
`if rank == 0: saver.save()` cannot hang.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hypertuner import settings
from hypertuner.errors import CheckpointError, ConfigError, StorageError
from hypertuner.store import board, ranks
from hypertuner.store.said import say

RUN_VARIABLE = "HYPERTUNER_RUN"
FAILED = "failed"
"""Under this word and its number a rank that does not write tells why it failed."""

# How gloo and NCCL say it.
_PEER_IS_GONE = ("closed by peer", "reset by peer", "remote process exited", "DistBackendError", "DistNetworkError")
_SILENT_S = 10.0  # a rank that waits longer for rank 0 says so


class Together:
    """The ranks of one run; `number` is which run of its process it is, counted the same on all ranks."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._asked: dict[str, int] = {}
        self._told_in_group = False

    def key(self, word: str) -> str:
        """Where the ranks of this attempt find a word of each other (`store.board`)."""
        return f"{self._number}/{ranks.restarts()}/{word}"

    @property
    def _folder_key(self) -> str:
        return f"{self._number}/run"

    def tell_folder(self, folder: Path) -> None:
        """Let the other ranks know which run this is; once more when the process group comes after the first record."""
        if self._told_in_group or ranks.world_size() == 1:
            return
        self._told_in_group = ranks.process_group() is not None
        board.tell(self._folder_key, os.fsencode(folder))

    def folder_if_told(self) -> Path | None:
        """The folder of the run that rank 0 began, if it did by now."""
        told = board.ask(self._folder_key)
        return Path(os.fsdecode(told)) if told is not None else None

    def ask_folder(self) -> Path:
        """The folder of the run that rank 0 began; waits until it did. ConfigError when it does not."""
        return Path(
            os.fsdecode(self._of_rank_0(self._folder_key, "begin the run (it does when it first logs or saves)"))
        )

    def agree(self, what: str, doing: str, decide: Callable[[], str]) -> str:
        """What rank 0 decided, the same on every rank: rank 0 does not wait, the others wait for its word.

        `doing` says what rank 0 does there, for people. An error of `decide` is raised on every rank.
        """
        if ranks.world_size() == 1:
            return decide()
        count = self._asked[what] = self._asked.get(what, 0) + 1
        key = self.key(f"{what}/{count}")
        if ranks.rank() > 0:
            word = os.fsdecode(self._of_rank_0(key, doing))
            if word.startswith("!"):
                raise CheckpointError(word[1:])
            return word[1:]
        try:
            decided = decide()
        except (CheckpointError, StorageError) as error:
            board.tell(key, os.fsencode(f"!{error}"))
            raise
        board.tell(key, os.fsencode(f"={decided}"))
        return decided

    def tell_failure(self, reason: str) -> None:
        """The run of a rank that does not write: rank 0 says in exit.json why it failed."""
        board.tell(self.key(f"{FAILED}/{ranks.rank()}"), reason.encode(errors="replace"))

    def with_others(self, state: str, reason: str) -> tuple[str, str]:
        """(state, reason) of rank 0's end, with what another rank told of its own.

        What rank 0 sees is what came of that: torchrun stops it, or a connection is suddenly closed.
        """
        for other in range(1, ranks.world_size()):
            if (told := board.ask(self.key(f"{FAILED}/{other}"))) is not None:
                return "failed", f"rank {other}: {told.decode(errors='replace')}"
        is_lost = state == "failed" and any(words in reason for words in _PEER_IS_GONE)
        return state, f"another rank was killed or lost: {reason}" if is_lost else reason

    def _of_rank_0(self, key: str, what: str) -> bytes:
        """The word of rank 0, waited for."""
        if board.reaches_all():
            patience = settings.RANKS_WAIT_S.get()
            for last_s in (min(_SILENT_S, patience), patience - _SILENT_S):
                if (word := board.wait([key], last_s).get(key)) is not None:
                    return word
                say(f"rank {ranks.rank()} waits for rank 0 to {what}", rank=None)
            why = f"rank 0 did not {what} within {patience:.0f} s"
        else:
            why = "rank 0 runs on another machine, and cannot be heard before the process group is there"
        raise ConfigError(
            f"Rank {ranks.rank()} does not know what rank 0 does with this run: {why}.\n"
            "  Make Args, Logger and Saver on every rank, after torch.distributed.init_process_group(); on several "
            f"machines, also name the run for all: {RUN_VARIABLE}=my-run torchrun …"
        )
