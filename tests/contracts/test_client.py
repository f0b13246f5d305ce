"""What a client does, against a server and in the folder of this machine: one contract, both backends."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import ecluse
from ecluse.client.backend import MOST_POINTS
from ecluse.errors import AliasNotFound, EcluseError, InvalidInput, ModelNotFound, ModelRefused
from tests.application import Application, running

ROWS = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])


@pytest.fixture(autouse=True)
def private_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a person has signed in to out of the tests, and the tests out of that."""
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("ECLUSE_URL", "ECLUSE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("server") / "home", role="web") as application:
        yield application


@pytest.fixture(params=["local", "server"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ecluse.Client]:
    """A client with nothing of its own yet: in a folder, or with the token of a new person."""
    if request.param == "local":
        with ecluse.Client(home=tmp_path / "home") as client:
            yield client
        return
    server: Application = request.getfixturevalue("server")
    token = server.token(f"{uuid.uuid4().hex}@example.org")
    with ecluse.Client(server.address, token) as client:
        yield client


@pytest.fixture(scope="module")
def model() -> LogisticRegression:
    return LogisticRegression().fit(ROWS, ["stays", "stays", "leaves", "leaves"])


def test_a_run_is_begun_logged_published_from_and_done(
    client: ecluse.Client, model: LogisticRegression
) -> None:
    with client.run("churn", rounds=300, goal={"kind": "auc"}, tags={"who": "me"}) as run:
        for step in range(MOST_POINTS + 5):  # more than are handed on at once
            run.log(step, loss=1 / (step + 1))
        run.log(3, loss=0.5)  # the same step again replaces it
        run.log(MOST_POINTS + 5, loss=math.inf)
        version = run.publish(model, example=ROWS, metrics={"auc": 0.87}, alias="staging")
        run.parameters(rounds=299)
    assert version.kind == "sklearn"
    assert version.aliases == ("staging",)
    assert version.metrics["auc"] == 0.87
    (kept,) = client.runs(name="churn").to_dicts()
    assert kept["id"] == run.id
    assert (kept["status"], kept["version"], kept["rounds"]) == ("done", version.version, 299)
    assert kept["goal.kind"] == "auc"
    assert kept["loss"] == 1 / (MOST_POINTS + 5)
    (listed,) = client.models().to_dicts()
    assert (listed["name"], listed["version"], listed["auc"]) == ("churn", version.version, 0.87)


def test_what_was_published_is_loaded_by_every_reference_and_answers_as_before(
    client: ecluse.Client, model: LogisticRegression, tmp_path: Path
) -> None:
    version = client.publish(model, "churn", example=ROWS, alias="production")
    for reference in ("churn", "churn@latest", "churn@production", version.reference):
        assert client.load(reference).predict(ROWS).tolist() == model.predict(ROWS).tolist()
    client.load("churn", to=tmp_path / "files")
    names = {"model.skops", "ecluse.json", "example.parquet", "answers.parquet"}
    assert {path.name for path in (tmp_path / "files").iterdir()} == names
    answers = client.predict("churn@production", ROWS)
    assert answers.columns == ["prediction", "probability_leaves", "probability_stays"]
    assert np.allclose(answers["probability_leaves"], model.predict_proba(ROWS)[:, 0])


def test_an_alias_that_moves_is_followed_by_the_next_answer(client: ecluse.Client) -> None:
    for labels in ([0, 0, 1, 1], [1, 1, 0, 0]):
        line = LogisticRegression().fit(ROWS[:, :1], labels)
        client.publish(line, "line", example=ROWS[:, :1], alias="production")
        assert client.predict("line@production", ROWS[:, :1])["prediction"].to_list() == labels
    assert client.models(name="line").height == 2
    assert client.models("alias=production").height == 1


def test_a_folder_is_published_as_it_is_and_written_where_asked(
    client: ecluse.Client, tmp_path: Path
) -> None:
    (tmp_path / "files" / "inner").mkdir(parents=True)
    (tmp_path / "files" / "inner" / "weights.bin").write_bytes(bytes(1000))
    (tmp_path / "files" / "empty").touch()
    version = client.publish(tmp_path / "files", "weights", metrics={"accuracy": 0.9})
    assert (version.kind, version.metrics["accuracy"]) == ("folder", 0.9)
    with pytest.raises(InvalidInput, match="to=FOLDER"):
        client.load("weights")
    assert client.load("weights", to=tmp_path / "there") == tmp_path / "there"
    assert (tmp_path / "there" / "inner" / "weights.bin").read_bytes() == bytes(1000)
    assert (tmp_path / "there" / "empty").read_bytes() == b""


def test_a_run_fails_and_is_cancelled_with_what_its_block_raises(client: ecluse.Client) -> None:
    with pytest.raises(ZeroDivisionError), client.run("churn"):
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), client.run("churn"):
        raise KeyboardInterrupt
    assert sorted(client.runs()["status"]) == ["cancelled", "failed"]
    assert client.runs(status="failed").height == 1


def test_what_is_refused_is_said_and_leaves_nothing(client: ecluse.Client) -> None:
    for reference, error in (("nothing", ModelNotFound), ("", InvalidInput)):
        with pytest.raises(error):
            client.load(reference)
    with pytest.raises(ModelRefused, match="without a pickle"):
        client.publish(object(), "thing")
    with pytest.raises(EcluseError, match="model name"):
        client.publish(__file__, "not a name")
    with pytest.raises(InvalidInput, match="model name"):
        client.run("not a name")
    with pytest.raises(InvalidInput, match="cannot name a parameter"):
        client.run("thing", **{"a/b": 1})
    with pytest.raises(InvalidInput, match="alias"):
        client.publish(__file__, "thing", alias="latest")
    assert client.models().is_empty()
    client.publish(__file__, "thing")
    with pytest.raises(AliasNotFound):
        client.load("thing@production")
    with client.run("thing") as run:
        with pytest.raises(InvalidInput, match="whole number"):
            run.log(1.5, loss=1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="no number"):
            run.log(1, loss="much")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="cannot name a parameter, tag or metric"):
            run.log(1, **{"a/b": 1.0})
    with pytest.raises(InvalidInput, match="has ended"):
        run.log(2, loss=1)


def test_runs_are_found_by_their_figures(client: ecluse.Client) -> None:
    for auc in (0.7, 0.9):
        with client.run("churn", rate=auc / 10) as run:
            run.log(1, auc=auc)
    assert client.runs("auc > 0.8")["auc"].to_list() == [0.9]
    assert client.runs("auc > 0.8 OR rate < 0.08").height == 2
    with pytest.raises(InvalidInput, match="no condition over these columns: id, name"):
        client.runs("nothing > 1")
    assert isinstance(client.runs(name="other"), pl.DataFrame)
