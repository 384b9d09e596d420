"""The commands about runs that are there already, and what each takes: names, notes, pins, the trash, adoption."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypertuner.cli.app import Json, StoragePath, app, run_names, storage_at, trashed_names

Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN|QUERY …", help="Runs by name, or as in Python: 'loss > 2'.", autocompletion=run_names),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")]


@app.command(short_help="Give a run another name.")
def mv(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run.", autocompletion=run_names)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name: A-Z a-z 0-9 . _ -, at most 64.")],
    storage: StoragePath = None,
) -> None:
    """Give a run another name. Runs that began from it still know it; one that is running keeps its name."""
    from hypertuner.cli.notes import mv as mv_

    mv_(storage_at(storage), run, new)


@app.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Add and remove tags of runs.",
    epilog="hypertuner tag brave-otter +baseline -old; hypertuner tag 'val_acc > 0.9' +good; "
    "then: hypertuner ls '\"good\" in tags'",
)
def tag(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|QUERY …] [+TAG …] [-TAG …]",
            help="Which runs, and what changes. No change: show. Nothing at all: every tag there is.",
            autocompletion=run_names,
        ),
    ] = None,
    storage: StoragePath = None,
) -> None:
    """Add and remove tags of runs, or show them."""
    from hypertuner.cli.notes import tag as tag_

    tag_(storage_at(storage), words or [])


@app.command(short_help="Write or read a run's note.")
def note(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run.", autocompletion=run_names)],
    text: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help='The note; "" removes it. None: show it.')
    ] = None,
    storage: StoragePath = None,
) -> None:
    """Write what you think of a run, or read it. `show` prints it; a query finds it: 'note.contains("odd")'."""
    from hypertuner.cli.notes import note as note_

    note_(storage_at(storage), run, text)


@app.command(short_help="Give runs a star.")
def star(
    runs: Runs,
    off: Annotated[bool, typer.Option("--off", help="Take it away.")] = False,
    storage: StoragePath = None,
) -> None:
    """Give runs a star: `ls` marks them, and the query `starred` finds them."""
    from hypertuner.cli.notes import star as star_

    star_(storage_at(storage), runs, off=off)


References = Annotated[
    list[str], typer.Argument(metavar="REF …", help="Checkpoints: RUN@STEP, RUN@best, RUN.", autocompletion=run_names)
]


@app.command(short_help="Keep a checkpoint whatever goes.", epilog="hypertuner pin brave-otter@1200")
def pin(references: References, storage: StoragePath = None) -> None:
    """Pin checkpoints: neither a Saver nor `clean` removes them or takes out their training state. `show` marks them.

    A run with a pinned checkpoint is not cleaned away. `rm` moves it into the trash all the same, if you say so.
    """
    from hypertuner.cli.notes import pin as pin_

    pin_(storage_at(storage), references, off=False)


@app.command(short_help="Pin a checkpoint no longer.")
def unpin(references: References, storage: StoragePath = None) -> None:
    """Take pins away. The checkpoints stay until a Saver or `clean` finds that they may go."""
    from hypertuner.cli.notes import pin as pin_

    pin_(storage_at(storage), references, off=True)


@app.command(short_help="Take runs out of sight.")
def archive(runs: Runs, storage: StoragePath = None) -> None:
    """Take runs out of sight: `ls` and queries leave them out, and all else works by their name. Nothing moves.

    `ls --archived` lists them; `unarchive` brings them back; a query finds them when it says `archived`.
    """
    from hypertuner.cli.notes import archive as archive_

    archive_(storage_at(storage), runs)


@app.command(short_help="Bring archived runs back into sight.")
def unarchive(runs: Runs, storage: StoragePath = None) -> None:
    """Bring archived runs back into sight."""
    from hypertuner.cli.notes import unarchive as unarchive_

    unarchive_(storage_at(storage), runs)


@app.command(
    short_help="Move runs into the trash.",
    epilog='hypertuner rm brave-otter; hypertuner rm \'state == "failed" and age > "7d" and not starred\'',
)
def rm(runs: Runs, yes: Yes = False, storage: StoragePath = None) -> None:
    """Move runs into the trash of their storage: nothing is lost until `hypertuner clean`.

    Shows how many and how much, and asks. A run that is running, or that a waiting or running one begins from, stays.
    One that finished runs began from may go: each has the weights in a file of its own.
    """
    from hypertuner.cli.trash import rm as rm_

    raise typer.Exit(rm_(storage_at(storage), runs, yes=yes))


@app.command(short_help="Bring runs back from the trash.")
def restore(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN …", help="Names; `ls --trash` lists them.", autocompletion=trashed_names),
    ],
    storage: StoragePath = None,
) -> None:
    """Bring runs back from the trash, as they were. Of several with one name, the one that was deleted last."""
    from hypertuner.cli.trash import restore as restore_

    restore_(storage_at(storage), runs)


@app.command(
    short_help="Empty the trash, or make a storage fit.",
    epilog="hypertuner clean --older-than 30d; hypertuner clean --to 20GB --dry-run",
)
def clean(
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="SIZE", help="Least worth first into the trash, until the storage takes so much."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Only what was deleted so long ago: 30d, 12h.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and stop.")] = False,
    yes: Yes = False,
    storage: StoragePath = None,
) -> None:
    """Remove what is in the trash for ever. Shows what, and how much the disk gains, and asks.

    With --to, move into the trash what is least worth until all else takes at most so much: training state of older
    checkpoints, then checkpoints that are neither best, last nor pinned, then training state of the last ones of
    finished runs, then whole runs, the worst first. Never what is pinned, nor a run that is starred, runs or is needed.
    """
    if to is not None:
        from hypertuner.cli.space import clean_to

        raise typer.Exit(clean_to(storage_at(storage), to, older_than=older_than, yes=yes, dry_run=dry_run))
    from hypertuner.cli.trash import clean as clean_

    raise typer.Exit(clean_(storage_at(storage), older_than=older_than, yes=yes, dry_run=dry_run))


@app.command(
    short_help="Make runs out of model files that are there already.",
    epilog="hypertuner adopt lightning_logs/; hypertuner adopt old/*.pt; then: hypertuner ls; "
    "hypertuner run train.py --from NAME",
)
def adopt(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH …", help="Files (.pt .pth .ckpt .bin .safetensors), or folders with all in them."),
    ],
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Also read whole pickled objects, which runs their code. Only if you know it."),
    ] = False,
    as_json: Json = False,
    storage: StoragePath = None,
) -> None:
    """Make runs out of model files that are there already, with the settings and metrics that they carry.

    Reads PyTorch files, Lightning's, Hugging Face folders, nanoGPT's and safetensors. Checkpoints of one training
    become one run. Nothing in a file is executed, the files stay as they are, and what was adopted before is left out.
    """
    from hypertuner.cli.adopt import adopt as adopt_

    raise typer.Exit(adopt_(paths, storage_at(storage), trust=trust, as_json=as_json))
