"""Small applications that were written from the guide alone are installed together, and do what they were written for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ecluse.apps.hosted.due import queue_due
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    listed = ":".join(str(file) for file in sorted(EXAMPLES.glob("*.py")))
    with running(tmp_path_factory.mktemp("home"), {"ECLUSE_APPS": listed}) as application:
        yield application


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[httpx.Client]:
    with app.client() as client:
        yield client


def test_a_regression_with_files_of_its_own(app: Application, client: httpx.Client) -> None:
    table = "size,district,rent\n" + "".join(
        f"{20 + n % 90},{'ns'[n % 2]},{15 * (20 + n % 90)}\n" for n in range(200)
    )
    file = client.post("/api/flats/files", files={"file": ("flats.csv", table.encode())}).json()["id"]
    job = client.post("/api/flats/train", json={"table": file, "rounds": 20}).json()["job"]
    ended = app.wait_for_job(client, job)
    assert ended["status"] == "done", ended
    run = ended["result"]["run"]  # type: ignore[index]
    assert len(client.get(f"/api/runs/{run}/metrics").json()["rmse"]) == 20
    answer = client.post(
        "/api/flats/predict", json={"rows": [{"size": 50, "district": "n"}], "currency": "CHF"}
    )
    (row,) = answer.raise_for_status().json()["rows"]
    assert row["currency"] == "CHF"
    assert row["rent"] == pytest.approx(750, rel=0.1)
    form = client.get("/flats", headers={"accept": "text/html"}).text
    assert '<select name="row.district">' in form


def test_a_report_is_written_when_it_is_due_and_once(app: Application, client: httpx.Client) -> None:
    job = client.post("/api/digest/weekly", json={"region": "north"}).json()["job"]
    made = app.wait_for_job(client, job)["result"]["files"]  # type: ignore[index]
    report = next(file["id"] for file in made if file["purpose"] == "report")
    page = client.get(f"/digest/reports/{report}", headers={"accept": "text/html"}).text
    assert "<h2>Visits, north</h2>" in page
    assert ">visits.csv</a>" in page
    assert client.post("/api/digest/weekly", json={"region": "west"}).status_code == 422
    with Runtime.open(Settings.from_environment(app.environ, home=app.home)) as runtime:
        runtime.accounts.local_administrator()
        now = datetime.now(UTC)
        assert queue_due(runtime, now) == 0  # what was due before it was installed is not made up for
        assert queue_due(runtime, now + timedelta(days=7)) == 1
        assert queue_due(runtime, now + timedelta(days=7)) == 0
