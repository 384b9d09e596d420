"""The commands that start runs, and what each takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from hypertuner.cli import given
from hypertuner.cli.app import StoragePath, app, run_names, storage_at

Processes = Annotated[
    int | None, typer.Option("--nproc", min=1, metavar="N", help="Train in N processes on this machine (torchrun).")
]
Gpus = Annotated[int | None, typer.Option("--gpus", min=1, metavar="N", help="The same, one for each of N GPUs.")]


class _RunCommand(TyperCommand):
    """A command that takes whatever follows its script; what follows `--` reaches the script untouched."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own, ctx.obj = given.split_at_dashes(args)
        return super().parse_args(ctx, own)


@app.command(
    cls=_RunCommand,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[OPTIONS]",
    short_help="Run a script with a config, in the foreground.",
    epilog="Values are JSON where they can be: lr=0.1 amp=true sizes=[64,64] name=text. What follows -- goes to the "
    "script untouched. The exit code is the script's.",
)
def run(
    ctx: typer.Context,
    script: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCRIPT] [key=value …] [-- ARGS …]",
            help="The Python file, then its config. Without it: the script, config and arguments of the run that "
            "--like, --fork or --from names.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run. Default: a friendly one.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REF",
            help="Begin with the weights of this checkpoint: brave-otter@best.",
            autocompletion=run_names,
        ),
    ] = None,
    nproc: Processes = None,
    gpus: Gpus = None,
    fork: Annotated[
        str | None,
        typer.Option(
            "--fork",
            metavar="REF",
            help="Continue this checkpoint in full: weights, optimizer, scheduler, counters. Changed settings win.",
            autocompletion=run_names,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="RUN",
            help="The config and arguments of this run, with the changes given.",
            autocompletion=run_names,
        ),
    ] = None,
    or_resume: Annotated[
        bool,
        typer.Option(
            "--or-resume",
            help="With --name: make the run the first time, resume it when the same command is given again; do nothing "
            "once it has finished. For jobs that a cluster requeues.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --or-resume: the run has ended, although its host cannot be asked.")
    ] = False,
    queue: Annotated[
        bool,
        typer.Option(
            "--queue",
            help="Let it wait in the queue instead: `hypertuner queue` starts what waits. Values with commas between "
            "them (lr=0.1,0.01) make a run each; a list is written in brackets.",
        ),
    ] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, metavar="N", help="With --queue: each N times, seed=0, 1, 2, …")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="N", help="With --queue: higher goes first. Default: 0.")
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after",
            metavar="RUN",
            help="With --queue: not before this run has finished.",
            autocompletion=run_names,
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option("--retries", min=0, metavar="N", help="With --queue: how often it is tried again. Default: 3."),
    ] = None,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            metavar="infrastructure|any",
            help="With --queue: after what: what the script cannot be blamed for (the default), or any failure.",
        ),
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", metavar="TIME", help="With --queue: stop it after 90s, 30m, 2h, 1d.")
    ] = None,
    no_system: Annotated[
        bool, typer.Option("--no-system", help="With --queue: do not record what it takes of the machine.")
    ] = False,
    live_code: Annotated[
        bool,
        typer.Option("--live-code", help="With --queue: start the code as it is then, not as it is now."),
    ] = False,
    storage: StoragePath = None,
) -> None:
    """Run a script with a config, in the foreground: as `python SCRIPT`, with the terminal to itself."""
    from hypertuner.cli.run import Wanted
    from hypertuner.cli.run import run as run_

    path, words = given.split_script(script, ctx.args)
    wanted = Wanted(
        name=name,
        start_from=start_from,
        fork=fork,
        like=like,
        or_resume=or_resume,
        force=force,
        nproc=nproc,
        gpus=gpus,
        queue=queue,
    )
    of_the_queue = {
        "--seeds": seeds,
        "--priority": priority,
        "--after": after,
        "--retries": retries,
        "--retry": retry,
        "--time-limit": time_limit,
        "--live-code": live_code,
        "--no-system": no_system,
    }
    if not queue:
        if asked := [name for name, value in of_the_queue.items() if value]:
            raise given.GivenError(f"{' and '.join(asked)}: for runs that wait. Add --queue.")
        raise typer.Exit(run_(path, words, ctx.obj, wanted, storage=storage_at(storage)))
    from hypertuner.cli.queueing import queue_runs, terms

    asked_for = terms(
        priority=priority,
        after=after or [],
        retries=retries,
        retry=retry,
        time_limit=time_limit,
        live_code=live_code,
    )
    queue_runs(path, words, ctx.obj, wanted, asked_for, seeds=seeds, system=not no_system, storage=storage_at(storage))


@app.command(
    cls=_RunCommand,
    short_help="Go on with a run that was interrupted.",
    epilog="The config of a run does not change; a new run with changes goes on from it by: hypertuner run --fork "
    "RUN@last key=value. The exit code is the script's.",
)
def resume(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN[@STEP] [-- ARGS …]",
            help="The run; it goes on from its newest checkpoint, or from that of this step. ARGS replace the "
            "arguments that the script was first started with.",
            autocompletion=run_names,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Working folder of the script. Default: the one that the run began in."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="The run has ended, although its host cannot be asked.")
    ] = False,
    nproc: Processes = None,
    gpus: Gpus = None,
    queue: Annotated[bool, typer.Option("--queue", help="Let it wait in the queue instead.")] = False,
    storage: StoragePath = None,
) -> None:
    """Go on with a run: its script once more, as the next attempt, everything restored.

    It trains in as many processes as it was made with; --nproc and --gpus take another number for this attempt.
    """
    from hypertuner.cli.run import processes_asked
    from hypertuner.cli.run import resume as resume_

    processes, place = processes_asked(nproc, gpus), storage_at(storage)
    raise typer.Exit(
        resume_(what, ctx.obj, folder=folder, force=force, processes=processes, queue=queue, storage=place)
    )
