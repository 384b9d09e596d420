"""The command line: `hypertuner train.py` opens the GUI, `hypertuner run train.py` runs it; `resume`, `ls`, `show`,
`logs`, `diff`, `verify`, `trust`, `export`, `demo`; `mv`, `rm` and their kind.

A front door: it parses, makes one call, prints. Exit codes: 0 it worked, 1 an error that hypertuner raises on purpose
(or a damaged file that `verify` found), 2 a command that cannot be read; `run` gives the script's own. Results go to
stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from hypertuner import settings
from hypertuner.errors import ConfigError, HypertunerError

_USAGE = 2
_INTERRUPTED = 130  # 128 + SIGINT
_OF_ALL_COMMANDS = {"--help", "--version", "--install-completion", "--show-completion"}
_NOBODY_READS = 141  # 128 + SIGPIPE, as `cat file | head` ends


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, of `sys.argv` when `argv` is None; its exit code. Raises nothing that a user should not see."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            # A terminal without UTF-8, or a file name that is none, is no reason to fail.
            reconfigure(errors="backslashreplace")
    try:
        code = _command(arguments)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # SystemExit is typer's answer to a closed pipe. Closed here, where it may fail: Python would try once more at
        # its end, and complain.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()
        return _NOBODY_READS
    except KeyboardInterrupt:
        return _INTERRUPTED
    except HypertunerError as error:
        return _told(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _told(f"{error.strerror or error}{where}")
    return code


def _told(message: str) -> int:
    from hypertuner.cli.terminal import say_error

    with contextlib.suppress(ConfigError):  # HYPERTUNER_DEBUG itself may be what is wrong
        if settings.DEBUG.get():
            traceback.print_exc()
    say_error(message)
    return 1


def whole_command() -> Any:
    """``hypertuner`` with all its commands, as a click group."""
    from typer.main import get_command

    from hypertuner.cli import (
        gui_app,  # noqa: F401  # adds its commands to the app
        keeping,  # noqa: F401  # the same
        queue_app,  # noqa: F401  # the same
        run_app,  # noqa: F401  # the same
    )
    from hypertuner.cli.app import app

    return get_command(app)


def _command(arguments: list[str]) -> int:
    from typer import Abort

    from hypertuner.cli import given
    from hypertuner.cli.app import UsageError
    from hypertuner.cli.terminal import say, say_error

    command = whole_command()
    if _is_for_the_gui(arguments, command.commands):
        arguments = ["gui", *arguments]
    try:
        code = command.main(arguments, prog_name="hypertuner", standalone_mode=False)
    except UsageError as error:
        say_error(error.format_message())
        say(f"  {error.ctx.command_path if error.ctx else 'hypertuner'} --help tells what it takes.")
        return _USAGE
    except given.GivenError as error:
        say_error(str(error))
        return _USAGE
    except Abort:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def _is_for_the_gui(arguments: list[str], commands: Container[str]) -> bool:
    """Whether the word `gui` was left out: before nothing at all, a script, a folder, or an option of the GUI's."""
    if not arguments:
        return True
    first = arguments[0]
    if first.startswith("-"):
        return first.partition("=")[0] not in _OF_ALL_COMMANDS
    return first not in commands and (first.endswith(".py") or Path(first).exists())
