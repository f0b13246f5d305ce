"""The whole main job, with requests to the store broken on the way: nothing is lost, nothing is there twice."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import polars as pl
import pytest

from ecluse.apps.fraud.rows import datasets, predictions, training
from ecluse.apps.fraud.sample import write_sample
from ecluse.catalog import models
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running
from tests.faults import fault_proxy
from tests.servers import ObjectServer

pytestmark = pytest.mark.nightly

MODELS = 2
TABLES = 10
#: A person or program sends a request again when it was answered with "the store does not answer".
ATTEMPTS = 5


@pytest.mark.nightly
@pytest.mark.parametrize("rate", [0.02, 0.15])
def test_the_main_job_loses_nothing_and_does_nothing_twice_under_faults(
    rate: float, object_server: ObjectServer, postgresql_url: str, tmp_path: Path
) -> None:
    sample = write_sample(tmp_path, rows=4000, score_rows=300)
    contents = {f"t{n}.csv": sample.unlabelled.read_bytes() + b"\n" * n for n in range(TABLES)} | {
        "labelled.csv": sample.labelled.read_bytes()
    }
    with fault_proxy(object_server.endpoint, seed=11) as proxy:
        environ = proxy.environment(uuid.uuid4().hex) | {"DATABASE_URL": postgresql_url}
        with running(tmp_path / "home", environ) as application, application.client() as client:
            proxy.rate(rate)
            uploaded = {
                name: _sent(lambda n=name, c=content: client.post("/api/upload", files={"file": (n, c)}))[
                    "id"
                ]
                for name, content in contents.items()
            }
            for number in range(MODELS):
                body = {
                    "dataset": uploaded["labelled.csv"],
                    "model_name": f"m{number}",
                    "target_column": "is_fraud",
                    "budget_s": 2,
                }
                _finished(application, client, client.post("/api/train", json=body))
            scored = [
                _finished(
                    application,
                    client,
                    client.post(
                        "/api/predict", json={"dataset": uploaded[f"t{n}.csv"], "model": f"m{n % MODELS}"}
                    ),
                )
                for n in range(TABLES)
            ]
            for result in scored:
                downloaded = _read(lambda r=result: client.get(r["download_url"]))
                assert pl.read_csv(io.BytesIO(downloaded)).height == 300
            broken = [request for request in proxy.requests if request.fault]
            proxy.clear()
            _check(application, contents)
    assert broken


def _check(application: Application, contents: dict[str, bytes]) -> None:
    """What the rows say is in the store, whole, and nothing else of theirs is."""
    with Runtime.open(Settings.from_environment(application.environ, home=application.home)) as runtime:
        user = runtime.accounts.by_email("person@example.org").id
        with runtime.catalog.read() as transaction:
            tables = datasets.list_datasets(transaction, user)
            versions = models.list_latest(transaction, user)
            runs, _ = training.list_runs(transaction, user)
            results = predictions.list_predictions(transaction, user, limit=1000)
        assert sorted(table.filename for table in tables) == sorted(contents)
        keys = set()
        for table in tables:
            held = hashlib.sha256(runtime.data.get(table.key)).hexdigest()
            assert held == table.sha256 == hashlib.sha256(contents[table.filename]).hexdigest()
            keys.add(table.key)
        assert [run.status for run in runs] == ["done"] * MODELS
        assert sorted(version.name for version in versions) == [f"m{n}" for n in range(MODELS)]
        for version in versions:
            assert runtime.registry(user).versions(version.name) == [version.version]
            runtime.registry_of(version).verify(version.name, version.version)
        assert [result.status for result in results] == ["done"] * TABLES
        for result in results:
            assert hashlib.sha256(runtime.data.get(result.key or "")).hexdigest() == result.sha256
            keys.add(result.key or "")
        stored = {info.key for info in runtime.data.list(f"user_data/{user}")}
        assert stored == keys


def _sent(send: Callable[[], httpx.Response]) -> dict[str, str]:
    """The answer, asked for again while the store does not answer."""
    for _ in range(ATTEMPTS):
        answer = send()
        if answer.status_code != 503:
            break
    answer.raise_for_status()
    found: dict[str, str] = answer.json()
    return found


def _read(read: Callable[[], httpx.Response]) -> bytes:
    for _ in range(ATTEMPTS):
        try:
            answer = read()
        except httpx.RemoteProtocolError:  # a download that broke is never complete
            continue
        if answer.status_code != 503:
            return answer.raise_for_status().content
    raise AssertionError(f"no whole answer in {ATTEMPTS} attempts")


def _finished(application: Application, client: httpx.Client, asked: httpx.Response) -> dict[str, str]:
    job = asked.raise_for_status().json()["job"]
    ended = application.wait_for_job(client, job)
    assert ended["status"] == "done", ended
    result: dict[str, str] = ended["result"]  # type: ignore[assignment]
    return result
