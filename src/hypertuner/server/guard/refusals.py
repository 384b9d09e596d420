"""What the guard says no with: always the same words for the same reason, whatever was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from hypertuner.server.contract.runs import Problem


class RefusedError(Exception):
    """A request is refused: `status` of HTTP, `kind` and `words` of the Problem."""

    status = 400
    kind = "refused"
    words = "This is no request that hypertuner understands."
    headers: Mapping[str, str] = {}

    def problem(self) -> Problem:
        """The body of the answer."""
        return Problem(error=self.kind, message=self.words)


class UnauthorisedError(RefusedError):
    """Nobody is logged in."""

    status = 401
    kind = "unauthorised"
    words = "You are not logged in here.\n  Open the address that hypertuner printed when it was started."
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class ForbiddenError(RefusedError):
    """Who asks may not."""

    status = 403
    kind = "forbidden"
    words = "You may not do that here.\n  Ask whoever started hypertuner for an address that allows it."


class ForeignHostError(ForbiddenError):
    """The request is for a name that this server does not go by."""

    words = (
        "hypertuner does not answer under this name.\n"
        "  Open http://127.0.0.1 with its port, or start it with --allow-host and the name that the browser shows."
    )


class ForeignPageError(ForbiddenError):
    """The request comes from another site's page."""

    words = (
        "The request comes from a page that is not hypertuner's own.\n"
        "  A program sends the token as 'Authorization: Bearer …', and with what changes something 'X-Hypertuner: 1'."
    )


class NotFoundError(RefusedError):
    """There is no such route, or nothing of that name."""

    status = 404
    kind = "not found"
    words = "There is nothing here."


class WrongMethodError(RefusedError):
    """There is such a route, but not with this method."""

    status = 405
    kind = "refused"
    words = "That cannot be asked here in this way."


class TooSlowError(RefusedError):
    """The body did not come."""

    status = 408
    kind = "too much"
    words = "The request did not come to its end in time."


class TooLargeError(RefusedError):
    """The body is larger than anything that is asked here."""

    status = 413
    kind = "too much"
    words = "The request is too large: 8 MB are the most."


class NotJsonError(RefusedError):
    """The body's type is not JSON."""

    status = 415
    kind = "refused"
    words = "What is sent here must be JSON (application/json)."


class BadJsonError(RefusedError):
    """The body is no JSON."""

    words = "What was sent is no JSON."


class TooOftenError(RefusedError):
    """Too many wrong tokens."""

    status = 429
    kind = "too much"
    words = "The token was wrong too often.\n  Wait a minute, then open the address that hypertuner printed."
    headers: Mapping[str, str] = {"Retry-After": "60"}


class TooManyHeadersError(RefusedError):
    """The head of the request is larger than anything that is asked here."""

    status = 431
    kind = "too much"
    words = "The head of the request is too large."


class UnexpectedError(RefusedError):
    """What nobody expected went wrong; the answer says nothing of the inside."""

    status = 500
    kind = "unexpected"
    words = (
        "Something in hypertuner itself went wrong; nothing that was saved is touched.\n"
        "  The terminal in which it was started says more."
    )
