"""Files that a browser saves and never shows."""

from __future__ import annotations

from urllib.parse import quote

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._- ")


def attachment(name: str) -> dict[str, str]:
    """Headers that make an answer a file of this name (RFC 6266): whatever the name holds, it stays a name."""
    name = name.replace("/", "_").replace("\\", "_")
    plain = "".join(sign if sign in _PLAIN else "_" for sign in name)
    exact = quote(name.encode("utf-8", "replace"), safe="")
    return {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
