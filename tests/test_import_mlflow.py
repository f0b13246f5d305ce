"""`ecluse import mlflow` takes over what a real MLflow server holds: killed in the middle, begun again, and twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import ecluse
from ecluse import models
from ecluse.catalog import exports, runs
from ecluse.catalog.runs import RunFilter
from ecluse.client.mlflow.flavours import as_ours
from ecluse.client.mlflow.names import alias_name, labels, model_names
from ecluse.client.mlflow.server import access_to
from ecluse.client.mlflow.values import number_of, points_of
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import KEPT, run_ecluse, running
from tests.faults import Fault, FaultProxy, fault_proxy
from tests.servers import free_port
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly
SEED = Path(__file__).parent / "mlflow_seed.py"
#: Runs of the seed whose one file is fetched; a few more runs stand beside them.
RUNS = 4


@dataclass(frozen=True)
class Mlflow:
    """A server of MLflow's own, and what it was filled with."""

    url: str
    filled: dict[str, Any]


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """`mlflow server`, with SQLite and a folder; it hands out the files itself."""
    port = free_port()
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mlflow",
        "server",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "MLFLOW_DISABLE_TELEMETRY": "true"
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environ, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            return _answers(f"http://127.0.0.1:{port}/health")

        wait_until(answers, "an answer of MLflow", 180)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # with the processes that it has started; its data are those of a test
        process.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    with mlflow_server(folder) as url:
        environ = {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(SEED), str(RUNS)],
            env=environ | {"MLFLOW_TRACKING_URI": url, "MLFLOW_DISABLE_TELEMETRY": "true"},
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        yield Mlflow(url, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What is on its way, and who is signed in to what, is that of the test alone."""
    return {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}


def take_over(home: Path, environ: dict[str, str], url: str, *options: str) -> dict[str, Any]:
    done = run_ecluse(home, environ, "import", "mlflow", url, "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    fields: dict[str, Any] = json.loads(done.stdout)
    return fields


def counted(fields: dict[str, Any], what: str) -> Counter[str]:
    return Counter(each["outcome"] for each in fields["outcomes"] if each["what"] == what)


def everything(home: Path) -> dict[str, Any]:
    """Every run with its curves, and every version with the digests of its files."""
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        user = runtime.accounts.local_administrator().id
        with runtime.catalog.read() as transaction:
            rows, _ = runs.list_runs(transaction, user, RunFilter(), limit=1000)
            tracked = {
                str(row.tags["mlflow.run_id"]): {
                    "name": row.name,
                    "status": row.status,
                    "began": row.started_at,
                    "ended": row.finished_at,
                    "parameters": row.parameters,
                    "tags": row.tags,
                    "version": row.version,
                    "curves": {
                        name: [(point.step, point.value, point.at.timestamp()) for point in curve]
                        for name, curve in runs.curves_of(transaction, row.id).items()
                    },
                }
                for row in rows
            }
            assert len(tracked) == len(rows)
        versions = [
            (
                row.name,
                row.version,
                [(file.path, file.sha256) for file in models.manifest_of(runtime, row).files],
            )
            for row in models.search(runtime, user, [])
        ]
        with runtime.catalog.read() as transaction:
            assert not exports.done_runs(transaction, "mlflow")  # they would go back to where they came from
        pointing = {(each.name, each.alias): each.version for each in models.aliases(runtime, user)}
        return {"runs": tracked, "versions": versions, "aliases": pointing}


def downloads(proxy: FaultProxy) -> list[str]:
    return [each.target for each in proxy.requests if "get-artifact" in each.target or "/files" in each.path]


def test_killed_in_the_middle_and_begun_again_it_takes_over_all_of_it_once(
    mlflow: Mlflow, tmp_path: Path, environ: dict[str, str]
) -> None:
    home = tmp_path / "home"
    with fault_proxy(mlflow.url) as proxy:
        command = [sys.executable, "-m", "ecluse", "import", "mlflow", proxy.endpoint, "--home", str(home)]
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        process = subprocess.Popen(
            command, env=kept | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        proxy.plan(
            Fault.HOLD_RESPONSE,
            when=lambda request: "weights.bin" in request.target,
            after=2,
            action=process.kill,
        )
        said, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, said.decode()
        before = everything(home)
        assert 0 < len(before["versions"]) < RUNS
        whole = len(downloads(proxy)) - 1
        fields = take_over(home, environ, proxy.endpoint)
        fetched = Counter(downloads(proxy)[whole + 1 :])
        assert set(fetched.values()) == {1}
        assert not set(fetched) & set(downloads(proxy)[:whole])  # only the one that was cut off came again
        after = everything(home)
        assert counted(fields, "version") == {"new": 1, "files": 2}
        assert counted(take_over(home, environ, proxy.endpoint), "run") == {"unchanged": RUNS + 3, "open": 1}
    assert everything(home) == after
    assert not [
        file for file in Path(environ["XDG_STATE_HOME"]).rglob("*") if file.is_file() and file.name != "lock"
    ]
    check_first(after, mlflow)


def check_first(taken: dict[str, Any], mlflow: Mlflow) -> None:
    """What the first run of the seed is here, to the last point."""
    assert Counter(run["status"] for run in taken["runs"].values()) == {
        "done": RUNS + 2,
        "failed": 1,
        "running": 1,
    }
    first = taken["runs"][mlflow.filled["first"]]
    assert (first["name"], first["status"]) == ("churn", "done")
    assert first["began"].timestamp() == 1_700_000_000
    assert first["ended"].timestamp() == 1_700_000_060
    assert first["parameters"] == {"rounds": 300, "rate": 0.1, "model.kind": "tree", "note": "x" * 500}
    assert first["tags"]["team"] == "growth"
    assert first["tags"]["mlflow.experiment"] == "churn"
    assert first["tags"]["gone.not_finite"] == 1
    curves = first["curves"]
    assert curves["loss"] == [(step, 1 / (step + 1), 1_700_000_000 + step) for step in range(25)]
    assert curves["time"] == [(n, n + 1.0, 1_700_000_000 + (n + 1) / 100) for n in range(3)]
    (other,) = [name for name in curves if name.startswith("val.loss-")]
    assert (curves["val.loss"][0][1], curves[other][0][1]) == (3.0, 2.0)
    named = {name for name, _version, _files in taken["versions"]}
    assert {"churn", "churn-runs", "churn-model", "many-runs-over-time"} < named
    assert len(named) == 5  # `churn model` and `churn-model` are two
    assert taken["aliases"] == {("churn", "champion"): first["version"]}
    (files,) = [dict(files) for name, _version, files in taken["versions"] if name == "churn"]
    assert {"ecluse.json", "model.ubj", "mlflow/MLmodel", "run/plots/plot.txt"} < set(files)
    assert "mlflow/model.ubj" not in files  # the same bytes


def test_at_a_server_what_is_native_answers_and_what_is_pickled_is_kept_as_files(
    mlflow: Mlflow, tmp_path: Path, environ: dict[str, str]
) -> None:
    with running(tmp_path / "server", role="web") as application:
        token = application.token()
        environ |= {"ECLUSE_URL": application.address, "ECLUSE_TOKEN": token}
        done = run_ecluse(tmp_path / "home", environ, "import", "mlflow", mlflow.url, "--experiment", "churn")
        assert done.returncode == 0, done.stderr
        assert f"At {application.address}" in done.stderr
        assert "version churn-model 1: model.pkl is a pickle" in done.stdout
        headers = {"authorization": f"Bearer {token}"}
        rows = [{"age": 20.0, "calls": 1}, {"age": 65.0, "calls": 9}]
        answer = httpx.post(
            f"{application.address}/api/models/churn@champion/predict",
            json={"rows": rows},
            headers=headers,
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        assert [each["prediction"] for each in answer.json()["answers"]] == [
            mlflow.filled["answers"][0],
            mlflow.filled["answers"][3],
        ]
        with ecluse.Client(application.address, token) as client:
            assert set(client.runs()["name"]) == {"churn", "churn-model", "churn-runs"}
            folder = client.load("churn-runs", to=tmp_path / "lost")
            assert (folder / "run" / "notes.pkl").read_bytes().startswith(b"\x80")
        again = take_over(tmp_path / "home", environ, mlflow.url, "--experiment", "churn")
        assert counted(again, "version") == {"unchanged": 3}


#: Saves one model in each way of MLflow's that is no pickle: `python -c SAVE FOLDER`.
SAVE = """
import sys, onnx
from pathlib import Path
import catboost, lightgbm, mlflow, numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression

folder = Path(sys.argv[1])
rows = pd.DataFrame({"age": np.arange(60.0), "calls": np.arange(60) % 7})
labels = (rows["age"] > 30).astype(int)
given = {"input_example": rows.head(5), "pip_requirements": ["numpy"]}
booster = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(rows, labels), 3)
mlflow.lightgbm.save_model(booster, folder / "lightgbm", **given)
cat = catboost.CatBoostClassifier(iterations=3, verbose=False, allow_writing_files=False).fit(rows, labels)
mlflow.catboost.save_model(cat, folder / "catboost", **given)
mlflow.sklearn.save_model(LogisticRegression().fit(rows.to_numpy(), labels), folder / "sklearn",
    serialization_format="skops", pip_requirements=["numpy"], input_example=rows.to_numpy()[:5])
weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2, 600], np.ones(1200, np.float32).tobytes(), raw=True)
node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
value = onnx.helper.make_tensor_value_info
graph = onnx.helper.make_graph([node], "g", [value("x", 1, [None, 2])], [value("y", 1, [None, 600])], [weights])
made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
mlflow.onnx.save_model(made, folder / "onnx", pip_requirements=["numpy"], save_as_external_data=True,
    input_example=np.ones((3, 2), np.float32))
mlflow.sklearn.save_model(LogisticRegression().fit(rows, labels), folder / "pickled",
    serialization_format="cloudpickle", pip_requirements=["numpy"])
"""


def test_what_mlflow_keeps_without_a_pickle_answers_and_what_it_pickles_does_not(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "MLFLOW_DISABLE_TELEMETRY": "true"
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SAVE, str(tmp_path)],
        env=environ, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in ("lightgbm", "catboost", "sklearn", "onnx"):
        target = tmp_path / f"{kind}-ours"
        target.mkdir()
        converted = as_ours(tmp_path / kind, target)
        assert converted.reason is None, (kind, converted.reason)
        assert converted.metadata["kind"] == kind
        assert (target / "answers.parquet").exists(), f"{kind} has no example"
    (tmp_path / "none").mkdir()
    refused = as_ours(tmp_path / "pickled", tmp_path / "none")
    assert "model.pkl is a pickle" in str(refused.reason)
    assert not list((tmp_path / "none").iterdir())


def test_names_that_cannot_stay_are_mapped_and_kept_apart() -> None:
    assert next(model_names("churn")) == "churn"
    assert next(model_names("Équipe/churn:v2")) == "Equipe-churn-v2"
    first, second = list(model_names("a/b"))[-1], list(model_names("a:b"))[-1]
    assert first != second
    assert labels(["val/loss", "val.loss", "loss"]) == {
        "loss": "loss",
        "val.loss": "val.loss",
        "val/loss": labels(["val/loss", "val.loss"])["val/loss"],
    }
    assert labels(["val/loss"]) == {"val/loss": "val.loss"}
    assert alias_name("Champion", []) == "champion"
    assert alias_name("Champion", ["champion"]) not in ("champion", "Champion")


def test_numbers_come_back_from_texts_only_where_nothing_is_lost() -> None:
    texts = ["300", "0.1", "1e3", "007", "True", "nan", "1_000", "adam"]
    assert [number_of(text) for text in texts] == [300, 0.1, "1e3", "007", True, "nan", "1_000", "adam"]


def test_values_of_one_step_are_numbered_only_where_no_step_was_ever_given() -> None:
    changes: list[str] = []
    curves = {
        "twice": [{"step": 1, "timestamp": 5, "value": 1.0}, {"step": 1, "timestamp": 9, "value": 2.0},
                  {"step": 2, "timestamp": 10, "value": 3.0}],
        "stamps": [{"step": 1_700_000_000_000, "timestamp": 7, "value": 4.0}],
    }  # fmt: skip
    points = {
        (name, point.step): value
        for point in points_of(curves, changes)
        for name, value in point.metrics.items()
    }
    assert points == {("twice", 1): 2.0, ("twice", 2): 3.0, ("stamps", 0): 4.0}
    assert len(changes) == 2


@pytest.mark.parametrize("url", ["", "mlflow", "ftp://host", "http://", "http://h:x", "http://h/?a=1"])
def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    with pytest.raises(InvalidInput, match="no address of an MLflow server"):
        access_to(url)


def test_a_password_in_the_address_shows_itself_nowhere() -> None:
    access = access_to("https://me:s%40cret@mlflow.example.org/base/")
    assert (access.address, access.user, access.password) == (
        "https://mlflow.example.org/base",
        "me",
        "s@cret",
    )
    assert "cret" not in repr(access)
