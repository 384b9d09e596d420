"""A notebook: train, list, compare, look at one run, load, start from; and what it draws is text, whatever runs say."""

from __future__ import annotations

import html.parser

import pytest

import hypertuner
from hypertuner.checkpoint.report import LoadReport, Mismatch
from hypertuner.index.portrait import sparkline

CELLS = [
    """
import hypertuner, torch

class Net(torch.nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.fc = torch.nn.Linear(2, hidden)
        self.out = torch.nn.Linear(hidden, 1)

    def forward(self, x):
        return self.out(self.fc(x).relu())
""",
    """
def train(name, parent=None, **config):
    with hypertuner.new_run(name, parent=parent, **config) as args:
        torch.manual_seed(0)
        net = Net(args.hidden)
        saver = hypertuner.Saver(net, monitor="val_loss")
        logger = hypertuner.Logger()
        optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
        x = torch.linspace(-1, 1, 32).repeat(2, 1).T
        for step in range(20):
            loss = (net(x) - x[:, :1] ** 2).square().mean()
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            logger.log({"val_loss": loss.item()}, step)
        saver.save()

train("small", lr=0.1, hidden=4)
train("large", lr=0.05, hidden=16)
""",
    "hypertuner.runs()",
    "best = hypertuner.runs().sort('best(val_loss)')[0]; best",
    "hypertuner.runs().to_pandas()[['name', 'lr', 'hidden', 'val_loss']]",
    "best.to_pandas()",
    "hypertuner.load('large', into=Net(16))",
    "train('again', parent='large', lr=0.01, hidden=16); hypertuner.runs()['again']",
]


def executed(cells, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    from tests.conftest import script_environment

    for name, value in script_environment({}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    return [
        next((output["data"] for output in cell["outputs"] if output["output_type"] == "execute_result"), {})
        for cell in notebook.cells
    ]


def test_a_notebook_trains_lists_compares_loads_and_shows(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    shown = executed(CELLS, tmp_path, monkeypatch)
    table, best, frame, curve, report, again = shown[2:]
    assert "small" in table["text/html"] and "large" in table["text/html"] and "<b>" in table["text/html"]
    assert "<svg" in best["text/html"] and "hidden=" in best["text/html"] and "checkpoint" not in best["text/html"]
    assert "val_loss" in best["text/html"] and ">19<" in best["text/html"]  # its checkpoint's step
    assert "small" in frame["text/plain"] and "0.05" in frame["text/plain"]
    assert "val_loss" in curve["text/plain"] and "time" in curve["text/plain"]
    assert "kept 4 of 4 tensors" in report["text/html"]
    assert "from large" in again["text/html"]


class _Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)
        self.depth += 1
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_endtag(self, tag):
        self.depth -= 1


EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m"
ALLOWED = {
    *("div", "b", "code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "svg", "polyline", "p"),
}


def test_what_a_run_says_never_becomes_markup(storage):
    torch = pytest.importorskip("torch")
    from dataclasses import replace

    from hypertuner.store import Storage

    with hypertuner.new_run("evil", **{"name<script>": EVIL}):
        hypertuner.Logger().log({EVIL: 1.0, "val_loss": 2.0}, 0)
        hypertuner.Logger().log({EVIL: 3.0}, 1)
        hypertuner.Saver(torch.nn.Linear(1, 1)).save()
    run = Storage(storage).open("evil")
    run.write_notes(replace(run.notes(), tags=(EVIL,), note=EVIL))
    report = LoadReport((), (EVIL,), (EVIL,), (Mismatch(EVIL, (1,), (2,)),), 0.5)
    for drawn in (hypertuner.runs(), hypertuner.runs()["evil"], report):
        tags = _Tags(drawn._repr_html_())
        assert tags.found <= ALLOWED and tags.depth == 0
        assert "\x1b" not in drawn._repr_html_()


def test_a_run_that_is_gone_or_logged_nothing_is_drawn_all_the_same(storage):
    import shutil

    with hypertuner.new_run("calm", lr=0.1):
        hypertuner.Logger().log({"loss": 1.0}, 0)
    row = hypertuner.runs()["calm"]
    shutil.rmtree(storage)
    assert "calm" in row._repr_html_() and "0.1" in row._repr_html_()
    assert row.history() == []
    assert "calm" in hypertuner.index.row.RunRow("calm", "draft")._repr_html_()


def test_the_metrics_of_a_run_are_a_frame(storage):
    pandas = pytest.importorskip("pandas")
    with hypertuner.new_run("calm"):
        hypertuner.Logger().log({"loss": 1.0}, 0)
        hypertuner.Logger().log({"loss": float("nan"), "acc": 0.5}, 2)
    frame = hypertuner.runs()["calm"].to_pandas()
    assert list(frame.columns) == ["time", "loss", "acc"] and list(frame.index) == [0, 2]
    assert frame["loss"].isna().tolist() == [False, True] and str(frame["time"].dt.tz) == "UTC"
    with hypertuner.new_run("empty"):
        hypertuner.Logger().log({}, 0)
    assert isinstance(hypertuner.runs()["empty"].to_pandas(), pandas.DataFrame)


def test_a_curve_shows_a_spike_of_one_step_and_lives_with_what_is_not_finite():
    values = [1.0] * 5000 + [9.0] + [1.0] * 5000
    assert ",2.0" in sparkline(values)
    assert sparkline([1.0]) == "" and sparkline([float("nan"), 1.0, float("inf"), 2.0]).startswith("<svg")
    assert "nan" not in sparkline([-1e308, 1e308, 0.0])
