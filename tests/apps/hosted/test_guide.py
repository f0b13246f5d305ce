"""The guide is followed to the letter: its blocks of code make the application that it says they make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.nightly

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "your-application.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a beginner: a table, and the file that the guide says to write."""
    size = [40.0 + 7 * number for number in range(30)]
    age = [float(number * 13 % 90) for number in range(30)]
    rows = pl.DataFrame({"size": size, "age": age})
    rows.with_columns(price=3000 * pl.col("size") - 500 * pl.col("age")).write_csv(tmp_path / "houses.csv")
    rows.head(4).write_csv(tmp_path / "new.csv")
    (tmp_path / "houses.py").write_text(BLOCKS[1], "utf-8")
    return tmp_path


def test_the_notebook_runs_and_its_functions_can_be_called(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    exec(BLOCKS[0], {"__name__": "notebook"})  # noqa: S102 (of our guide)
    call = re.search(r"the notebook can still call them: `(.*?)`", GUIDE.read_text("utf-8"))
    assert call is not None
    written: dict[str, Any] = {"__name__": "houses"}
    exec(BLOCKS[1], written)  # noqa: S102
    model = eval(call[1], written)  # noqa: S307
    assert model.metrics["error"] == pytest.approx(0.0, abs=1e-6)


def test_its_commands_do_what_it_says(folder: Path) -> None:
    commands = [
        line.removeprefix("ecluse ").split()
        for line in COMMANDS
        if line.startswith("ecluse") and " up " not in line
    ]
    assert [words[:2] for words in commands] == [
        ["apps", "install"],
        ["houses", "train"],
        ["houses", "score"],
    ]
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "ecluse", *words],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    houses = pl.read_csv(folder / "houses.csv").with_columns(town=pl.Series(["Lille", "Lyon", "Paris"] * 10))
    houses.write_csv(folder / "towns.csv")
    (folder / "towns.py").write_text(BLOCKS[2], "utf-8")
    for line in ("apps install towns.py", "towns train towns.csv", "towns score towns.csv --out learned.csv"):
        command = [sys.executable, "-m", "ecluse", *line.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
    (weekly,) = [block for block in BLOCKS if "Table.newest" in block]
    (folder / "houses.py").write_text(f"{BLOCKS[1]}\n\n{weekly}", "utf-8")
    for line, said in (("apps install houses.py", "houses is installed"), ("houses weekly", "# new.csv")):
        command = [sys.executable, "-m", "ecluse", *line.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
        assert said in done.stdout, done.stderr
    learned = pl.read_csv(folder / "learned.csv")
    assert learned["price"].to_list() == pytest.approx(houses["price"].to_list(), rel=0.5)
    prices = pl.read_csv(folder / "prices.csv")
    assert prices["price"].to_list() == pytest.approx(
        [3000 * s - 500 * a for s, a in prices.select("size", "age").rows()]
    )


def test_the_body_of_its_request_is_json() -> None:
    bodies = [match[1] for line in COMMANDS if (match := re.search(r"-d '(.*?)'", line))]
    assert [json.loads(body) for body in bodies] == [
        {"rows": [{"size": 100, "age": 10}]},
        {"table": "FILE", "product": "tea"},
    ]


@pytest.mark.nightly
def test_what_new_writes_keeps_every_promise(tmp_path: Path) -> None:
    """`ecluse apps new`, and the check of what it wrote: described, trained, answered, private, resumed, removed."""

    def ecluse(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ecluse", "apps", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=290, check=False)

    assert ecluse("new", "flats").returncode == 0
    done = ecluse("check", "flats.py", "--json")
    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert {each["state"] for each in checks.values()} <= {"ok", "untried"}, checks
    assert checks["others see nothing"]["state"] == "ok"
    assert checks["removal leaves nothing"]["state"] == "ok"
    assert "is there already" in ecluse("new", "flats").stderr
