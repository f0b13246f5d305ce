"""What a client does, against a server and in the folder of this machine: one contract, both backends."""

from __future__ import annotations

import gzip
import io
import json
import math
import uuid
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io
from polars.testing import assert_frame_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

import ecluse
from ecluse.client.backend import MOST_POINTS, Publication
from ecluse.client.http import HttpBackend
from ecluse.client.local import LocalBackend
from ecluse.errors import (
    AliasNotFound,
    EcluseError,
    InvalidInput,
    JobNotFound,
    ModelNotFound,
    ModelRefused,
    ModelUnreadable,
    NotFound,
    UnreadableTable,
)
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.work import cancel_job
from tests.accounts import account
from tests.application import Application, running

pytestmark = pytest.mark.nightly

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
    """A client with nothing of its own yet: in a folder, or with the token of a new person that may not do all."""
    if request.param == "local":
        with ecluse.Client(home=tmp_path / "home") as client:
            yield client
        return
    server: Application = request.getfixturevalue("server")
    token = server.token_for(f"{uuid.uuid4().hex}@example.org", "read", "predict", "publish")
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
    with pytest.raises(ModelRefused):
        client.publish(object(), "thing")
    with pytest.raises(EcluseError, match="not a name"):
        client.publish(__file__, "not a name")
    with pytest.raises(InvalidInput, match="not a name"):
        client.run("not a name")
    with pytest.raises(InvalidInput, match="a/b"):
        client.run("thing", **{"a/b": 1})
    with pytest.raises(InvalidInput, match="latest"):
        client.publish(__file__, "thing", alias="latest")
    assert client.models().is_empty()
    client.publish(__file__, "thing")
    with pytest.raises(AliasNotFound):
        client.load("thing@production")
    with client.run("thing") as run:
        with pytest.raises(InvalidInput, match=r"1\.5"):
            run.log(1.5, loss=1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="loss"):
            run.log(1, loss="much")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="a/b"):
            run.log(1, **{"a/b": 1.0})
    with pytest.raises(InvalidInput, match="ended"):
        run.log(2, loss=1)


def hostile(folder: Path, module: str, name: str) -> None:
    """Write a version as our client does, but for a `.skops` that names something to call, and a card that trusts it."""
    line = io.BytesIO(skops.io.dumps(LinearRegression().fit(ROWS, [0, 1, 2, 3])))
    with zipfile.ZipFile(line) as archive, zipfile.ZipFile(folder / "model.skops", "w") as changed:
        for member in archive.namelist():
            content = archive.read(member)
            if member == "schema.json":
                tree = json.loads(content)
                tree |= {"__class__": name, "__module__": module}
                content = json.dumps(tree).encode()
            changed.writestr(member, content)
    card = {"format": 1, "kind": "sklearn", "details": {"types": [f"{module}.{name}"]}, "libraries": {}}
    (folder / "ecluse.json").write_text(json.dumps(card | {"trusted": [f"{module}.{name}"]}))


def test_a_file_that_asks_for_more_than_our_list_is_not_loaded(client: ecluse.Client, tmp_path: Path) -> None:
    backend = client._backend
    for number, (module, name) in enumerate([("os", "system"), ("sklearn.tree._tree", "Tree")]):
        (folder := tmp_path / str(number)).mkdir()
        hostile(folder, module, name)
        trusting = {"kind": "sklearn", "types": [f"{module}.{name}"], "trusted": [f"{module}.{name}"]}
        backend.publish(Publication("hostile", uuid.uuid4().hex, (folder,), trusting), lambda _size: None)
        for ask in (client.load, lambda reference: client.predict(reference, ROWS)):
            with pytest.raises(ModelUnreadable, match=rf"{module}\.{name}"):
                ask("hostile")
    for word in ("converted", "pickles", "imported"):  # by these, an import says what it has done
        publication = Publication("claims", uuid.uuid4().hex, (folder,), {word: {"model.pkl": ["os.system"]}})
        with pytest.raises(InvalidInput, match=word):
            backend.publish(publication, lambda _size: None)
    assert client.models()["name"].to_list() == ["hostile"]


def test_a_forest_is_published_as_a_graph_and_answers_as_before(client: ecluse.Client) -> None:
    forest = RandomForestClassifier(n_estimators=3, random_state=0).fit(
        ROWS, ["stays", "stays", "leaves", "leaves"]
    )
    version = client.publish(forest, "forest", example=ROWS)
    assert (version.kind, version.metadata["made_of"]) == (
        "onnx", "sklearn.ensemble._forest.RandomForestClassifier",
    )  # fmt: skip
    answers = client.predict("forest", ROWS)
    assert answers["prediction"].to_list() == forest.predict(ROWS).tolist()
    assert np.allclose(answers["probability_leaves"], forest.predict_proba(ROWS)[:, 0], atol=1e-6)


def test_a_job_is_followed_to_its_end_by_its_owner_alone(
    client: ecluse.Client, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with pytest.raises(JobNotFound):
        client.job("0" * 32)
    backend = client._backend
    home = tmp_path / "home" if isinstance(backend, LocalBackend) else request.getfixturevalue("server").home
    with Runtime.open(Settings.from_environment(home=home)) as runtime:
        accounts = runtime.accounts
        user = (
            accounts.by_email(str(backend.me()["email"]))
            if isinstance(backend, HttpBackend)
            else accounts.local_administrator()
        )
        job = runtime.jobs.enqueue("doctor", "train", user.id, "A check", {"subject": 1})
        others = runtime.jobs.enqueue("doctor", "train", account(runtime.catalog, "another"), "A check", {})
        state = client.job(job)
        assert (state.id, state.status, state.title, state.has_ended) == (job, "queued", "A check", False)
        with pytest.raises(JobNotFound):
            client.job(others)
        cancel_job(runtime, user.id, job)
    ended = client.job(job, wait=True)
    assert (ended.status, ended.has_ended, ended.result) == ("cancelled", True, None)


def test_runs_are_found_by_their_figures(client: ecluse.Client) -> None:
    for auc in (0.7, 0.9):
        with client.run("churn", rate=auc / 10, **({"only_first": 1} if auc < 0.8 else {})) as run:
            run.log(1, auc=auc)
    assert client.runs("auc > 0.8")["auc"].to_list() == [0.9]
    assert "only_first" not in client.runs("auc > 0.8").columns
    assert "only_first" in client.runs().columns
    assert client.runs("auc > 0.8 OR rate < 0.08").height == 2
    with pytest.raises(InvalidInput, match="id, name"):
        client.runs("nothing > 1")
    assert isinstance(client.runs(name="other"), pl.DataFrame)


def test_a_frame_is_uploaded_and_read_back_equal_in_values_and_types(client: ecluse.Client) -> None:
    given = pl.DataFrame(
        {
            "id": ["007", "", None],
            "whole": pl.Series([1, None, -(2**40)], dtype=pl.Int64),
            "small": pl.Series([1, 2, None], dtype=pl.UInt8),
            "number": [1.5, math.nan, math.inf],
            "truth": [True, None, False],
            "day": [date(2026, 1, 31), None, date(1999, 12, 31)],
            "at": [datetime(2026, 1, 31, 8, 30, 0, 5), None, datetime(1999, 1, 1)],
            "zoned": pl.Series([datetime(2026, 1, 31), None, None]).dt.replace_time_zone("Europe/Paris"),
            "kind": pl.Series(["a", "b", None], dtype=pl.Enum(["b", "a"])),
            "price": pl.Series(["1.10", "2.00", None]).cast(pl.Decimal(10, 2)),
        }
    )
    for rows in (given, given.lazy()):
        assert_frame_equal(client.table(client.upload(rows)), given)
    pandas = given.select("whole", "number", "truth").drop_nulls().to_pandas()
    assert (
        client.table(client.upload(pandas, name="of pandas"))["number"].to_list()
        == pandas["number"].to_list()
    )
    for refused in (pl.DataFrame({"a": [[1]]}), pl.DataFrame({"a": []}), {"a": 1}):
        with pytest.raises(InvalidInput):
            client.upload(refused)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"id,age,half,member,day,mixed\n007,41,1.5,true,2026-01-31,1\n012,,2,false,,a\n"),
        ("t.tsv", b"id;age;half;member;day;mixed\n007;41;1,5;true;2026-01-31;1\n012;;2,0;false;;a\n"),
        (
            "t.csv.gz",
            gzip.compress(b"id,age,half,member,day,mixed\n007,41,1.5,true,2026-01-31,1\n012,,2,false,,a\n"),
        ),
    ],
    ids=["commas", "semicolons", "compressed"],  # what is compressed holds the time
)
def test_a_text_becomes_a_table_whose_columns_are_what_they_say(
    client: ecluse.Client, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    made = client.table(client.upload(tmp_path / name))
    assert made.to_dict(as_series=False) == {
        "id": ["007", "012"],
        "age": [41, None],
        "half": [1.5, 2.0],
        "member": [True, False],
        "day": ["2026-01-31", None],
        "mixed": ["1", "a"],
    }
    assert made.schema["age"] == pl.Int64


def test_what_is_no_table_is_refused_and_one_of_another_is_not_there(
    client: ecluse.Client, tmp_path: Path
) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(UnreadableTable):
        client.upload(tmp_path / "t.xlsx")
    with pytest.raises(InvalidInput, match="no file"):
        client.upload(tmp_path / "nothing.csv")
    for table in ("nothing", "0" * 32):
        with pytest.raises(NotFound):
            client.table(table)


def test_an_upload_that_is_sent_again_is_the_same_table(client: ecluse.Client, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    sent = [client._backend.upload(tmp_path / "t.csv", "t.csv", "n", lambda size: None)[0] for _ in range(2)]
    assert sent[0] == sent[1] != client.upload(tmp_path / "t.csv")
