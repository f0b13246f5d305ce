"""The main job on the command line: on the embedded default, and unchanged on S3 and PostgreSQL; and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.rows import training
from ecluse.apps.fraud.rows.tables import READING_STOPPED
from ecluse.apps.fraud.sample import SamplePaths, write_sample
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.catalog import runs, work
from ecluse.catalog.runs import Point
from ecluse.catalog.tables import now
from ecluse.checkpoints import Checkpoints
from ecluse.runtime import Runtime, living_workers
from ecluse.settings import Settings
from ecluse.storage import open_store
from ecluse.work import finish_job, reconcile
from tests.application import KEPT, Application, run_ecluse, running
from tests.servers import ObjectServer
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    return write_sample(tmp_path_factory.mktemp("sample"), rows=6000, score_rows=500)


@pytest.fixture(params=["embedded", "cloud"])
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """Nothing, or what points at a bucket and a database."""
    if request.param == "embedded":
        return {}
    server: ObjectServer = request.getfixturevalue("object_server")
    url: str = request.getfixturevalue("postgresql_url")
    return server.environment(uuid.uuid4().hex) | {"DATABASE_URL": url}


def ecluse(home: Path, environ: dict[str, str], *arguments: str) -> Any:
    done = run_ecluse(home, environ, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.nightly("embedded")
def test_a_table_becomes_a_model_that_scores_another(
    environ: dict[str, str], sample: SamplePaths, tmp_path: Path
) -> None:
    home, out = tmp_path / "home", tmp_path / "scored.csv"
    trained = ecluse(
        home,
        environ,
        "fraud",
        "train",
        str(sample.labelled),
        "--target",
        "is_fraud",
        "--name",
        "payments",
        "--budget",
        "6",
    )
    assert trained["report"]["rows"]["test"] > 0
    if not environ:
        run = ecluse(home, environ, "runs", "list", "--name", "payments")[0]
        again = ecluse(home, environ, "runs", "repeat", run["id"])
        assert {one["name"]: one["sha256"] for one in again["artifacts"]} == {
            one["name"]: one["sha256"] for one in run["artifacts"]
        }
        ecluse(home, environ, "models", "delete", f"payments@{again['version']}", "--yes")
    scored = ecluse(home, environ, "fraud", "predict", "payments", str(sample.unlabelled), "-o", str(out))
    assert scored["rows"] == pl.read_csv(out).height == 500
    renamed, mapped = tmp_path / "renamed.csv", tmp_path / "mapped.csv"
    pl.read_csv(sample.unlabelled, infer_schema=False).rename({"amount": "montant"}).write_csv(renamed)
    ecluse(
        home,
        environ,
        "fraud",
        "predict",
        "payments",
        str(renamed),
        "-o",
        str(mapped),
        "--map",
        "montant=amount",
    )
    assert mapped.read_bytes() == out.read_bytes()
    assert ecluse(home, environ, "models", "verify", "payments")["files"] > 3
    listed = ecluse(home, environ, "models", "list")
    assert [(m["name"], m["version"]) for m in listed] == [("payments", trained["version"])]
    ecluse(home, environ, "models", "download", "payments", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "performance.json").is_file()
    assert {job["status"] for job in ecluse(home, environ, "jobs", "list")} == {"done"}
    _check_layout(home, environ)
    if environ:
        _check_disk_holds_nothing(home, sample)
    ecluse(home, environ, "models", "delete", f"payments@{trained['version']}", "--yes")
    assert ecluse(home, environ, "models", "list") == []


def test_a_table_that_cannot_be_read_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(bytes(range(256)) * 100)
    done = run_ecluse(tmp_path / "home", {}, "fraud", "train", str(bad), "--name", "m")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "bad.csv" in done.stderr
    assert list((tmp_path / "home" / "scratch").iterdir()) == []
    assert [path for path in (tmp_path / "home" / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "wrong", [["--budget", "nan"], ["--budget", "1"], ["--goal", "banana"], ["--name", "../x"]]
)
def test_a_wrong_choice_is_told_before_the_table_is_stored(tmp_path: Path, wrong: list[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    done = run_ecluse(tmp_path / "home", {}, "fraud", "train", str(table), "--name", "m", *wrong)
    assert done.returncode == 1
    assert not (tmp_path / "home" / "store" / "user_data").exists()


@pytest.mark.nightly
def test_a_command_goes_on_when_the_worker_it_relied_on_ends(tmp_path: Path) -> None:
    home = tmp_path / "home"
    tables = []
    for number, rows in enumerate((3000, 1000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        tables.append(write_sample(folder, rows=rows, score_rows=10).labelled)
    ecluse(home, {}, "users", "add", "first@example.org")
    command = [
        sys.executable,
        "-m",
        "ecluse",
        "fraud",
        "train",
        "--target",
        "is_fraud",
        "--budget",
        "5",
        "--home",
        str(home),
    ]
    environ = {name: os.environ[name] for name in KEPT if name in os.environ}
    started = [
        subprocess.Popen(
            [*command, "--name", f"m{n}", str(table)],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for n, table in enumerate(tables)
    ]
    assert [process.wait(150) for process in started] == [0, 0]


def test_rows_whose_job_has_ended_are_brought_up_to_date(runtime: Runtime) -> None:
    user = runtime.accounts.local_administrator()
    dataset = workflows.add_table(runtime, user.id, "t.csv", [b"a,b\n1,2\n"])
    assert reconcile(runtime) == 0
    runtime.jobs.cancel(user.id, dataset.job_id or "")
    ended = workflows.find_dataset(runtime, user.id, dataset.id)
    assert (ended.state, ended.status, ended.error) == ("failed", "cancelled", READING_STOPPED)
    assert reconcile(runtime) == 0, "it ended with its job"


def test_a_row_whose_job_is_about_to_be_queued_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    user = runtime.accounts.local_administrator()
    enqueue, has_lost = runtime.jobs.enqueue, list[bool]()

    def ask_first(*args: Any, **kwargs: Any) -> str:
        with runtime.catalog.read() as transaction:  # as another process's upkeep does
            has_lost.append(work.any_lost(transaction))
        return enqueue(*args, **kwargs)

    monkeypatch.setattr(runtime.jobs, "enqueue", ask_first)
    dataset = workflows.add_table(runtime, user.id, "t.csv", [b"a,b\n1,2\n"])
    run = workflows.start_training(runtime, user.id, dataset.id, TrainingRequest("m", "b"))
    assert has_lost == [False, False]
    assert reconcile(runtime) == 0
    assert workflows.find_dataset(runtime, user.id, dataset.id).state == "profiling"
    with runtime.catalog.read() as transaction:
        assert training.run_of(transaction, user.id, run.id).status == "queued"


@pytest.fixture
def application(environ: dict[str, str], tmp_path: Path) -> Iterator[Application]:
    with running(tmp_path / "home", environ) as started:
        yield started


def tried(runtime: Runtime, user_id: str) -> list[Point]:
    """What the candidates of the user's one training said so far."""
    with runtime.catalog.read() as transaction:
        (run,), _ = training.list_runs(transaction, user_id)
        return runs.curves_of(transaction, run.id).get("validation_average_precision", [])


def fits_of(kept: Checkpoints) -> list[str]:
    return [name for name in kept.names() if name.startswith("fits")]


@pytest.mark.nightly
def test_a_training_whose_worker_is_killed_goes_on_and_is_published_once(
    application: Application, sample: SamplePaths
) -> None:
    with application.client() as client:
        with sample.labelled.open("rb") as file:
            dataset = client.post("/api/upload", files={"file": ("t.csv", file)}).json()
        asked = client.post(
            "/api/train",
            json={"dataset": dataset["id"], "model_name": "m", "target_column": "is_fraud", "budget_s": 120},
        )
        job = asked.json()["job"]
        with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
            user = runtime.accounts.by_email("person@example.org")
            kept = Checkpoints(runtime, user.id, job)
            wait_until(lambda: tried(runtime, user.id), "a candidate that was tried", 120)
            batches = fits_of(kept)
            wait_until(lambda: fits_of(kept) != batches, "another checkpoint", 120)
            (worker,) = living_workers(runtime)
            os.kill(worker.pid, signal.SIGKILL)
            killed_at = now()
            finish_job(runtime, user.id, job)
        assert application.wait_for_job(client, job)["status"] == "done"
        assert len(client.get("/api/models/m/versions").json()) == 1
        history = client.get("/api/history").json()
        assert (history["total"], history["items"][0]["status"]) == (1, "done")
    assert "it is started again" in "".join(application.said)
    with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
        assert len(runtime.registry(user.id).versions("m")) == 1
        with runtime.catalog.read() as transaction:
            assert training.list_runs(transaction, user.id)[1] == 1
        # What was tried before the kill was not tried again, and what it was kept by is gone.
        assert tried(runtime, user.id)[0].at < killed_at
        assert not Checkpoints(runtime, user.id, job).names()


@pytest.mark.nightly
def test_a_request_to_finish_outlives_the_worker(tmp_path: Path, sample: SamplePaths) -> None:
    with running(tmp_path / "home") as application, application.client() as client:
        with sample.labelled.open("rb") as file:
            dataset = client.post("/api/upload", files={"file": ("t.csv", file)}).json()
        asked = client.post(
            "/api/train",
            json={"dataset": dataset["id"], "model_name": "m", "target_column": "is_fraud", "budget_s": 3600},
        )
        job = asked.json()["job"]
        wait_until(lambda: client.get(f"/api/status/{job}").json()["stage"] == "search", "a search", 120)
        with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
            (worker,) = living_workers(runtime)
            os.kill(worker.pid, signal.SIGKILL)
            user = runtime.accounts.by_email("person@example.org")
            finish_job(runtime, user.id, job)
        assert application.wait_for_job(client, job)["status"] == "done"
        version = client.get("/api/models/m/versions").json()[0]["version"]
        report = client.get(f"/api/models/m/{version}").json()["report"]
        assert report["seconds"] < 180 < report["budget_s"]


@pytest.mark.nightly
def test_two_models_train_side_by_side_on_two_workers(application: Application, sample: SamplePaths) -> None:
    second = subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker"],
        env={**application.environ, "ECLUSE_HOME": str(application.home)},
        stderr=subprocess.DEVNULL,
    )
    try:
        with application.client() as client:
            with Runtime.open(
                Settings.from_environment(application.environ, home=application.home)
            ) as runtime:
                wait_until(lambda: len(living_workers(runtime)) == 2, "two workers")
            with sample.labelled.open("rb") as file:
                dataset = (
                    client.post("/api/upload", files={"file": ("t.csv", file)}).raise_for_status().json()
                )
            asked = [
                client.post(
                    "/api/train",
                    json={
                        "dataset": dataset["id"],
                        "model_name": name,
                        "target_column": "is_fraud",
                        "budget_s": 3,
                    },
                )
                for name in ("one", "other")
            ]
            assert [answer.status_code for answer in asked] == [202, 202], [answer.text for answer in asked]
            ended = [application.wait_for_job(client, answer.json()["job"]) for answer in asked]
        assert [job["status"] for job in ended] == ["done", "done"]
        assert max(str(job["started_at"]) for job in ended) < min(str(job["finished_at"]) for job in ended)
    finally:
        second.terminate()
        second.wait(60)


def _check_layout(home: Path, environ: dict[str, str]) -> None:
    settings = Settings.from_environment(environ, home=home)
    with Runtime.open(settings) as runtime:
        user = runtime.accounts.local_administrator().id
    keys = {info.key for info in open_store(settings.store_url, settings.access).list()}
    assert {key.split("/")[0] for key in keys} == {"user_data", "user_models"}
    assert {key.split("/")[1] for key in keys} == {user}
    assert any(
        key.startswith(f"user_data/{user}/uploads/{user}_") and key.endswith("transactions.csv")
        for key in keys
    )
    assert any(
        key.startswith(f"user_data/{user}/predictions/{user}_") and key.endswith(".csv") for key in keys
    )
    assert any(
        key.startswith(f"user_models/{user}/payments/v") and key.endswith("/manifest.json") for key in keys
    )


def _check_disk_holds_nothing(home: Path, sample: SamplePaths) -> None:
    """Of what is in the bucket, only the cache of models is on the local disk."""
    files = [path for path in home.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(home / "cache") for path in files), files
    row = sample.labelled.read_bytes().splitlines()[17]
    assert all(row not in path.read_bytes() for path in files)
