"""Resume, fork, start from: each does the same, asked for in Python, on the command line or by `new_run`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.conftest import REPOSITORY

import hypertuner
from hypertuner.store import Run, RunState, records

TRAIN = """
import os, signal, sys
import torch
import hypertuner
{imports}

def train(args):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, args.hidden), torch.nn.Dropout(0.2), torch.nn.Linear(args.hidden, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)
    saver = hypertuner.Saver(net, optimizer=optimizer, scheduler=scheduler)
    {python}
    logger = hypertuner.Logger()
    print("begins at", saver.next_epoch, optimizer.param_groups[0]["lr"].hex())
    for epoch in range(saver.next_epoch, args.epochs):
        loss = net(torch.randn(8, 3)).pow(2).mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step(); scheduler.step()
        logger.log({"loss": loss}, epoch)
        print(epoch, loss.item().hex())
        saver.save(epoch=epoch)
        if os.environ.get("DIE_AT") == str(epoch):
            os.kill(os.getpid(), signal.SIGKILL)

{call}
"""

PLAIN = TRAIN.replace("{imports}", "").replace("{python}", "")
BY_ARGS = PLAIN.replace("{call}", "train(hypertuner.Args(lr=0.1, hidden=4, epochs=5))")
BY_PYTHON = TRAIN.replace("{imports}", "").replace("{python}", "saver.resume()")
BY_PYTHON = BY_PYTHON.replace("{call}", "train(hypertuner.Args(lr=0.1, hidden=4, epochs=5))")
BY_NEW_RUN = PLAIN.replace(
    "{call}",
    "with hypertuner.new_run('victim', resume=True, lr=0.1, hidden=4, epochs=5) as args:\n    train(args)",
)


@pytest.fixture
def cli(tmp_path):
    """`cli("resume", "x", env={...})`: (exit code, stdout, stderr) of a command in the test's folder."""

    def call(*words, code=0, env=None, cwd=tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "hypertuner", *map(str, words)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), **(env or {})},
            timeout=120,
        )
        print(done.stdout, done.stderr)
        assert done.returncode == code, done.stderr
        return done

    return call


def printed(text):
    return [line for line in text.splitlines() if line[:1].isdigit()]


def begins(text):
    return next(line.split()[2:] for line in text.splitlines() if line.startswith("begins at"))


@pytest.fixture
def whole(run_script):
    """What the run prints that nobody interrupts."""
    return printed(run_script(BY_ARGS, env={"HYPERTUNER_RUN": "whole"}).stdout)


@pytest.mark.parametrize("how", ["command line", "python", "new_run", "or-resume"])
def test_resume_is_the_same_from_everywhere(run_script, cli, whole, storage, tmp_path, how):
    source = {"python": BY_PYTHON, "new_run": BY_NEW_RUN}.get(how, BY_ARGS)
    script = tmp_path / "train.py"
    script.write_text(source)
    victim = {"HYPERTUNER_RUN": "victim"} if how == "python" else {}
    again = ("run", "train.py", "--name", "victim", "--or-resume", "lr=0.1")
    if how in ("python", "new_run"):
        first = run_script(script, env={**victim, "DIE_AT": "2"}, check=False)
        second = run_script(script, env=victim)
    elif how == "command line":
        first = cli("run", "train.py", "--name", "victim", env={"DIE_AT": "2"}, code=137)
        second = cli("resume", "victim", cwd=storage)
    else:
        first = cli(*again, env={"DIE_AT": "2"}, code=137)
        second = cli(*again)
    assert printed(first.stdout) + printed(second.stdout) == whole
    assert begins(second.stdout)[0] == "3"
    run = Run(storage / "victim")
    assert [attempt.state() for attempt in run.attempts()] in (
        [RunState.crashed, RunState.finished],
        [RunState.failed, RunState.finished],
    )
    assert run.attempts()[1].loaded().how == "resume"
    assert [record.step for record in run.logged()] == list(range(5))


@pytest.mark.parametrize("verb", ["fork", "start from"])
def test_fork_and_start_from_are_the_same_from_the_command_line_and_new_run(run_script, cli, storage, tmp_path, verb):
    run_script(BY_ARGS, "epochs=3", env={"HYPERTUNER_RUN": "parent"})
    option = "--fork" if verb == "fork" else "--from"
    by_option = cli("run", "train.py", "--name", "a", option, "parent@last", "lr=0.5")
    by_call = PLAIN.replace(
        "{call}",
        f"with hypertuner.new_run('b', parent='parent@last', how={verb!r}, lr=0.5, hidden=4, epochs=5) as args:\n"
        "    train(args)",
    )
    by_call = run_script(by_call, name="other.py")
    assert begins(by_option.stdout) == begins(by_call.stdout)
    assert begins(by_option.stdout) == (["3", (0.5 * 0.7 * 0.7 * 0.7).hex()] if verb == "fork" else ["0", (0.5).hex()])
    if verb == "fork":
        assert printed(by_option.stdout) == printed(by_call.stdout)
    for name in "ab":
        parent = Run(storage / name).record().parent
        assert (parent.how, parent.run, parent.step) == (verb, "parent", 2)
        assert os.path.samefile(storage / name / "parent.pt", storage / "parent/model.pt")
    assert "config: lr 0.1 → 0.5, epochs 3 → 5" in by_option.stderr


def test_a_fork_that_is_started_once_more_goes_on_from_what_it_saved_itself(run_script, cli, storage):
    run_script(BY_PYTHON, "epochs=2", env={"HYPERTUNER_RUN": "parent"})
    cli("run", "train.py", "--name", "child", "--fork", "parent", "lr=0.5", env={"DIE_AT": "3"}, code=137)
    again = run_script(BY_PYTHON, env={"HYPERTUNER_RUN": "child"})
    assert begins(again.stdout)[0] == "4"
    assert [record.step for record in Run(storage / "child").logged()] == list(range(5))


def test_a_resumed_run_keeps_its_arguments_and_folder_and_says_what_changed(cli, storage, tmp_path):
    script = tmp_path / "train.py"
    (tmp_path / "parts.py").write_text("A = 1\n")
    script.write_text(
        BY_ARGS.replace("import torch\n", "import torch, parts\n").replace(
            "hypertuner.Args(", "hypertuner.Args(extra='keep', "
        )
        + "print('got', sys.argv[1:], os.getcwd())\n"
    )
    cli("run", "train.py", "--name", "v", "--", "spare", env={"DIE_AT": "1"}, code=137)
    (tmp_path / "parts.py").write_text("A = 2\n")
    (tmp_path / "elsewhere").mkdir()
    done = cli("resume", "v@1", cwd=tmp_path / "elsewhere")
    assert f"got ['spare'] {tmp_path}" in done.stdout
    assert "the code has changed since the run began: parts.py" in done.stderr
    assert "v@1" in done.stderr
    assert "got ['other']" in cli("resume", "v", "--", "other").stdout


def test_a_config_template_is_not_given_again_to_a_resumed_run(run_script, cli, storage, tmp_path):
    (tmp_path / "template.json").write_text(json.dumps({"lr": 0.3}))
    run_script(BY_ARGS, "--config=template.json", env={"DIE_AT": "1"}, check=False)
    (name,) = [path.name for path in storage.iterdir() if path.is_dir()]
    done = cli("resume", name)
    assert begins(done.stdout) == ["2", (0.3 * 0.7 * 0.7).hex()]
    assert len(Run(storage / name).attempts()) == 2


def test_a_run_that_runs_is_not_resumed(run_script, cli, storage, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(BY_ARGS + "print('ready', flush=True)\nsys.stdin.read()\n")
    process = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "HYPERTUNER_RUN": "busy"},
    )
    with process:
        while process.stdout.readline() != "ready\n":
            pass
        for words in (
            ("resume", "busy"),
            ("run", "train.py", "--name", "busy", "--or-resume"),
            ("resume", "busy", "--force"),
        ):
            said = cli(*words, code=1).stderr
            assert f"is running: process {process.pid} on {socket.gethostname()}" in said
        with pytest.raises(hypertuner.QueueError), hypertuner.new_run("busy", resume=True):
            pass
        process.send_signal(signal.SIGKILL)


def elsewhere(storage, name="far"):
    """A run whose process lives on another host."""
    started = storage / name / "attempts/1/started.json"
    values = json.loads(started.read_text())
    values["host"] = "another-host"
    values["environment"] = {**values["environment"], "SLURM_JOB_ID": "77"}
    started.chmod(0o644)
    started.write_text(json.dumps(values))
    exits = storage / name / "attempts/1/exit.json"
    exits.unlink(missing_ok=True)


def test_a_run_on_another_host_is_resumed_only_when_somebody_vouches_for_its_end(run_script, cli, storage):
    run_script(BY_ARGS, "epochs=2", env={"HYPERTUNER_RUN": "far"})
    elsewhere(storage)
    again = ("run", "train.py", "--name", "far", "--or-resume", "epochs=2")
    for words in (("resume", "far"), again):
        assert "on another-host" in (said := cli(*words, code=1).stderr)
        assert "--force" in said
    assert "resumed from far@last" in cli(*again, "--force").stderr
    elsewhere(storage)
    (storage / "far/attempts/2").rename(storage / "gone")
    # The cluster's own requeue of the same job: it has ended the first.
    assert "resumed from far@last" in cli(*again, env={"SLURM_JOB_ID": "77"}).stderr


def test_or_resume_makes_resumes_and_then_leaves_a_finished_run_alone(cli, storage, tmp_path):
    (tmp_path / "train.py").write_text(
        BY_ARGS.replace("    train", "    os._exit(9) if os.environ.get('EARLY') else train")
    )
    (tmp_path / "train.py").write_text(
        BY_ARGS.replace("        saver.save", "        os.environ.get('EARLY') and os._exit(9)\n        saver.save")
    )
    again = ("run", "train.py", "--name", "job", "--or-resume", "lr=0.2")
    cli(*again, env={"EARLY": "1"}, code=9)
    assert "saved nothing yet: it begins anew" in cli(*again, env={"DIE_AT": "1"}, code=137).stderr
    assert "resumed from job@last" in cli(*again).stderr
    assert "has finished already: nothing to do" in cli(*again).stderr
    assert len(Run(storage / "job").attempts()) == 3
    changed = cli("run", "train.py", "--name", "job", "--or-resume", "lr=0.3", code=1)
    assert "lr 0.2 → 0.3" in changed.stderr


def test_a_requeued_command_with_another_config_is_refused_with_the_command_for_a_new_run(cli, storage, tmp_path):
    (tmp_path / "train.py").write_text(BY_ARGS)
    cli("run", "train.py", "--name", "job", "lr=0.2", env={"DIE_AT": "1"}, code=137)
    said = cli("run", "train.py", "--name", "job", "--or-resume", "lr=0.4", code=1).stderr
    assert "lr 0.2 → 0.4" in said
    assert "hypertuner run --fork job@last lr=0.4" in said
    forked = cli("run", "--fork", "job@last", "lr=0.4", "--name", "forked")
    assert begins(forked.stdout) == ["2", (0.4 * 0.7 * 0.7).hex()]
    assert Run(storage / "forked").config() == {"lr": 0.4, "hidden": 4, "epochs": 5}


def test_a_run_that_goes_on_where_nothing_is_left_to_do_says_so(cli, tmp_path):
    (tmp_path / "train.py").write_text(BY_ARGS)
    assert "nothing was left to do" not in cli("run", "train.py", "--name", "job").stderr
    assert "job: went on from a checkpoint, and nothing was left to do" in cli("resume", "job").stderr
    assert "nothing was left to do" in cli("run", "--fork", "job@last", "epochs=2").stderr
    assert "nothing was left to do" not in cli("run", "--fork", "job@last", "epochs=6").stderr


@pytest.mark.parametrize("words", [("--or-resume",), ("--fork", "a", "--from", "b"), ("--force",), ()])
def test_what_does_not_go_together_is_said(cli, words):
    script = ("train.py",) if words else ()
    assert "usage" not in cli("run", *script, *words, code=2).stderr


def test_like_takes_over_script_config_and_arguments_with_changes(run_script, cli, storage, tmp_path):
    source = BY_ARGS.replace("hypertuner.Args(", "hypertuner.Args(extra='keep', ") + "print('argv', sys.argv[1:])\n"
    run_script(source, "lr=0.3", "--hidden", "7", "spare", env={"HYPERTUNER_RUN": "first"})
    done = cli("run", "--like", "first", "lr=0.4", "--name", "second", cwd=storage)
    assert "argv ['spare']" in done.stdout
    assert Run(storage / "second").config() == {"lr": 0.4, "hidden": 7, "epochs": 5}
    assert Run(storage / "second").record().asked == ("lr",)
    # With a script of its own, and with a parent.
    third = cli("run", "train.py", "--like", "first", "--from", "first@last", "--name", "third", "epochs=1")
    assert Run(storage / "third").config() == {"lr": 0.3, "hidden": 7, "epochs": 1}
    assert "kept 4 of 4 tensors" in third.stderr
    # Of a run without a script, such as a notebook's, the config.
    record = storage / "first/run.json"
    record.chmod(0o644)
    record.write_text(json.dumps({**json.loads(record.read_text()), "script": None, "arguments": []}))
    cli("run", "train.py", "--like", "first", "--name", "fourth", "epochs=1")
    assert Run(storage / "fourth").config() == {"lr": 0.3, "hidden": 7, "epochs": 1}
    assert "no script to start" in cli("run", "--like", "first", code=1).stderr


def test_a_script_without_args_gets_the_changed_option_once(run_script, cli, storage, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import argparse, hypertuner\np = argparse.ArgumentParser()\np.add_argument('--lr', type=float)\n"
        "p.add_argument('--batch', type=int)\na = p.parse_args()\nhypertuner.Logger().log({'x': 1}, 0)\nprint(a)\n"
    )
    cli("run", "train.py", "lr=0.1", "--name", "one", "--", "--batch", "32")
    assert "Namespace(lr=0.1, batch=64)" in cli("run", "--like", "one", "batch=64").stdout
    assert "Namespace(lr=0.5, batch=32)" in cli("run", "--like", "one", "lr=0.5").stdout


def test_a_secret_argument_is_asked_for_again(cli, storage, tmp_path):
    (tmp_path / "train.py").write_text(BY_ARGS.replace("hypertuner.Args(", "hypertuner.Args(extra='keep', "))
    cli("run", "train.py", "--name", "s", "--", "api_key=abc", env={"DIE_AT": "1"}, code=137)
    said = cli("resume", "s", code=1).stderr
    assert "secret" in said
    assert "abc" not in said
    cli("resume", "s", "--", "api_key=abc")


def test_a_script_that_is_gone_is_said_with_the_way_out(cli, storage, tmp_path):
    (tmp_path / "train.py").write_text(BY_ARGS)
    cli("run", "train.py", "--name", "r", env={"DIE_AT": "1"}, code=137)
    (tmp_path / "moved").mkdir()
    (tmp_path / "train.py").rename(tmp_path / "moved/train.py")
    said = cli("resume", "r", code=1).stderr
    assert "--folder" in said
    assert str(storage / "r/source") in said
    assert begins(cli("resume", "r", "--folder", "moved").stdout)[0] == "2"


def test_a_resumed_script_that_never_takes_the_checkpoint_has_failed(run_script, cli, storage, tmp_path):
    run_script(BY_ARGS, env={"HYPERTUNER_RUN": "r"})
    (tmp_path / "train.py").write_text("import hypertuner\nhypertuner.Logger().log({'x': 1})\n")
    cli("resume", "r", code=1)
    assert "never resumed" in Run(storage / "r").newest_attempt().exit().reason
    (tmp_path / "train.py").write_text(
        BY_ARGS.replace("    saver = hypertuner", "    optimizer.step()\n    saver = hypertuner")
    )
    assert "first optimizer step comes before any Saver" in cli("resume", "r", code=1).stderr


def test_settings_made_by_hand_that_the_script_never_reads_are_said_once_at_the_end(run_script, cli, storage):
    script = """
    import hypertuner
    args = hypertuner.Args(lr=0.1, dropout=0.0, width=3)
    print(args.lr)
    hypertuner.Logger().log({"x": 1}, 0)
    """
    said = cli_text = run_script(script, "lr=0.2", "dropout=0.5").stderr
    assert said.count("this script never reads dropout=0.5: it changed nothing") == 1
    assert "width" not in cli_text
    assert "never reads" not in run_script(script, "lr=0.2").stderr
    assert (
        "never reads dropout=0.3, width=8: they changed nothing"
        in cli("run", "train.py", "dropout=0.3", "width=8").stderr
    )
    (storage / "x").mkdir()


def test_unread_settings_of_a_parser_and_of_new_run_are_said(run_script):
    parser = """
    import argparse, hypertuner
    p = argparse.ArgumentParser()
    p.add_argument("--lr", type=float, default=0.1); p.add_argument("--depth", type=int, default=2)
    args = hypertuner.Args(p)
    hypertuner.Logger().log({"x": args.lr}, 0)
    """
    assert "never reads depth=3" in run_script(parser, "--depth", "3").stderr
    assert "never reads" not in run_script(parser, "--lr", "3").stderr
    block = """
    import hypertuner
    with hypertuner.new_run(lr=0.1, depth=3):
        args = hypertuner.Args(lr=0.2, depth=2)
        hypertuner.Logger().log({"x": args.lr}, 0)
    """
    assert "never reads depth=3" in run_script(block).stderr


def test_new_run_says_what_cannot_be_resumed(storage):
    with pytest.raises(TypeError, match="needs the name"), hypertuner.new_run(resume=True):
        pass
    with pytest.raises(hypertuner.RunNotFoundError), hypertuner.new_run("nobody", resume="last"):
        pass
    with hypertuner.new_run("made", resume=True, lr=0.1):
        hypertuner.Logger().log({"x": 1}, 0)
    with hypertuner.new_run("made", resume=True) as args:
        assert args.lr == 0.1
        hypertuner.Logger().log({"x": 1}, 1)
    assert len(Run(storage / "made").attempts()) == 2
    with pytest.raises(hypertuner.ConfigError, match=r"lr 0.1 → 0.2"), hypertuner.new_run("made", resume=True, lr=0.2):
        pass


def test_run_records_of_before_are_read(storage):
    assert (
        records.from_dict(records.RunRecord, {"script": None, "arguments": [], "folder": "/", "created": "x"}).asked
        == ()
    )


def test_settings_that_the_script_uses_elsewhere_are_not_called_unread(run_script, cli):
    recorded = """
    import argparse, hypertuner
    given = {"lr": 0.1, "depth": 2}
    hypertuner.Args(given)
    hypertuner.Logger().log({"x": given["lr"]}, 0)
    """
    run_script(recorded)
    assert "never reads" not in cli("run", "train.py", "lr=0.5").stderr
    commands = """
    import argparse, hypertuner
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(dest="command")
    train = sub.add_parser("train")
    train.add_argument("--lr", type=float, default=0.1)
    train.set_defaults(func=lambda args: hypertuner.Logger().log({"x": args.lr}, 0))
    args = hypertuner.Args(p)
    args.func(args)
    """
    assert "never reads" not in run_script(commands, "train", "--lr", "0.3").stderr


def test_a_function_that_a_parser_leaves_for_the_script_is_no_setting(run_script, storage):
    source = """
    import argparse, hypertuner
    p = argparse.ArgumentParser()
    p.add_argument("--act", default=max)
    sub = p.add_subparsers(dest="command")
    train = sub.add_parser("train")
    train.add_argument("--lr", type=float, default=0.1)
    train.set_defaults(func=lambda args: hypertuner.Logger().log({"x": args.lr}, 0), epochs=3)
    args = hypertuner.Args(p)
    assert "func" in args and callable(vars(args)["func"])
    args.func(args)
    """
    run_script(source, "train", env={"HYPERTUNER_RUN": "r"})
    wanted = {"act": "builtins.max", "command": "train", "lr": 0.1, "epochs": 3}
    assert Run(storage / "r").config() == wanted
    assert Run(storage / "r").newest_attempt().started.config == wanted
