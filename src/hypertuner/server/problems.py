"""Errors as answers: what hypertuner raises on purpose becomes a Problem with its status, everything else one that says
nothing of the inside."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hypertuner import errors
from hypertuner.server.contract.runs import Problem
from hypertuner.server.guard.refusals import NotFoundError, RefusedError, UnexpectedError, WrongMethodError

# The first that fits; whatever else is of the house cannot be done now.
_STATUS: tuple[tuple[type[errors.HypertunerError], int], ...] = (
    (errors.RunNotFoundError, 404),
    (errors.CheckpointNotFoundError, 404),
    (errors.ConfigError, 400),
    (errors.QueryError, 400),
    (errors.HypertunerError, 409),
)
_OWN_WORDS: Mapping[int, type[RefusedError]] = {404: NotFoundError, 405: WrongMethodError}


def add_to(app: FastAPI) -> None:
    """Let an application answer every error with a Problem."""
    for kind in (errors.HypertunerError, RefusedError, RequestValidationError, HTTPException, OSError, Exception):
        app.add_exception_handler(kind, _answer)


def _answer(_: Request, error: Exception) -> Response:
    status, problem = problem_of(error)
    headers = error.headers if isinstance(error, RefusedError) else None
    return Response(_bytes(problem), status, headers=headers, media_type="application/json")


def problem_of(error: Exception) -> tuple[int, Problem]:
    """(status, what is said of an error)."""
    if isinstance(error, errors.HypertunerError):
        return _status(error), Problem(
            error=type(error).__name__,
            message=str(error),
            position=getattr(error, "position", None),
            key=getattr(error, "key", None),
        )
    if isinstance(error, RefusedError):
        return error.status, error.problem()
    if isinstance(error, RequestValidationError):
        return 400, _of_what_was_asked(error)
    if isinstance(error, HTTPException):
        own = _OWN_WORDS.get(error.status_code)
        if own is not None:
            return error.status_code, own().problem()
        return error.status_code, Problem(error="refused", message=str(error.detail))
    if isinstance(error, FileNotFoundError):
        # Between the look at a folder and the reading of a file, whoever trains may have removed it.
        return 404, Problem(error="not found", message="It was there, and is gone.\n  Load the page again.")
    if isinstance(error, OSError):
        return 409, Problem(error=type(error).__name__, message=f"The system refuses: {error.strerror or 'no reason'}.")
    return UnexpectedError.status, UnexpectedError().problem()


def _bytes(problem: Problem) -> bytes:
    # A file name that is no text has halves of characters in Python, which JSON has not.
    message = problem.message.encode("utf-8", "backslashreplace").decode()
    return problem.model_copy(update={"message": message}).model_dump_json().encode()


def _status(error: errors.HypertunerError) -> int:
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def _of_what_was_asked(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    place = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path")]
    where = ".".join(place)
    return Problem(
        error="ConfigError",
        message=f"{where[:200] or 'What was sent'}: {str(first.get('msg', 'cannot be read'))[:300]}.\n"
        "  Correct it, and ask again.",
        key=where[:200] or None,
    )
