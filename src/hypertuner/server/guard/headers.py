"""What every answer says to the browser about itself."""

from __future__ import annotations

import base64
import hashlib


def policy(script: bytes | None = None, style: bytes | None = None) -> bytes:
    """What a document may load: files of this server; and the one script and the one style that lie in it, if any."""
    return (
        f"default-src 'self'; script-src {_self_and(script)}; style-src {_self_and(style)}; "
        "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ).encode()


def _self_and(content: bytes | None) -> str:
    if content is None:
        return "'self'"
    return f"'self' 'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


ALWAYS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
UNLESS_SAID: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", policy()),
    (b"cache-control", b"no-store"),
)
"""A file that a browser is to save has a stricter policy, a file whose name is a hash of its content may be kept."""


def with_safety(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and what is always said."""
    said = {name.lower() for name, _ in headers}
    fixed = {name for name, _ in ALWAYS}
    own = [(name, value) for name, value in headers if name.lower() not in fixed]
    return [*own, *ALWAYS, *((name, value) for name, value in UNLESS_SAID if name not in said)]
