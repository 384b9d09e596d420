"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_readmes_commands_do_what_it_shows(run_script, tmp_path, storage):
    import json

    (tmp_path / "train.py").write_text(blocks("python")[0])
    main = tmp_path / "main.py"
    main.write_text("import sys\nfrom hypertuner.cli import main\nsys.exit(main())\n")
    run_script(tmp_path / "train.py")
    run_script(tmp_path / "train.py", "learning_rate=0.01")
    run_script(main, "run", "train.py", "learning_rate=0.5", "hidden=128", "--name", "cosmic-mule")
    listed = json.loads(run_script(main, "ls", "--sort", "val_accuracy", "--json").stdout)
    assert len(listed) == 3
    assert listed[0]["best"]["val_accuracy"] >= listed[-1]["best"]["val_accuracy"] > 0.5
    done = run_script(main, "run", "train.py", "hidden=128", "learning_rate=0.01", "--from", "cosmic-mule@best")
    assert "starts from cosmic-mule@best: kept 4 of 4 tensors, 100.0 % of parameters" in done.stderr
    reading = "import torch\n" + blocks("python")[1].replace('["name"]', '["name"]') + "\nprint(saved['run']['name'])\n"
    assert run_script(reading, name="read.py").stdout == "cosmic-mule\n"
    loading = "import hypertuner\n" + blocks("python")[2] + "print(type(net).__name__)\n"
    assert run_script(loading, name="load.py").stdout == "Sequential\n"
    assert run_script(main, "verify").returncode == 0
