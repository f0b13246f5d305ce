"""How a row reads its work: of any application, also without a row of work; and what is left of jobs without their owner."""

from __future__ import annotations

import pytest
from sqlalchemy import String, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ecluse import people
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog import Catalog, users, work
from ecluse.catalog.columns import Base, new_id
from ecluse.catalog.of_work import JOB_GONE, OfWork, Work
from ecluse.catalog.tables import JobRow, JobStep, Run
from ecluse.runtime import Runtime
from tests.web.within import Within


class OwnBase(DeclarativeBase):
    """Tables that are not those of the catalog, as other tests compare these with the migrations."""

    type_annotation_map = Base.type_annotation_map


class Order(OfWork, OwnBase):
    """A row of an invented application."""

    __tablename__ = "birds_orders"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(String(32))


def test_rows_of_any_application_follow_their_work(catalog: Catalog) -> None:
    OwnBase.metadata.create_all(catalog.engine)
    with catalog.write() as transaction:
        user = users.add_user(transaction, email="a@b.c", name="", password_hash=None, role="member")
        order = Order(user_id=user.id, job_id="job1")
        transaction.add(order)
    assert (order.status, order.job_id, order.error) == ("queued", "job1", None)
    with catalog.write() as transaction:
        work.start_jobs(transaction, ["job1"])
        work.end_job(transaction, "job1", "failed", "No birds.")
    with catalog.read() as transaction:
        read = transaction.scalars(work.of_job(Order, "job1")).one()
        assert transaction.scalars(select(Order.id).where(Order.status == "failed")).all() == [order.id]
    assert (read.status, read.error) == ("failed", "No birds.")
    assert read.started_at is not None
    assert read.finished_at is not None


def test_a_row_without_its_work_has_failed_and_says_so(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        user = users.add_user(transaction, email="a@b.c", name="", password_hash=None, role="member")
        unread = Dataset(user_id=user.id, filename="a.csv")
        was_read = Dataset(user_id=user.id, filename="b.csv", rows=3)
        run = Run(user_id=user.id, application="x", kind="y", name="m")
        transaction.add_all((unread, was_read, run))
        transaction.flush()
        transaction.execute(delete(Work))
    with catalog.read() as transaction:
        tables = {row.filename: row for row in transaction.scalars(select(Dataset))}
        failed = transaction.scalars(select(Run).where(Run.status == "failed")).one()
    assert (tables["a.csv"].state, tables["a.csv"].error) == ("failed", JOB_GONE)
    assert (tables["b.csv"].state, tables["b.csv"].error) == ("ready", None)
    assert (failed.status, failed.error, failed.job_id) == ("failed", JOB_GONE, None)


def test_a_table_without_its_work_is_shown(web: Within) -> None:
    with web.runtime.catalog.write() as transaction:
        table = Dataset(user_id=web.user_id, filename="lost.csv")
        transaction.add(table)
        transaction.flush()
        transaction.execute(delete(Work).where(Work.id == table.id))
    for address in (f"/fraud/d/{table.id}", "/fraud"):
        shown = web.ask("GET", address)
        assert shown.status_code == 200
        assert "lost.csv" in shown.text
    listed = web.ask("GET", "/api/datasets")
    assert (listed.status_code, [row["state"] for row in listed.json()]) == (200, ["failed"])


@pytest.mark.parametrize("everything", [True, False])
def test_no_record_of_a_job_outlives_its_owner(runtime: Runtime, everything: bool) -> None:
    """The title of a job is a name of a file or a model, and what its steps returned may hold rows."""
    runtime.accounts.add("admin@example.org", admin=True)
    gone, stays = (runtime.accounts.add(f"{name}@example.org", admin=True) for name in ("gone", "stays"))
    jobs = runtime.jobs
    ended = jobs.enqueue("verify_model", "upkeep", gone.id, "secret.csv", {"name": "m", "version": "v"})
    other = jobs.enqueue("verify_model", "upkeep", stays.id, "other", {"name": "m", "version": "v"})
    daily = jobs.enqueue("city_scheduled", "city", gone.id, "2026-01-01", {})
    with runtime.catalog.write() as transaction:
        transaction.add(JobStep(job_id=ended, name="read", position=0, result='"a row"'))
    people.remove(runtime, "gone@example.org", everything=everything)
    with runtime.catalog.read() as transaction:
        left = {row.id: row.user_id for row in transaction.scalars(select(JobRow))}
        assert transaction.scalars(select(JobStep)).all() == []
    heir = runtime.accounts.by_email("admin@example.org")
    assert left == {other: stays.id, daily: heir.id}
