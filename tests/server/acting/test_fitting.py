"""Whether a parent's weights fit is known before anything runs: by the model that the script itself makes."""

from __future__ import annotations

import textwrap

import pytest
from tests.queue.conftest import until
from tests.server.acting.test_launching import check
from tests.server.security.conftest import share

TRAINS = """
    for epoch in range(args.epochs):
        loss = net(torch.randn(8, 4)).pow(2).mean()
        loss.backward()
        logger.log({"loss": loss}, epoch)
    saver.save()
"""
SETTINGS = "hidden=8, depth=1, epochs=1, classes=2"
MODEL = """
    class Net(torch.nn.Module):
        def __init__(self, hidden, depth, classes):
            super().__init__()
            self.first = torch.nn.Linear(4, hidden)
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(hidden, hidden) for _ in range(depth))
            self.head = torch.nn.Linear(hidden, classes)
        def forward(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.head(x)
"""


def script(*parts: str) -> str:
    return "".join(textwrap.dedent(part) for part in parts)


AT_TOP = script(
    "import hypertuner, torch\n",
    MODEL,
    f"""
    args = hypertuner.Args({SETTINGS})
    print("training", flush=True); open("worked", "a").write("once ")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = Net(args.hidden, args.depth, args.classes).to(device)
    net = net.train()
    saver = hypertuner.Saver(net)
    logger = hypertuner.Logger()
    """,
    TRAINS,
)
IN_MAIN = (
    script(
        "import argparse, hypertuner, torch\n",
        MODEL,
        """
        def settings():
            parser = argparse.ArgumentParser()
            parser.add_argument("--hidden", type=int, default=8)
            parser.add_argument("--depth", type=int, default=1)
            parser.add_argument("--classes", type=int, default=2)
            parser.add_argument("--epochs", type=int, default=1)
            return parser.parse_args()
        def make(hidden, depth, classes):
            layers = []
            for _ in range(1):
                layers.append(Net(hidden, depth, classes))
            return layers[0]
        def train(args, scale=1):
            net = make(args.hidden * scale, args.depth, args.classes)
            saver = hypertuner.Saver(model=net)
            logger = hypertuner.Logger()
        """,
    )
    + textwrap.indent(textwrap.dedent(TRAINS), "    ")
    + script(
        """
        def main():
            open("worked", "a").write("once ")
            given = settings()
            train(given)
        if __name__ == "__main__":
            main()
        """
    )
)
BY_ITSELF = script(
    "import hypertuner, torch\n",
    MODEL,
    f"""
    args = hypertuner.Args({SETTINGS})
    open("worked", "a").write("once ")
    criterion = torch.nn.CrossEntropyLoss()
    net = Net(args.hidden, args.depth, args.classes)
    logger = hypertuner.Logger()
    saver = hypertuner.Saver()
    """,
    TRAINS,
)


def fit(served, **asked):
    told = []

    def is_known():
        told.append(check(served, **asked)["fit"])
        return not told[-1]["is_pending"]

    until(is_known)
    return told[-1]


@pytest.mark.parametrize("source", [AT_TOP, IN_MAIN, BY_ITSELF], ids=["at top", "in main", "saver looks by itself"])
def test_the_fit_of_settings_that_no_run_has_had_is_known_by_the_model_that_the_script_makes(place, serve, source):
    place.script(source)
    place.command("run", "train.py", "--name", "small")
    served = serve("train.py", "--no-drain")
    told = fit(served, from_run="small", config={"classes": 3}, parent="small@last", how="weights")
    assert (told["fits"], told["tensors"], told["fitting"]) == ("partly", 6, 4)
    shapes = {one["tensor"]: (one["parent"], one["here"]) for one in told["mismatched"]}
    assert shapes == {"head.weight": ([2, 8], [3, 8]), "head.bias": ([2], [3])}
    # A script without an Args records no defaults: then what explains it is not known, and not guessed.
    assert {one["because"] for one in told["mismatched"]} == {None if source is IN_MAIN else "classes 2→3"}
    assert "as the script makes its model" in told["message"]
    deeper = fit(served, from_run="small", config={"depth": 2}, parent="small@last", how="weights")
    assert (deeper["tensors"], deeper["fitting"]) == (8, 6)
    assert "2 not in the parent: new" in deeper["message"]
    assert (place.folder / "worked").read_text() == "once "  # by the run: none of the script's work is done to find out


def test_the_report_before_a_launch_is_what_the_run_then_says(place, serve):
    place.script(AT_TOP)
    place.command("run", "train.py", "--name", "small")
    served = serve("train.py", "--no-drain")
    told = fit(served, from_run="small", config={"classes": 3}, parent="small@last", how="weights")
    done = place.command("run", "train.py", "--from", "small@last", "classes=3", "--name", "wide")
    said = done.stdout + done.stderr
    assert f"kept {told['fitting']} of {told['tensors']} tensors" in said
    share = told["message"].partition("% of the values")[0].rpartition(" · ")[2].strip()
    assert f"{share} % of parameters" in said


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("for _ in range(1):\n    net = Net(args.hidden, args.depth, args.classes)\n", "for _ in range(1)"),
        ("def made():\n    open('worked', 'w')\n    return 2\nargs.classes = made()\n", "it writes worked"),
        ("def wide():\n    torch.ones(1).backward()\n    return 2\nargs.classes = wide()\n", "wide()"),
        ("import os\ndef sized():\n    os.mkdir('made')\n    return 2\nargs.classes = sized()\n", "os.mkdir"),
        ("args.classes = int('many') if args.classes == 3 else 2\n", "ValueError"),
    ],
    ids=["loop", "writes", "trains", "makes a folder", "fails"],
)
def test_what_would_be_the_scripts_work_is_not_done_and_is_named(place, serve, before, why):
    made = "net = Net(args.hidden, args.depth, args.classes)\n"
    rest = "saver = hypertuner.Saver(net)\nlogger = hypertuner.Logger()\n"
    head = script("import hypertuner, torch\n", MODEL, f"\nargs = hypertuner.Args({SETTINGS})\n")
    place.script(head + made + rest + script(TRAINS))
    place.command("run", "train.py", "--name", "small")
    place.script(head + before + ("" if "net =" in before else made) + rest + script(TRAINS))
    served = serve("train.py", "--no-drain")
    told = fit(served, from_run="small", config={"classes": 3}, parent="small@last", how="weights")
    assert told["fits"] == "unknown"
    assert "classes=3" in told["message"]
    assert why in told["message"]
    assert not (place.folder / "worked").exists()
    assert not (place.folder / "made").exists()


def test_a_file_that_somebody_else_made_is_compared_and_none_of_its_code_runs(place, serve, tmp_path):
    place.script(AT_TOP)
    place.command("run", "train.py", "--name", "small")
    (place.folder / "home").rename(tmp_path / "home-of-another")
    served = serve("train.py", "--no-drain")
    told = fit(served, from_run="small", config={"classes": 3}, parent="small@last", how="weights")
    assert (told["fits"], told["fitting"]) == ("partly", 4)


@pytest.mark.parametrize("scope", ["view", "edit"])
def test_nothing_of_the_script_is_executed_for_who_may_not_run_it(place, serve, scope):
    place.script(AT_TOP)
    place.command("run", "train.py", "--name", "small")
    place.script("import helper\n" + AT_TOP.replace("Net(args.hidden,", "Net(helper.twice(args.hidden),"))
    (place.folder / "helper.py").write_text("import sys; sys.exit('executed')\n")
    served = serve("train.py", "--no-drain")
    asked = {"from_run": "small", "config": {"classes": 3}, "parent": "small@last", "how": "weights"}
    answer = served.ask("POST", "/api/launch/check", asked, token=share(served, scope))
    told = answer.json["fit"]
    assert (answer.status, told["fits"], told["is_pending"]) == (200, "unknown", False)
    assert "classes=3 has saved a checkpoint." in told["message"]
    assert "executed" in fit(served, **asked)["message"]  # for who may run it, it is
