"""Releases work side by side: migrations expand, each job waits for who can run it, and one can look before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from click.testing import CliRunner, Result
from sqlalchemy import text

from ecluse.catalog import Catalog, database, jobs, revisions, workers
from ecluse.catalog.revisions import HEAD
from ecluse.cli import cli
from ecluse.errors import CatalogError, CatalogUnavailable
from ecluse.jobs import JobKind, JobRunner
from ecluse.processes import Process
from ecluse.runtime import Runtime, living_workers
from ecluse.settings import Settings
from tests.accounts import account
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

#: A machine that cannot be seen from here.
ELSEWHERE = replace(Process.current(), host="another-machine", boot="another boot")
CONTRACTING = '''"""Take what nothing needs any more."""
import sqlalchemy as sa
from alembic import op
revision = "9001"
down_revision = "{head}"
phase = "contract"
rewrites = ()
def upgrade() -> None:
    op.drop_column("workers", "release")
'''
EXPANDING = '''"""Add something."""
import sqlalchemy as sa
from alembic import op
revision = "9001"
down_revision = "{head}"
phase = "expand"
rewrites = ("users",)
def upgrade() -> None:
    op.add_column("users", sa.Column("later", sa.Integer(), server_default="7", nullable=False))
    op.execute("UPDATE users SET later = 8")
'''


# Tables of another release


@pytest.fixture
def later(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Call it with the source of a migration: from then on this process is of the release that has it."""
    with catalog.write() as transaction:  # as a release that noted it left it
        assert revisions.oldest(transaction.connection()) is not None

    def become(source: str) -> None:
        shutil.copytree(revisions.FOLDER, tmp_path / "migrations")
        (tmp_path / "migrations" / "versions" / "9001_later.py").write_text(source.format(head=HEAD))
        monkeypatch.setattr(revisions, "FOLDER", tmp_path / "migrations")
        monkeypatch.setattr(revisions, "HEAD", "9001")
        monkeypatch.setattr(database, "HEAD", "9001")

    return become


def test_a_release_works_on_tables_that_a_newer_one_has_expanded(
    catalog: Catalog, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(catalog, "user-1")
    with monkeypatch.context() as newer:
        later(EXPANDING)
        assert [step.revision for step in catalog.migrate()] == ["9001"]
        assert catalog.migrate() == []
        newer.undo()
    monkeypatch.undo()
    assert database.HEAD == HEAD
    assert catalog.migrate() == []
    assert catalog.version() == "9001"
    account(catalog, "user-2")
    with catalog.read() as transaction:
        values = transaction.execute(text("SELECT later FROM users ORDER BY id")).scalars().all()
    assert values == [8, 7]


WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'jobs'::regclass")


def test_a_migration_that_a_request_has_in_a_deadlock_is_run_again(
    catalog: Catalog, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if catalog.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer, which waits for nobody")
    later(EXPANDING)
    tries, upgrade = [], database._upgrade

    def counted(*args: Any, **options: Any) -> Any:
        tries.append(args)
        return upgrade(*args, **options)

    monkeypatch.setattr(database, "_upgrade", counted)
    with ThreadPoolExecutor() as pool, catalog.engine.connect() as request, catalog.engine.connect() as look:
        request.execute(text("LOCK TABLE jobs IN ROW EXCLUSIVE MODE"))  # as one that writes jobs before files
        migration = pool.submit(catalog.migrate)
        wait_until(lambda: look.execute(WAITING).scalar_one() == 1, "a migration that waits")
        request.execute(text("LOCK TABLE files IN ROW EXCLUSIVE MODE"))
        request.commit()
        assert [step.revision for step in migration.result(60)] == ["9001"]
    assert len(tries) == 2


def test_a_release_says_that_it_is_too_old_for_tables_that_lack_what_it_needs(
    catalog: Catalog, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(CONTRACTING)
    catalog.migrate()
    monkeypatch.undo()
    with pytest.raises(CatalogError, match=r"version 9001, newer than this Écluse .* Install a newer one"):
        catalog.migrate()


def test_nothing_is_taken_away_under_a_worker_of_an_older_release(
    catalog: Catalog, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with catalog.write() as transaction:
        workers.beat(transaction, "older", ELSEWHERE, {"work": 1}, HEAD)
    later(CONTRACTING)
    with pytest.raises(
        CatalogError,
        match=r"an older one use, and such run \(a worker on another-machine\).*ecluse upgrade check",
    ):
        catalog.migrate()
    assert catalog.version() == HEAD
    assert [step.phase for step in catalog.migrate(force=True)] == ["contract"]


def test_the_oldest_release_that_can_work_here_is_noted(catalog: Catalog) -> None:
    with catalog.read() as transaction:
        oldest = revisions.oldest(transaction.connection())
    assert oldest == max(step.revision for step in revisions.steps() if step.phase == "contract")


# Jobs of another release


def enqueue(runtime: Runtime, version: int, job_id: str) -> str:
    user_id = account(runtime.catalog, "user-1")
    with runtime.catalog.write() as transaction:
        jobs.add(transaction, job_id, "work", "train", user_id, "Some work", {})
        jobs.note_version(transaction, job_id, version)
    return job_id


def test_a_worker_leaves_jobs_of_a_newer_version_to_others(opened: Runtime) -> None:
    ran: list[str] = []
    enqueue(opened, 2, "newer")
    enqueue(opened, 1, "older")
    old = JobKind(run=lambda runtime, task: ran.append(task.job_id), queue="train", at_once=2)
    runner = JobRunner(opened.catalog, "old", {"work": old}, opened)
    runner.start()
    assert ended_job(opened, "user-1", "older").status == "done"
    runner.close()
    assert opened.jobs.get("user-1", "newer").status == "queued"
    runner = JobRunner(opened.catalog, "new", {"work": replace(old, version=2)}, opened)
    runner.start()
    assert ended_job(opened, "user-1", "newer").status == "done"
    runner.close()
    assert ran == ["older", "newer"]


def test_a_job_that_no_living_worker_can_run_says_so(opened: Runtime) -> None:
    job = enqueue(opened, 2, "newer")
    assert opened.jobs.get("user-1", job).message == ""  # none runs at all
    with opened.catalog.write() as transaction:
        workers.beat(transaction, "old", Process.current(), {"work": 1})
    said = "It waits for a worker of a newer release"
    assert opened.jobs.get("user-1", job).message.startswith(said)
    assert opened.jobs.list("user-1")[0].message.startswith(said)
    assert living_workers(opened, "work", 2) == []
    with opened.catalog.write() as transaction:
        workers.beat(transaction, "new", Process.current(), {"work": 2})
    assert opened.jobs.get("user-1", job).message == ""
    assert [worker.executor_id for worker in living_workers(opened, "work", 2)] == ["new"]


def test_the_version_of_a_kind_is_noted_with_each_job(
    opened: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = account(opened.catalog, "user-1")
    kinds = {"work": JobKind(run=lambda runtime, task: None, queue="train", version=3)}
    monkeypatch.setattr("ecluse.work.kinds", lambda: kinds)
    job = opened.jobs.enqueue("work", "train", user_id, "Some work", {})
    with opened.catalog.read() as transaction:
        ((row, _),) = jobs.by_ids(transaction, None, [job])
        seen = revisions.jobs_by_version(transaction.connection())
    assert row.version == 3
    assert seen == [revisions.JobsSeen("work", 3, 1, 0)]


# Looking before


def ecluse(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner(env={"ECLUSE_URL": "", **environ}).invoke(cli, [*arguments])


def check(environ: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any]]:
    answer = ecluse(environ, "upgrade", "check", "--json", *arguments)
    assert answer.stdout, answer.exception
    return answer.exit_code, json.loads(answer.stdout)


def put_back(environ: dict[str, str], version: str) -> None:
    """Bring the tables back to those of an older release."""
    catalog = Catalog(Settings.from_environment(environ).database_url)
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        command.downgrade(revisions.config(connection), version)
    catalog.close()


def state(environ: dict[str, str]) -> dict[str, Any]:
    """Every row of every table."""
    catalog = Catalog(Settings.from_environment(environ).database_url)
    with catalog.read() as transaction:
        connection = transaction.connection()
        there = revisions.inspect(connection)
        rows = {
            name: sorted(map(repr, connection.execute(text(f'SELECT * FROM "{name}"'))))
            for name in there.get_table_names()
        }
    catalog.close()
    return rows


@pytest.mark.parametrize("arguments", [("check",), ("check", "--backups", "file:///nowhere"), ("apply",)])
def test_a_database_that_is_away_is_said_as_everywhere(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    address = "postgresql://someone:hush@127.0.0.1:1/ecluse"  # where nothing listens
    environ = {"ECLUSE_HOME": str(tmp_path), "DATABASE_URL": address}
    answer = ecluse(environ, "upgrade", *arguments)
    assert isinstance(answer.exception, CatalogUnavailable)
    assert "hush" not in str(answer.exception)


def test_a_check_says_what_would_run_and_writes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    code, seen = check(environ)
    assert (code, seen["steps"], seen["problems"]) == (0, [], [])
    put_back(environ, "0030")
    before = state(environ)
    code, seen = check(environ)
    assert code == 0, seen
    assert (seen["held"], seen["needs"]) == ("0030", HEAD)
    assert [step["revision"] for step in seen["steps"]][:2] == ["0031", "0032"]
    assert {step["phase"] for step in seen["steps"]} == {"expand"}
    assert {"shares": 0} in [step["rows"] for step in seen["steps"]]
    assert state(environ) == before
    answer = ecluse(environ, "upgrade", "apply")
    assert answer.exit_code == 0, answer.output
    assert "0031  expand" in answer.stdout
    assert check(environ)[1]["held"] == HEAD
    assert ecluse(environ, "upgrade", "apply").stdout.splitlines()[0].startswith("The catalog is at version")


def test_a_check_names_what_stands_in_the_way(environ: dict[str, str], tmp_path: Path) -> None:
    with Runtime.open(Settings.from_environment(environ)) as runtime:
        user_id = account(runtime.catalog, "user-1")
        with runtime.catalog.write() as transaction:
            workers.beat(transaction, "old", ELSEWHERE, {"work": 1}, "0035")
            jobs.add(transaction, "1", "of_another_release", "train", user_id, "t", {})
            jobs.add(transaction, "2", "verify_model", "upkeep", user_id, "t", {})
            jobs.note_version(transaction, "2", 99)
            jobs.add(transaction, "3", "verify_model", "upkeep", user_id, "t", {})
    code, seen = check(environ)
    assert code == 1
    assert [(left["kind"], left["version"]) for left in seen["jobs_left"]] == [
        ("of_another_release", 1),
        ("verify_model", 99),
    ]
    assert [worker["host"] for worker in seen["workers"]] == ["another-machine"]
    assert "cancel them" in seen["problems"][0]
    put_back(environ, "0020")
    code, seen = check(environ)
    assert any("0021" in problem and "a worker on another-machine" in problem for problem in seen["problems"])
    answer = ecluse(environ, "upgrade", "check")
    assert "In the way: Migrations 0021" in answer.stdout
    assert answer.exit_code == 1


def test_a_check_says_how_old_the_newest_backup_is(environ: dict[str, str], tmp_path: Path) -> None:
    place = str(tmp_path / "backups")
    (tmp_path / "backups").mkdir()
    code, seen = check(environ, "--backups", place)
    assert code == 1
    assert "No backup of this home is finished" in seen["problems"][0]
    assert ecluse(environ, "backup", "create", "--to", place).exit_code == 0
    code, seen = check(environ, "--backups", place)
    assert (code, seen["backup"]["hours"] < 1) == (0, True)
    assert check(environ)[1]["backup"]["id"] == seen["backup"]["id"]  # as the catalog has noted it
    put_back(environ, "0035")
    assert check(environ)[1]["backup"] is None


def test_a_check_of_nothing_makes_nothing(tmp_path: Path) -> None:
    answer = ecluse({"ECLUSE_HOME": str(tmp_path / "none")}, "upgrade", "check")
    assert "ecluse up" in str(answer.exception)
    assert not (tmp_path / "none").exists()


def test_processes_at_postgresql_are_seen_by_their_connections(new_migrated_url: Any) -> None:
    environ = {"DATABASE_URL": new_migrated_url()}
    web = Catalog(Settings.from_environment(environ).database_url)
    with web.read() as transaction:
        transaction.execute(text("SELECT 1"))
        (seen,) = check(environ)[1]["connections"]
    web.close()
    assert (seen["revision"], seen["count"]) == (HEAD, 1)


def test_one_function_says_who_is_too_old_and_an_upgrade_is_refused_for_no_one_who_may_be_another_program() -> (
    None
):
    contracts, expands = (
        revisions.Step(name, "", phase, ()) for name, phase in (("0030", "contract"), ("0031", "expand"))
    )
    old_and_new = [revisions.WorkerSeen(name, name, "1", name) for name in ("0029", "0030")]
    silent = revisions.WorkerSeen("silent", "silent", None, None)
    seen = [
        revisions.ConnectionsSeen("1", "0029", "192.0.2.1", 2),
        revisions.ConnectionsSeen("1", "0030", "192.0.2.2", 1),
        revisions.ConnectionsSeen("1", None, "192.0.2.3", 1),  # for documents
        revisions.ConnectionsSeen(None, None, None, 3),
    ]
    sure = ["a worker on 0029", "a worker on silent", "2 connections from 192.0.2.1"]
    workers_seen, steps = [*old_and_new, silent], [contracts, expands]
    assert revisions.older_processes(steps, workers_seen, seen, guessed=False) == sure
    guess = "3 connections from its own machine"
    assert revisions.older_processes(steps, workers_seen, seen, guessed=True) == [*sure, guess]
    assert revisions.older_processes([expands], workers_seen, seen, guessed=True) == []
