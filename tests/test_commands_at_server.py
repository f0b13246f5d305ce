"""Commands that work at a server: with a token alone, from a machine that has neither its store nor its database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import ecluse
from ecluse.apps.fraud.sample import write_sample
from tests.application import KEPT, Application, running
from tests.forking import run_forked
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly


@dataclass(frozen=True)
class Machine:
    """A machine of a person who has signed in to the server."""

    server: Application
    folder: Path
    variables: Mapping[str, str]

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run a command; what it wrote to standard output and to standard error."""
        done = run_forked(list(arguments), dict(self.variables), timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        assert f"At {self.server.address}." in done.stderr
        return done.stdout, done.stderr


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    with running(tmp_path_factory.mktemp("server") / "home") as server:
        variables = {name: os.environ[name] for name in KEPT if name in os.environ}
        variables |= {name: str(folder / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
        variables |= {"ECLUSE_URL": server.address, "ECLUSE_TOKEN": server.token()}
        yield Machine(server, folder, variables)


@pytest.fixture(scope="module")
def sample(machine: Machine) -> Path:
    write_sample(machine.folder, rows=1_500, score_rows=300)
    return machine.folder


def test_aliases_verification_and_deletion(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    for _number in range(2):
        machine.run("models", "publish", "mine", str(tmp_path / "weights.bin"))
    new, old = json.loads(machine.run("models", "list", "mine", "--json")[0])
    first = f"mine@{old['version']}"
    assert machine.run("models", "alias", first, "best")[0] == f"mine@best is {old['version']}.\n"
    assert json.loads(machine.run("models", "show", "mine@best", "--json")[0])["version"] == old["version"]
    assert json.loads(machine.run("models", "verify", "mine@best", "--json")[0]) == {
        "name": "mine", "version": old["version"], "files": 1, "bytes": 7, "signed": False,
    }  # fmt: skip
    assert "removed" in machine.run("models", "alias", first, "best", "--remove")[0]
    assert machine.run("models", "delete", first, "--yes")[0].split() == ["deleted", first]
    (left,) = json.loads(machine.run("models", "list", "mine", "--json")[0])
    assert left["version"] == new["version"]
    assert "best" in machine.run("models", "verify", "mine@best", code=1)[1]  # what it says that there is not
    stored = next((machine.server.home).rglob("weights.bin"))
    stored.chmod(0o644)
    stored.write_bytes(b"WEIGHTS")
    assert "weights.bin" in machine.run("models", "verify", "mine", code=1)[1]


def test_runs_are_shown_and_compared_as_on_the_machine_of_the_server(machine: Machine) -> None:
    ids = []
    with ecluse.Client(machine.server.address, machine.variables["ECLUSE_TOKEN"]) as client:
        for rate in (0.1, 0.2):
            with client.run("compared", rate=rate, rounds=2) as run:
                run.log(1, loss=rate)
                ids.append(run.id)
    user = ("--home", str(machine.server.home), "--user", "person@example.org", "--json")
    for arguments in (("runs", "show", ids[0]), ("runs", "compare", *ids)):
        text, _noted = machine.run(*arguments)
        there = json.loads(machine.run(*arguments, "--json")[0])
        here = json.loads(run_forked([*arguments, *user], dict(machine.variables), timeout=300).stdout)
        assert "0.1" in text
        assert _without_times(there, here) == _without_times(here, here)


def _without_times(given: object, like: object) -> object:
    """What `like` has too; moments are of one zone here and of another there."""
    if isinstance(given, dict) and isinstance(like, dict):
        names = [name for name in like if name != "at" and not name.endswith("_at")]
        return {name: _without_times(given[name], like[name]) for name in names}
    if isinstance(given, list) and isinstance(like, list):
        return [_without_times(a, b) for a, b in zip(given, like, strict=True)]
    return given


def test_a_table_is_trained_on_and_scored(machine: Machine, sample: Path) -> None:
    table = str(sample / "transactions.csv")
    said, noted = machine.run("fraud", "train", table, "--name", "payments", "--budget", "2", "--json")
    trained = json.loads(said)
    shown = json.loads(machine.run("models", "show", f"payments@{trained['version']}", "--json")[0])
    assert trained["report"] == shown["report"]
    assert 0 < trained["report"]["metrics"]["average_precision"] <= 1
    assert "Uploading transactions.csv" in noted
    scores = sample / "scores.parquet"
    said, _noted = machine.run(
        "fraud", "predict", "payments", str(sample / "to_score.csv"), "-o", str(scores)
    )
    assert f"300 rows scored with payments@{trained['version']}" in said
    assert pl.read_parquet(scores).height == 300
    assert not [file for file in sample.iterdir() if file.name.startswith(".ecluse")]
    assert "no-such" in machine.run(
        "fraud", "predict", "no-such", table, "-o", str(scores), code=1
    )[1]  # fmt: skip
    assert not (machine.folder / ".ecluse").exists()


def test_ctrl_c_cancels_the_job_of_the_server_and_publishes_nothing(machine: Machine, sample: Path) -> None:
    command = [sys.executable, "-m", "ecluse", "fraud", "train", str(sample / "transactions.csv")]
    process = subprocess.Popen(
        [*command, "--name", "stopped", "--budget", "600"],
        env=dict(machine.variables),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with machine.server.client() as client:

        def job() -> dict[str, str]:
            return next((each for each in client.get("/api/jobs").json() if "stopped" in each["title"]), {})

        wait_until(lambda: job().get("status") == "running", "a job that runs")
        process.send_signal(signal.SIGINT)
        noted = process.communicate(timeout=60)[1]
        assert (process.returncode, f"Cancelled at {machine.server.address}" in noted) == (130, True), noted
        wait_until(lambda: job()["status"] == "cancelled", "a job that is cancelled")
        assert client.get("/api/models/stopped/versions").status_code == httpx.codes.NOT_FOUND


def count_of(machine: Machine) -> int:
    """How many tables the person has at the server."""
    token = machine.variables["ECLUSE_TOKEN"]
    answer = httpx.get(
        f"{machine.server.address}/api/tables", headers={"authorization": f"Bearer {token}"}, timeout=60
    )
    return int(answer.json()["total"])


def test_a_table_is_scored_by_a_model_of_ones_own_there_and_here_alike(
    machine: Machine, tmp_path: Path
) -> None:
    rows = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
    example = pl.DataFrame(rows, schema=["age", "height"]).to_pandas()
    model = LogisticRegression().fit(example, [0, 0, 1, 1])
    table = tmp_path / "rows.csv"
    table.write_text("who;age;height\n007;0,5;1\n008;2;1,5\n")
    with ecluse.Client(machine.server.address, machine.variables["ECLUSE_TOKEN"]) as client:
        client.publish(model, "line", example=example)
        before = count_of(machine)
        said, _noted = machine.run(
            "models", "score", "line", str(table), "--out", str(tmp_path / "there.csv")
        )
        assert "2 rows scored by line@v" in said
        assert count_of(machine) == before  # type: ignore[attr-defined]
    there = pl.read_csv(tmp_path / "there.csv", schema_overrides={"who": pl.String})
    assert there["who"].to_list() == ["007", "008"]
    given = pl.DataFrame({"age": [0.5, 2.0], "height": [1.0, 1.5]}).to_pandas()
    expected = model.predict_proba(given)[:, 1].tolist()
    assert there["probability_1"].to_list() == pytest.approx(expected)
    home = tmp_path / "home"
    with ecluse.Client(home=home) as client:
        client.publish(model, "line", example=example)
    command = [
        "models",
        "score",
        "line",
        str(table),
        "--out",
        str(tmp_path / "here.parquet"),
        "--home",
        str(home),
    ]
    done = run_forked(command, dict(machine.variables), timeout=300)
    assert done.returncode == 0, done.stderr
    assert pl.read_parquet(tmp_path / "here.parquet").to_dicts() == there.to_dicts()
    assert {file.name for file in tmp_path.iterdir()} == {"rows.csv", "there.csv", "home", "here.parquet"}
