"""What the guard says no with: always the same words for the same reason, whatever was asked for."""

from __future__ import annotations


class RefusedError(Exception):
    """A request is refused: `status` of HTTP, `kind` and `words` of the Problem."""

    status = 400
    kind = "refused"
    words = "This request is refused."


class UnauthorisedError(RefusedError):
    """Nobody is logged in."""

    status = 401
    kind = "unauthorised"
    words = "You are not logged in here.\n  Open the address that hypertuner printed when it was started."


class ForbiddenError(RefusedError):
    """Who asks may not."""

    status = 403
    kind = "forbidden"
    words = "You may not do that here.\n  Ask whoever started hypertuner for an address that allows it."
