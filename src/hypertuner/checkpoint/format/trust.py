"""This user's key, and the mark that it leaves on files: 'I made this, its code is mine'.

A mark is an HMAC-SHA256 over what holds code, `data.pkl` (with the pickled module) and the index (with the recipe and
its sources), by a key that only this user can read. It says who vouches for the code in a file. It says nothing of the
weights: those are numbers, and the xxh3 hashes find accidents in them.

A file of somebody else's is vouched for without being touched: the mark that this key would leave on it is kept in the
folder `vouched` beside the key. So it works for files that cannot be written, and the entry is worth nothing without
the key, nor for a file whose code has one byte changed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from hypertuner import files
from hypertuner.errors import ConfigError
from hypertuner.settings import config_folder
from hypertuner.store import secret

VARIABLE = "HYPERTUNER_KEY"
LEAST_CHARACTERS = 16
_KEY_DOMAIN = b"hypertuner key 1\0"
_MARK_DOMAIN = b"hypertuner mark 1\0"


def user_key() -> bytes:
    """This user's key, 32 bytes: from HYPERTUNER_KEY, else from the file `key` in the config folder, made when missing.

    The text of the file, put into HYPERTUNER_KEY on another machine, gives the same key there.

    Raises: ConfigError where the key is too short, others can read its file, or it can be neither read nor made.
    """
    if text := os.environ.get(VARIABLE):
        return _key_from(text, VARIABLE, None)
    path = config_folder() / "key"
    text = secret.read_or_make(
        path,
        "the key that marks your own models",
        variables=f"{VARIABLE} or HYPERTUNER_HOME",
        when_deleted="files it marked lose your trust",
    )
    return _key_from(text, str(path), path)


def mark_of(key: bytes, data_pkl: bytes, index: bytes) -> str:
    """The mark of a file whose `data.pkl` and index have these bytes, in 64 hex digits."""
    # Two digests of fixed length after a tag: nothing can be moved from one part to the other.
    covered = _MARK_DOMAIN + hashlib.sha256(data_pkl).digest() + hashlib.sha256(index).digest()
    return hmac.new(key, covered, hashlib.sha256).hexdigest()


def is_mark(mark: str | None, key: bytes, data_pkl: bytes, index: bytes) -> bool:
    """Whether `mark` is what `key` leaves on a file with these bytes; compared in constant time."""
    return mark is not None and hmac.compare_digest(mark.encode(), mark_of(key, data_pkl, index).encode())


def _key_from(text: str, source: str, path: Path | None) -> bytes:
    text = text.strip()
    if len(text) < LEAST_CHARACTERS:
        raise ConfigError(
            f"{source} holds a key of {len(text)} characters; a key needs at least {LEAST_CHARACTERS}.\n"
            "  A good one: python -c 'import secrets; print(secrets.token_hex(32))'",
            key=VARIABLE,
            path=path,
        )
    # surrogateescape: the environment may hold bytes that are no UTF-8, and every text is a key.
    return hashlib.sha256(_KEY_DOMAIN + text.encode("utf-8", "surrogateescape")).digest()


def vouch(mark: str) -> bool:
    """Vouch for the file on which the user's key leaves `mark`; False when that was done before.

    Raises: ConfigError where it cannot be written down.
    """
    path = _voucher(mark)
    try:
        files.make_folder(path.parent.parent, mode=0o700)
        files.make_folder(path.parent, mode=0o700)
        files.put_new(path, b"", mode=0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"what you vouch for cannot be written down: {error.strerror}.\n"
            f"  It belongs into {path.parent}. Make that folder yours, or set HYPERTUNER_HOME.",
            path=path.parent,
        ) from error
    return True


def take_back(mark: str) -> bool:
    """Vouch no longer for the file of this mark; False when nobody did."""
    path = _voucher(mark)
    if not path.exists():
        return False
    files.remove(path)
    return True


def is_vouched(mark: str) -> bool:
    """Whether the user vouched for the file on which their key leaves `mark`."""
    return _voucher(mark).is_file()


def _voucher(mark: str) -> Path:
    return config_folder() / "vouched" / mark
