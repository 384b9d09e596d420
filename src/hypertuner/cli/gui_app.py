"""The commands of the GUI, and what each takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypertuner.cli.app import StoragePath, app, storage_at

_HERE = "127.0.0.1"


@app.command(
    short_help="Open the GUI; also without the word gui.",
    epilog="hypertuner, hypertuner train.py and hypertuner experiments/ are the same as with gui before them.",
)
def gui(
    what: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SCRIPT|FOLDER]",
            help="What may be started from the GUI: this script, or those of this folder. Without it, only what runs "
            "of the storage were made from can be looked at, nothing started.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Default: $HYPERTUNER_PORT, else 4977, or the next free one."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to answer at. Default: this machine only; a tunnel reaches it.")
    ] = _HERE,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A name by which browsers ask for it, behind a proxy."),
    ] = None,
    i_terminate_tls: Annotated[
        bool,
        typer.Option("--i-terminate-tls", help="Something in front of it speaks TLS: any --host may be named."),
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
    slots: Annotated[
        int | None,
        typer.Option("--slots", min=1, metavar="N", help="How many runs at once. Default: one, or one for each GPU."),
    ] = None,
    no_drain: Annotated[
        bool, typer.Option("--no-drain", help="Start nothing that waits: `hypertuner queue` does that.")
    ] = False,
    storage: StoragePath = None,
) -> None:
    """Show the runs in a browser: compare them, look at their weights, start the next ones."""
    from hypertuner.cli.gui import gui as gui_

    code = gui_(
        storage_at(storage),
        what,
        host=host,
        port=port,
        names=allow_host or (),
        behind_tls=i_terminate_tls,
        browser=not no_browser,
        slots=slots,
        drains=not no_drain,
    )
    raise typer.Exit(code)


@app.command(short_help="Print an address that lets others look on.")
def share(
    edit: Annotated[bool, typer.Option("--edit", help="They may also change notes, tags and stars.")] = False,
    host: Annotated[str, typer.Option("--host", help="The name by which they reach the GUI.")] = _HERE,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The port there. Default: as of the GUI.")
    ] = None,
    storage: StoragePath = None,
) -> None:
    """Print the address of the GUI for others: they see the runs of this storage, and start nothing."""
    from hypertuner.cli.gui import share as share_

    share_(storage_at(storage), edit=edit, host=host, port=port)
