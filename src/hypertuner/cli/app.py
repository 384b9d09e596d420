"""The commands and what each takes. What they do is a function in the file of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import hypertuner
from hypertuner import settings
from hypertuner.store.names import is_name

_FIRST = ("gui", "run", "queue", "resume", "stop", "ls", "show", "logs")


class _Commands(TyperGroup):
    """The commands in the order in which they are met."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: (*_FIRST, name).index(name))


app = typer.Typer(
    name="hypertuner",
    cls=_Commands,
    help="Save every model together with its config, see which run did better, start the next from its weights. "
    "`hypertuner`, `hypertuner train.py`: the GUI.",
    epilog="A run is named by its name; several, where a command takes a QUERY, as in Python: "
    "'val_acc > 0.9 and lr < 0.01'. Names complete with the tab key after: hypertuner --install-completion. "
    "Exit codes: 0 it worked; 1 it did not, and stderr says what to do (verify: a file is damaged; rm, clean: the "
    "answer was no); 2 the command line cannot be read; run and demo: the script's own; 130 Ctrl-C.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
)


# What is raised for a wrong command line lives in click, or, in newer versions, in typer's own copy of it.
UsageError: Any = typer.BadParameter.__bases__[0]


def run_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs for the shell to complete, and after `run@` those of its checkpoints. Reads names only."""
    from hypertuner.store import Run

    place = storage_at(ctx.params.get("storage"))
    name, at, which = incomplete.partition("@")
    if not at:
        return [found for found in place.folder_names() if found.startswith(incomplete)]
    steps = dict.fromkeys(str(file.step) for file in Run(place.path / name).checkpoints()) if is_name(name) else {}
    return [f"{name}@{word}" for word in ("best", "last", *steps) if word.startswith(which)]


def trashed_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of deleted runs for the shell to complete."""
    from hypertuner.store.trash import Trash

    there = Trash(storage_at(ctx.params.get("storage")).path).list()
    return list(dict.fromkeys(trashed.run.name for trashed in there if trashed.run.name.startswith(incomplete)))


StoragePath = Annotated[
    Path | None,
    typer.Option("--storage", help="Folder that holds the runs. Default: $HYPERTUNER_STORAGE, else ./storage."),
]
FORMATS = ("safetensors", "state_dict")
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def storage_at(path: Path | None) -> Any:
    """The storage that `--storage` names, or the usual one."""
    from hypertuner.store import Storage

    return Storage(path if path is not None else settings.storage_path())


def _print_version(asked: bool) -> None:
    if asked:
        print(f"hypertuner {hypertuner.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("ls", short_help="List the runs, and what tells them apart.")
def ls(
    query: Annotated[
        str | None, typer.Argument(help="Which runs, as in Python: 'val_acc > 0.9 and lr < 0.01'.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="METRIC", help="Best first; also a config key, or age.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many runs.")] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Which columns, with commas: name,differs,best(val_acc),age")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="AGE|DATE", help="Only runs made since: 12h, 7d (s m h d w), 2026-03-01."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Archived runs too.")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="Archived runs only.")] = False,
    trash: Annotated[
        bool, typer.Option("--trash", help="List deleted runs instead: what restore brings back.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Go on showing them, what runs and waits first, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
    storage: StoragePath = None,
) -> None:
    """List the runs: how they ended, what differs between them, what they reached.

    Settings that are the same in all runs are left out. Where a terminal has no room for a column of each setting that
    differs, they come as one: `lr=0.01 hidden=32`.
    """
    from hypertuner.cli.ls import Asked
    from hypertuner.cli.ls import ls as ls_
    from hypertuner.cli.trash import show_trash

    asked = Asked(query, sort, limit, columns, since, everything, archived)
    if trash:
        show_trash(storage_at(storage), as_json=as_json)
    elif live:
        from hypertuner.cli.live import watch

        watch(storage_at(storage), asked, as_json=as_json)
    else:
        ls_(storage_at(storage), asked, as_json=as_json)


@app.command(short_help="Show one run, or what a model file says of itself.")
def show(
    what: Annotated[
        str, typer.Argument(metavar="REF|FILE", help="A run, run@best, or any model file.", autocompletion=run_names)
    ],
    as_json: Json = False,
    storage: StoragePath = None,
) -> None:
    """Show one run, or what a model file says of itself (its code is never run; torch is not needed)."""
    from hypertuner.cli.show import show as show_

    show_(what, storage_at(storage), as_json=as_json)


@app.command(short_help="Print what a run's script printed.")
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run.", autocompletion=run_names)],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run is over; Ctrl-C leaves it running.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, metavar="N", help="Only the last N lines.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, metavar="N", help="Of this attempt. Default: the newest.")
    ] = None,
    storage: StoragePath = None,
) -> None:
    """Print what a run's script printed; of progress bars their last state."""
    from hypertuner.cli.logs import logs as logs_

    logs_(run, storage_at(storage), follow=follow, lines=lines, number=attempt)


@app.command(
    short_help="Show what differs between two runs.",
    epilog="A run is compared as it ended, run@best or a file as that checkpoint says of itself.",
)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run, run@best, or a file.", autocompletion=run_names)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.", autocompletion=run_names)],
    all_code: Annotated[bool, typer.Option("--all-code", help="All lines of code that differ, however many.")] = False,
    as_json: Json = False,
    storage: StoragePath = None,
) -> None:
    """Show what differs between two runs: config, metrics, environment and packages, git commit, code."""
    from hypertuner.cli.diff import diff as diff_

    diff_(a, b, storage_at(storage), as_json=as_json, all_code=all_code)


@app.command(short_help="Tell whether checkpoints are whole, to the last bit.")
def verify(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REF|FILE …]", help="Default: every checkpoint.", autocompletion=run_names),
    ] = None,
    as_json: Json = False,
    storage: StoragePath = None,
) -> None:
    """Read checkpoints whole and tell whether every bit is as it was written. Exit code 1: one is damaged."""
    from hypertuner.cli.verify import verify as verify_

    raise typer.Exit(verify_(what or [], storage_at(storage), as_json=as_json))


@app.command(
    short_help="Vouch for model files that others made.",
    epilog="The files are not touched: it is written down beside your key, for this user only, and holds for them "
    "wherever they lie. A file whose code has changed since is not trusted. Weights load without any of this.",
)
def trust(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="REF|FILE …", help="Model files; of a run, all its checkpoints.", autocompletion=run_names
        ),
    ],
    take_back: Annotated[bool, typer.Option("--take-back", help="Trust them no longer.")] = False,
    as_json: Json = False,
    storage: StoragePath = None,
) -> None:
    """Vouch for model files that others made: `hypertuner.load()` then runs the code of their model objects."""
    from hypertuner.cli.trust import trust as trust_

    trust_(what, storage_at(storage), take_back=take_back, as_json=as_json)


@app.command(short_help="Write weights as a file for other programs.")
def export(
    what: Annotated[
        str, typer.Argument(metavar="REF|FILE", help="A run, run@best, or a model file.", autocompletion=run_names)
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="Which kind of file. Needed.",
            autocompletion=lambda incomplete: [name for name in FORMATS if name.startswith(incomplete)],
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write. Default: <run>.…")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    storage: StoragePath = None,
) -> None:
    """Write a model's weights as a file that opens without hypertuner."""
    from hypertuner.cli.export import export as export_

    export_(what, to, output, storage_at(storage), force=force)


@app.command(short_help="See it work: seven small nets, about a minute.")
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where it is made.")] = Path("hypertuner-demo"),
    gui: Annotated[bool, typer.Option("--gui/--no-gui", help="Show them in the GUI afterwards, at a terminal.")] = True,
) -> None:
    """Train six small nets on handwritten digits, compare them, start a seventh from the best one's weights, and show
    all seven in the GUI until Ctrl-C."""
    from hypertuner.cli.demo import demo as demo_

    raise typer.Exit(demo_(folder, gui=gui))
