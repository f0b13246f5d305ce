"""A home of the release before work had a table of its own shows the same of every row."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

import ecluse.catalog as catalog_package
from ecluse.catalog import Catalog, work
from ecluse.errors import InvalidInput
from ecluse.jobs import JobKind, Task
from ecluse.models import settle_ended
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.support.wait import wait_until

DATA = Path(__file__).parent / "data"
#: What the release before answered, by kind of row.
BEFORE: dict[str, list[dict[str, Any]]] = json.loads((DATA / "before_work.json").read_text(encoding="utf-8"))
ADDRESSES = {
    "trainings": "/api/history?per_page=200",
    "runs": "/api/runs?per_page=200",
    "predictions": "/api/predictions?per_page=200",
    "datasets": "/api/datasets?limit=200",
    "inspections": "/api/inspections?limit=200",
    "jobs": "/api/jobs?limit=200",
}
#: Rows that their worker left as it died, with why they ended; the release before found these later.
LOST = {"t-left": "It was given up.", "t-lost": work.JOB_GONE}


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A home with the tables of the release before, and rows in every state."""
    base = {"ECLUSE_HOME": str(tmp_path / "home")}
    if request.param == "postgresql":
        base["DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    made = Settings.from_environment(base)
    (tmp_path / "home").mkdir(mode=0o700)
    catalog = Catalog(made.database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(catalog_package.__file__).parent / "migrations"))
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        if request.param == "postgresql":
            connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        for line in (DATA / "before_work.sql").read_text(encoding="utf-8").splitlines():
            if line.startswith("INSERT"):
                connection.exec_driver_sql(line)
        if request.param == "postgresql":
            sequence = "SELECT setval(pg_get_serial_sequence('jobs', 'number'), max(number)) FROM jobs"
            connection.execute(text(sequence))
    catalog.close()
    return made


def answers(runtime: Runtime) -> dict[str, dict[str, dict[str, Any]]]:
    """What the API says of each row, by kind and id."""
    with runtime.catalog.read() as transaction:
        owner = transaction.execute(
            text("SELECT id FROM users WHERE email = 'owner@example.org'")
        ).scalar_one()
    token, _ = runtime.accounts.create_token(owner, "tests")
    app = make_app(runtime)

    async def ask() -> dict[str, dict[str, dict[str, Any]]]:
        found = {}
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers) as client:
            for name, address in ADDRESSES.items():
                body = (await client.get(address)).raise_for_status().json()
                rows = body if isinstance(body, list) else body["items"]
                found[name] = {row["id"]: row for row in rows}
        return found

    return asyncio.run(ask())


def by_the_second(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose end is told by the second: the two rows of one training ended some microseconds apart."""
    end = row.get("finished_at")
    return row | {"finished_at": end and datetime.fromisoformat(end).replace(microsecond=0)}


def test_every_row_shows_the_same_as_before(settings: Settings) -> None:
    with Runtime.open(settings) as runtime:
        now = answers(runtime)
    for kind, rows in BEFORE.items():
        before = {row["id"]: dict(row) for row in rows}
        # Whose reading in another way was stopped is as it was before, and no table that cannot be used.
        if kind == "datasets":
            assert now[kind]["d-again_stopped"]["state"] == "ready"
            assert now[kind]["d-again_stopped"]["layout"]["header_row"] == 1
            del before["d-again_stopped"], now[kind]["d-again_stopped"]
            # How a table is to be read is shown once it has been read so.
            assert now[kind]["d-again_queued"].pop("layout")["header_row"] == 1
            assert before["d-again_queued"].pop("layout") is None
        # What a job made is said in the list of jobs, too: whatever has ended well has made something.
        if kind == "jobs":
            made = {row_id: row.pop("result") for row_id, row in now[kind].items()}
            assert {row_id for row_id, result in made.items() if result} == {
                row_id for row_id, row in before.items() if row["status"] == "done"
            }
            assert {row.pop("result") for row in before.values()} == {None}
        # Whose a table, a run or a scoring is, is said since it may be seen by others.
        if kind in ("datasets", "runs", "predictions"):
            assert {row.pop("owner") for row in now[kind].values()} == {None}
        shared = (
            {row["id"] for row in (*BEFORE["trainings"], *BEFORE["inspections"])} if kind == "runs" else ()
        )
        for row_id in shared:
            if row_id in before:
                before[row_id], now[kind][row_id] = (
                    by_the_second(before[row_id]),
                    by_the_second(now[kind][row_id]),
                )
        assert now[kind] == before


def test_what_a_dead_worker_left_is_ended(settings: Settings) -> None:
    with Runtime.open(settings) as runtime:
        assert settle_ended(runtime) == 0
        with runtime.catalog.write() as transaction:
            assert work.end_lost(transaction) == len(LOST)
        now = answers(runtime)
    for run_id, reason in LOST.items():
        for kind in ("trainings", "runs"):
            assert (now[kind][run_id]["status"], now[kind][run_id]["error"]) == ("failed", reason)


def test_a_waiting_job_of_before_ends_its_row(settings: Settings) -> None:
    seen = dict[str, int | None]()

    def profile(_: Runtime, task: Task, dataset_id: str, layout: dict[str, Any] | None = None) -> None:
        seen[dataset_id] = (layout or {}).get("header_row")
        raise InvalidInput("It cannot be read.")

    with Runtime.open(settings) as runtime:
        worker = Worker(runtime, {"profile": JobKind(run=profile, queue="profile")})
        worker.start()
        try:
            wait_until(lambda: not runtime.jobs.goes_on("profile-d-again_queued-2"), "the reading to end")
            wait_until(lambda: not runtime.jobs.goes_on("profile-d-queued"), "the reading to end")
        finally:
            worker.close()
        now = answers(runtime)["datasets"]
    assert seen == {"d-queued": None, "d-again_queued": 4}
    assert (now["d-queued"]["state"], now["d-queued"]["error"]) == ("failed", "It cannot be read.")
    assert (now["d-again_queued"]["state"], now["d-again_queued"]["error"]) == ("ready", "It cannot be read.")


def test_a_migration_of_before_can_be_rolled_back(settings: Settings) -> None:
    with Runtime.open(settings) as runtime, runtime.catalog.read() as transaction:
        rows = transaction.execute(text("SELECT table_name, row_id FROM migration_rows ORDER BY 1, 2")).all()
    assert [tuple(row) for row in rows] == [
        ("datasets", "d-ready"),
        ("runs", "t-done"),
        ("runs", "t-forgotten"),
    ]
