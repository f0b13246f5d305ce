"""Jobs of an older Écluse come along once, and nothing of them is unpickled."""

from __future__ import annotations

import base64
import pickle
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ecluse.runtime import Runtime
from ecluse.settings import Settings

#: What the job engine of before wrote: a job that is done, one that failed, and others.
DUMP = Path(__file__).parent / "data" / "old_jobs.sql"
USER = "user-1"


class Payload:
    """Touches a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self._file,))  # type: ignore[return-value]


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    base = {"ECLUSE_HOME": str(tmp_path / "home")}
    poison = base64.b64encode(pickle.dumps(Payload(tmp_path / "ran"))).decode()
    poisoned = (
        "UPDATE workflow_status SET serialization = 'py_pickle' WHERE workflow_uuid = 'poisoned';"
        f"UPDATE workflow_events SET serialization = 'py_pickle', value = '{poison}' WHERE workflow_uuid = 'done';"
    )
    script = DUMP.read_text(encoding="utf-8") + poisoned
    if request.param == "sqlite":
        (tmp_path / "home").mkdir(mode=0o700)
        with sqlite3.connect(tmp_path / "home" / "jobs.db") as connection:
            connection.executescript(script)
        connection.close()
    else:
        base["DATABASE_URL"] = request.getfixturevalue("postgresql_url")
        engine = create_engine(Settings.from_environment(base).database_url)
        as_there = script
        for word, other in (
            ("INTEGER", "BIGINT"),
            ("DEFAULT (strftime('%s','now') * 1000)", ""),
            ("BOOLEAN NOT NULL DEFAULT FALSE", "BIGINT NOT NULL DEFAULT 0"),
            ('"attributes" TEXT', '"attributes" JSONB'),
        ):
            as_there = as_there.replace(word, other)
        with engine.begin() as writing:
            writing.exec_driver_sql(f"CREATE SCHEMA dbos; SET LOCAL search_path = dbos; {as_there}")
        engine.dispose()
    return Settings.from_environment(base)


def test_the_jobs_of_an_older_release_come_along_once(settings: Settings, tmp_path: Path) -> None:
    with Runtime.open(settings) as runtime:
        jobs = {job.id: job for job in runtime.jobs.list(USER)}
        assert {name: job.status for name, job in jobs.items()} == {
            "done": "done",
            "failed": "failed",
            "waiting": "queued",
            "stopped": "cancelled",
            "at work": "queued",
            "poisoned": "failed",
        }
        assert jobs["failed"].error == "The table has one class only."
        assert (jobs["failed"].stage, jobs["failed"].message) == ("work", "half of it")
        assert (jobs["waiting"].title, jobs["waiting"].subject) == ("A training: é", {"n": 1})
        assert {jobs[name].position for name in ("waiting", "at work")} == {1, 2}
        assert jobs["done"].finished_at is not None
        runtime.jobs.cancel(USER, "waiting")
    with Runtime.open(settings) as runtime:
        assert runtime.jobs.get(USER, "waiting").status == "cancelled"


def test_nothing_that_is_marked_as_a_pickle_is_unpickled(settings: Settings, tmp_path: Path) -> None:
    with Runtime.open(settings) as runtime:
        assert runtime.jobs.get(USER, "poisoned").error == (
            "The job was queued in a form that is not read. Ask for it again."
        )
        assert runtime.jobs.get(USER, "done").message == ""
    assert not (tmp_path / "ran").exists()


def test_an_older_worker_that_still_runs_finds_its_jobs_cancelled(settings: Settings) -> None:
    with Runtime.open(settings):
        pass
    engine = create_engine(settings.jobs_url)
    place = "dbos." if engine.dialect.name == "postgresql" else ""
    with engine.connect() as connection:
        left = connection.execute(
            text(f"SELECT DISTINCT status FROM {place}workflow_status ORDER BY 1")
        ).scalars()
        assert list(left) == ["CANCELLED", "ERROR", "SUCCESS"]
    engine.dispose()
