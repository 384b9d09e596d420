"""One number out of whatever a framework calls a number, without importing any framework."""

from __future__ import annotations

from typing import Any, Protocol

from hypertuner.store.media import Media


class Pending(Protocol):
    """A number that is still on its way from an accelerator."""

    def wait(self) -> float:
        """The number; returns once it has arrived."""
        ...


def readable(value: Any) -> Any:
    """`value` as a metric can hold it: a number, bool, text, None, Media, or a Pending. TypeError for the rest."""
    if isinstance(value, str):
        return text(value)
    if value is None or isinstance(value, (bool, Media)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else float(value)
    if isinstance(value, float):
        return float(value)
    if getattr(value, "is_cuda", False) and value.numel() == 1:
        from hypertuner.frameworks.torch.scalars import read_later

        return read_later(value)
    return plain(value)


def text(value: str) -> str:
    """`value` as JSON can hold it: bytes that were no text (lone surrogates, as in odd file names) are spelled out."""
    return value if value.isascii() else value.encode(errors="backslashreplace").decode()


def plain(value: Any) -> Any:
    """A Python number out of an array or tensor with one element; numbers as they are. TypeError for the rest."""
    if isinstance(value, (int, float, str)):
        return value
    item = getattr(value, "item", None)
    if item is None or (getattr(value, "numel", None) or _size_of(value))() != 1:
        raise TypeError(type(value).__name__)
    number = item()
    if not isinstance(number, (bool, int, float, str)):
        raise TypeError(type(value).__name__)
    return number


def _size_of(value: Any) -> Any:
    return lambda: getattr(value, "size", 0)


def is_pending(value: object) -> bool:
    """Whether `settle` would have to wait for an accelerator."""
    return hasattr(value, "wait")


def settle(value: Any) -> Any:
    """The number behind a Pending; anything else as it is."""
    return value.wait() if is_pending(value) else value
