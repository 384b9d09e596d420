"""A storage with real runs: trained by real scripts, some of which failed. Made once for all tests that only look."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import script_environment

from hypertuner.store import Run, Storage

TRAIN = """
    import hypertuner, torch
    args = hypertuner.Args(lr=0.1, hidden=16, epochs=3, seed=0, dropout=0.5)
    torch.manual_seed(args.seed)
    net = torch.nn.Sequential(torch.nn.Linear(4, args.hidden), torch.nn.ReLU(), torch.nn.Linear(args.hidden, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr)
    saver = hypertuner.Saver(net, optimizer=optimizer, keep_last=10)
    logger = hypertuner.Logger()
    for epoch in range(saver.next_epoch, args.epochs):
        loss = net(torch.randn(8, 4)).pow(2).mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")
        values = {"loss": loss, "val_accuracy": (epoch + 1) / 10, "weights": hypertuner.Histogram(net[0].weight)}
        values |= {"note": hypertuner.Text("<b>bold</b>"), "pixels": hypertuner.Image(torch.rand(3, 8, 8), "noise")}
        logger.log(values, epoch)
        saver.save(epoch=epoch)
"""
FAIL = """
    import hypertuner
    args = hypertuner.Args(batch_size=64, lr=0.1, how="memory")
    logger = hypertuner.Logger()
    for number in range(100):
        print(f"batch {number}")
    logger.log({"loss": 1.0}, 0)
    if args.how == "nan":
        logger.log({"loss": float("nan")}, 1)
        raise FloatingPointError("loss is NaN")
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
"""


@dataclass(frozen=True)
class Trained:
    """A folder with a storage, and how commands are run in it."""

    folder: Path

    @property
    def storage(self) -> Storage:
        """Its storage."""
        return Storage(self.folder / "storage")

    def run(self, name: str) -> Run:
        """One of its runs."""
        return self.storage.open(name)

    def script(self, source: str, name: str = "train.py") -> Path:
        """A script in the folder."""
        path = self.folder / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return path

    def command(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`hypertuner …` in the folder."""
        return self.python("-m", "hypertuner", *words, check=check)

    def python(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Python in the folder, isolated as the test is."""
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=self.folder,
            env=environment(self.folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


def environment(folder: Path) -> dict[str, str]:
    """The environment of processes of a folder of its own."""
    return script_environment(
        {
            "HYPERTUNER_STORAGE": str(folder / "storage"),
            "HYPERTUNER_HOME": str(folder / "home"),
            "HYPERTUNER_CACHE": str(folder / "cache"),
            "PYTHONUNBUFFERED": "1",
        }
    )


def train(folder: Path) -> Trained:
    """first, forked from it, one that does not fit, two that failed of their own."""
    made = Trained(folder)
    made.script(TRAIN)
    made.script(FAIL, "fail.py")
    made.command("run", "train.py", "--name", "first")
    made.command("run", "--fork", "first@1", "lr=0.01", "epochs=4", "--name", "forked")
    made.command("run", "train.py", "--from", "first@best", "hidden=64", "--name", "misfit", check=False)
    for how in ("memory", "nan"):
        made.command("run", "fail.py", f"how={how}", "--name", f"out-of-{how}", "--queue")
    made.command("queue", "--slots", "2", "--no-zygote", check=False)
    return made
