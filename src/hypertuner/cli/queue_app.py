"""The commands of the queue, and what each takes."""

from __future__ import annotations

from typing import Annotated

import typer

from hypertuner.cli.app import Json, StoragePath, app, run_names, storage_at
from hypertuner.cli.keeping import Runs

_WHICH = typer.Argument(
    metavar="[RUN|QUERY …]", help="Runs that wait. Default: the whole queue.", autocompletion=run_names
)
queue_app = typer.Typer(
    help="Start the runs that wait, as long as there is room; and change what waits.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(queue_app, name="queue", short_help="Start the runs that wait; change what waits.")


@queue_app.callback()
def queue(
    ctx: typer.Context,
    slots: Annotated[
        int | None,
        typer.Option("--slots", min=1, metavar="N", help="How many at once. Default: one, or one for each GPU."),
    ] = None,
    per_gpu: Annotated[int, typer.Option("--per-gpu", min=1, metavar="N", help="How many share a GPU.")] = 1,
    cpu: Annotated[bool, typer.Option("--cpu", help="Give the runs no GPU: they take what they find.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Go on when this terminal is closed.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Do not end when nothing waits any more.")] = False,
    no_zygote: Annotated[
        bool, typer.Option("--no-zygote", help="Start each script as a Python of its own, which takes seconds longer.")
    ] = False,
    storage: StoragePath = None,
) -> None:
    """Start the runs that wait, in their order, as long as there is room for them; ends when nothing waits.

    What runs does not need this process: it goes on when this one is ended, and the next one takes it up.
    """
    if ctx.invoked_subcommand is not None:
        return
    from hypertuner.cli import queue as commands

    if detach:
        words = [*(["--slots", str(slots)] if slots else []), "--per-gpu", str(per_gpu)]
        words += [name for name, asked in (("--cpu", cpu), ("--stay", stay), ("--no-zygote", no_zygote)) if asked]
        commands.drain_detached(storage_at(storage), words)
        return
    place = storage_at(storage)
    raise typer.Exit(commands.drain(place, slots=slots, per_gpu=per_gpu, cpu=cpu, stays=stay, zygote=not no_zygote))


@queue_app.command("ls", short_help="What runs and what waits, in order, and why.")
def ls(as_json: Json = False, storage: StoragePath = None) -> None:
    """Show what runs and what waits, in order, and why."""
    from hypertuner.cli.queue_ls import show

    show(storage_at(storage), as_json=as_json)


@queue_app.command("mv", short_help="Change the place of a run that waits.")
def mv(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run.", autocompletion=run_names)],
    before: Annotated[
        str | None, typer.Option("--before", metavar="RUN", help="Before this one.", autocompletion=run_names)
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Behind all others. Without an option: before them.")] = False,
    storage: StoragePath = None,
) -> None:
    """Change the place of a run that waits: first, unless an option says otherwise."""
    from hypertuner.cli import queue as commands

    commands.move(storage_at(storage), run, before=before, last=last)


@queue_app.command("rm", short_help="Take runs out of the queue; they stay as drafts.")
def rm(runs: Runs, storage: StoragePath = None) -> None:
    """Take runs out of the queue. One that runs goes on, and is not tried again."""
    from hypertuner.cli import queue as commands

    commands.withdraw(storage_at(storage), runs)


@queue_app.command("pause", short_help="Start nothing new; or let some runs wait.")
def pause(runs: Annotated[list[str] | None, _WHICH] = None, storage: StoragePath = None) -> None:
    """Start nothing new; what runs goes on. With RUNs, only these wait."""
    from hypertuner.cli import queue as commands

    commands.pause(storage_at(storage), runs or [], held=True)


@queue_app.command("resume", short_help="Let the queue, or some runs, go on.")
def resume(runs: Annotated[list[str] | None, _WHICH] = None, storage: StoragePath = None) -> None:
    """Let the queue go on. With RUNs, let these go on."""
    from hypertuner.cli import queue as commands

    commands.pause(storage_at(storage), runs or [], held=False)


@queue_app.command("stop", short_help="End whoever drains the queue; what runs goes on.")
def stop(storage: StoragePath = None) -> None:
    """End whoever drains the queue: nothing new starts; what runs goes on. `hypertuner stop RUN` stops a run."""
    from hypertuner.cli import queue as commands

    raise typer.Exit(commands.leave(storage_at(storage)))


@app.command("stop", short_help="Stop runs: they may save, and are killed after a while.")
def stop_runs(
    runs: Runs,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until they have ended.")] = False,
    storage: StoragePath = None,
) -> None:
    """Stop runs: SIGTERM, then some seconds (HYPERTUNER_GRACE_S) in which the script may save, then SIGKILL to all that
    it started. Those that wait leave the queue."""
    from hypertuner.cli import queue as commands

    raise typer.Exit(commands.stop(storage_at(storage), runs, wait=not no_wait))
