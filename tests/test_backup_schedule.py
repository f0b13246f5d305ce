"""Backups are made when they are due, once, whoever lives, dies or goes; and it shows where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from ecluse import backups, people
from ecluse.backups import schedule
from ecluse.backups.schedule import KIND, Plan
from ecluse.catalog import Catalog, backup_schedules
from ecluse.catalog.of_backups import BackupMade, BackupSchedule
from ecluse.catalog.tables import JobRow, User
from ecluse.errors import BackupError
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.work import kinds, reconcile
from tests.application import KEPT
from tests.migrating import Sizes, fill
from tests.support.deaths import die_in_command
from tests.support.wait import wait_until
from tests.web.test_pages import browser

pytestmark = pytest.mark.nightly

DAY = 86400
PASSWORD = "a long password"


@pytest.fixture
def shelf(tmp_path: Path) -> str:
    return (tmp_path / "shelf").as_uri()


@pytest.fixture(params=["sqlite", "postgresql"])
def chosen_home(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    variables = {}
    if request.param == "postgresql":
        variables = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    return Settings.from_environment(variables, home=tmp_path / "home")


@contextmanager
def working(runtime: Runtime) -> Iterator[None]:
    worker = Worker(runtime, kinds(), reconcile)
    worker.start()
    beating = threading.Thread(target=worker.run_until_stopped)
    beating.start()
    try:
        yield
    finally:
        worker.stop()
        beating.join()
        worker.close()


def jobs_of(runtime: Runtime) -> list[JobRow]:
    with runtime.catalog.read() as transaction:
        return list(transaction.scalars(select(JobRow).where(JobRow.kind == KIND).order_by(JobRow.number)))


def current(catalog: Catalog) -> BackupSchedule:
    with catalog.read() as transaction:
        row = backup_schedules.find(transaction)
    assert row is not None
    return row


def is_over(runtime: Runtime, number: int) -> bool:
    """Whether so many backups were asked for, and all have ended."""
    made = jobs_of(runtime)
    return len(made) == number and all(job.finished_at for job in made)


def fall_due(runtime: Runtime, ago: timedelta = timedelta(0)) -> None:
    """Let the next backup be due now, or for so long already."""
    with runtime.catalog.write() as transaction:
        due = backup_schedules.clock(transaction) - ago
        transaction.execute(update(BackupSchedule).values(due_at=due, anchor=due))


def end_jobs(runtime: Runtime) -> None:
    with runtime.catalog.write() as transaction:
        transaction.execute(update(JobRow).values(status="done", finished_at=datetime.now(UTC)))


def finished_in(runtime: Runtime, url: str) -> list[str]:
    with backups.open_place(runtime, url) as place:
        return [each.id for each in place.list()[0]]


# When


def test_what_is_due_is_queued_once_however_many_ask_and_what_was_missed_is_made_up_for_once(
    chosen_home: Settings, shelf: str
) -> None:
    with ExitStack() as stack:
        runtimes = [stack.enter_context(Runtime.open(chosen_home)) for _ in range(4)]
        first = runtimes[0]
        owner = first.accounts.sign_up("admin@example.org", PASSWORD)
        assert reconcile(first) == 0, "there is no schedule"
        schedule.set_schedule(first, Plan(shelf, every=DAY))
        for ago in (timedelta(0), timedelta(days=9, hours=5)):
            fall_due(first, ago)
            before = len(jobs_of(first))
            gate = threading.Barrier(12)

            def ask(runtime: Runtime, gate: threading.Barrier = gate) -> int:
                gate.wait()
                return schedule.enqueue_due(runtime)

            with ThreadPoolExecutor(12) as pool:
                assert sum(pool.map(ask, runtimes * 3)) == 1
            made = jobs_of(first)
            assert (len(made) - before, made[-1].user_id) == (1, owner.id)
            row = current(first.catalog)
            with first.catalog.read() as transaction:
                now = backup_schedules.clock(transaction)
            assert now < row.due_at <= now + timedelta(days=1)
            assert (row.due_at - row.anchor) % timedelta(days=1) == timedelta(0)
            fall_due(first)
            assert schedule.enqueue_due(first) == 0, "the one before has not ended"
            end_jobs(first)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.integers(900, 400 * DAY),
    st.integers(-(10**9), 10**9),
)
def test_the_next_time_is_the_first_of_the_series_that_is_ahead(
    anchor: datetime, every: int, ahead: int
) -> None:
    now = anchor + timedelta(seconds=ahead)
    due = backup_schedules.next_after(anchor, every, now)
    assert due > now
    assert (due - anchor) % timedelta(seconds=every) == timedelta(0)
    assert due == anchor or due - timedelta(seconds=every) <= now


def test_the_first_is_due_at_once_or_at_the_time_of_the_day(runtime: Runtime, shelf: str) -> None:
    asked = datetime.now(UTC)
    at_once = schedule.set_schedule(runtime, Plan(shelf, every=DAY))
    assert abs(at_once.due_at - asked) < timedelta(minutes=1)
    at = ((asked.hour * 60 + asked.minute) - 60) % 1440
    later = schedule.set_schedule(runtime, Plan(shelf, every=DAY, at=at))
    assert timedelta(hours=22) < later.due_at - asked <= timedelta(hours=23, minutes=1)
    assert (later.due_at.hour * 60 + later.due_at.minute, later.due_at.second) == (at, 0)


# What is made


def test_a_worker_makes_the_backup_keeps_the_newest_and_those_of_other_homes(
    runtime: Runtime, shelf: str, tmp_path: Path
) -> None:
    fill(runtime, Sizes(models=1, files=1, file_bytes=500, tables=1))
    with (
        Runtime.open(Settings.from_environment({}, home=tmp_path / "other")) as other,
        backups.open_place(other, shelf, make=True) as place,
    ):
        of_other = backups.create(other, place).id
    public = backups.new_identity(tmp_path / "identity")
    plan = Plan(shelf, every=DAY, keep=2, recipient=public, contents=True)
    schedule.set_schedule(runtime, plan)
    with working(runtime):
        for number in (1, 2, 3):
            fall_due(runtime)
            reconcile(runtime)
            wait_until(partial(is_over, runtime, number), "the end of a backup")
    assert [(job.status, job.error) for job in jobs_of(runtime)] == [("done", None)] * 3
    here = finished_in(runtime, shelf)
    assert (len(here), of_other in here) == (3, True)
    with runtime.catalog.read() as transaction:
        stands = schedule.standing(transaction)
    newest = stands.newest
    assert (stands.state, stands.schedule and stands.schedule.not_pruned) == ("ok", None)
    assert newest is not None
    assert (newest.id == here[0], newest.encrypted, newest.contents, newest.damaged) == (True, True, True, 0)
    with backups.open_place(runtime, shelf, backups.Keys(identity=tmp_path / "identity")) as place:
        chosen = place.open("latest")
        assert backups.verify(place, chosen).passed
        assert newest.size == sum(part["size"] for part in chosen.parts.values()) + chosen.object_bytes
    assert b"AGE-SECRET" not in (runtime.settings.home / "catalog.db").read_bytes()


def test_a_backup_whose_worker_is_killed_is_made_by_the_next(runtime: Runtime, shelf: str) -> None:
    fill(runtime, Sizes(models=30, files=4, file_bytes=200_000, tables=5))
    schedule.set_schedule(runtime, Plan(shelf, every=DAY, keep=5, contents=True))
    die_in_command("backup.written", runtime.settings.home, {}, "worker")
    (job,) = jobs_of(runtime)
    assert job.status == "running"
    assert finished_in(runtime, shelf) == []
    with working(runtime):
        wait_until(lambda: is_over(runtime, 1), "the end of a backup")
    (job,) = jobs_of(runtime)
    assert (job.status, job.error) == ("done", None)
    assert len(finished_in(runtime, shelf)) == 1
    with runtime.catalog.read() as transaction:
        stands = schedule.standing(transaction)
    assert stands.state == "ok"
    assert stands.schedule is not None
    assert "is under way" in (stands.schedule.not_pruned or ""), "what the killed one left is no day old"


# Who


def test_it_goes_on_when_the_account_in_whose_name_it_is_made_goes(runtime: Runtime, shelf: str) -> None:
    first = runtime.accounts.sign_up("first@example.org", PASSWORD)
    second = runtime.accounts.sign_up("second@example.org", PASSWORD)
    runtime.accounts.set_role(second.email, "admin", by=first.id)
    schedule.set_schedule(runtime, Plan(shelf, every=DAY))
    assert schedule.enqueue_due(runtime) == 1
    people.remove(runtime, first.email, second.id, everything=True)
    (job,) = jobs_of(runtime)
    assert (job.status, job.user_id) == ("queued", second.id)
    with working(runtime):
        wait_until(lambda: is_over(runtime, 1), "the end of a backup")
        fall_due(runtime)
        reconcile(runtime)
        wait_until(lambda: is_over(runtime, 2), "the end of a backup")
    assert [(job.status, job.user_id) for job in jobs_of(runtime)] == [("done", second.id)] * 2


# What goes wrong


@pytest.mark.parametrize(
    "url", ["s3://name:hush-hush@bucket/backups", "s3://hush-hush@bucket/x", "s3://bucket/x?key=hush-hush"]
)
def test_an_address_with_a_key_is_refused_and_not_kept(runtime: Runtime, url: str) -> None:
    with pytest.raises(BackupError, match="would be kept and shown") as caught:
        schedule.set_schedule(runtime, Plan(url, every=DAY))
    assert "hush-hush" not in str(caught.value)
    with runtime.catalog.read() as transaction:
        assert backup_schedules.find(transaction) is None


def test_a_place_that_cannot_be_used_is_refused_when_it_is_chosen(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="shares a part"):
        schedule.set_schedule(runtime, Plan(runtime.stores.area("data").url, every=DAY))
    with pytest.raises(BackupError, match="no public key"):
        schedule.set_schedule(runtime, Plan((tmp_path / "x").as_uri(), every=DAY, recipient="age1nothing"))
    with runtime.catalog.read() as transaction:
        assert backup_schedules.find(transaction) is None


def test_a_failure_shows_on_the_page_and_to_the_doctor_is_tried_again_and_then_forgotten(
    runtime: Runtime, shelf: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    admin: User = runtime.accounts.sign_up("admin@example.org", PASSWORD)
    schedule.set_schedule(runtime, Plan(shelf, every=DAY, at=(datetime.now(UTC).hour + 12) % 24 * 60))
    folder = tmp_path / "shelf"
    for inside in folder.rglob("*"):
        inside.rmdir()
    folder.rmdir()
    folder.write_text("in the way")
    with working(runtime):
        fall_due(runtime)
        reconcile(runtime)
        wait_until(lambda: is_over(runtime, 1), "the end of a backup")
        assert jobs_of(runtime)[0].status == "failed"
        row = current(runtime.catalog)
        assert row.failed_at is not None
        assert row.due_at - row.failed_at <= timedelta(hours=1, seconds=2)
        assert any("The backup failed" in record.getMessage() for record in caplog.records)
        page = browser(runtime, admin).get("/administration/settings?lang=fr").text
        assert "La dernière sauvegarde a échoué" in page
        assert "in the way" not in page
        command = [sys.executable, "-m", "ecluse", "doctor", "--home", str(runtime.settings.home)]
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, "The last backup failed" in done.stdout) == (1, True), done.stdout
        folder.unlink()
        fall_due(runtime)
        reconcile(runtime)
        wait_until(lambda: is_over(runtime, 2), "the end of a backup")
    with runtime.catalog.read() as transaction:
        assert schedule.standing(transaction).state == "ok"
    assert "Les sauvegardes se font" in browser(runtime, admin).get("/administration/settings?lang=fr").text


def test_how_old_the_newest_is_and_for_how_long_one_is_overdue_is_asked_of_either_database(
    chosen_home: Settings, shelf: str
) -> None:
    def asked(runtime: Runtime) -> tuple[int | None, int | None]:
        with runtime.catalog.read() as transaction:
            ages = backup_schedules.ages(transaction)
        return (
            None if ages.newest is None else round(ages.newest / 600),
            None if ages.overdue is None else round(ages.overdue / 600),
        )

    def note(runtime: Runtime, name: str, url: str, ago: timedelta) -> None:
        with runtime.catalog.write() as transaction:
            at = backup_schedules.clock(transaction) - ago
            transaction.add(
                BackupMade(id=name, url=url, finished_at=at, size=1, contents=False, encrypted=False)
            )

    with Runtime.open(chosen_home) as runtime:
        assert asked(runtime) == (None, None)
        note(runtime, "elsewhere", "file:///elsewhere/", timedelta(hours=1))
        assert asked(runtime) == (6, None)
        schedule.set_schedule(runtime, Plan(shelf, every=DAY))
        assert asked(runtime) == (6, 0)
        fall_due(runtime, timedelta(hours=4))
        assert asked(runtime) == (6, 6), "one at another place is none of the schedule, and 3 hours are grace"
        with runtime.catalog.write() as transaction:
            transaction.execute(update(BackupSchedule).values(set_at=datetime(2020, 1, 1, tzinfo=UTC)))
        note(runtime, "late", current(runtime.catalog).url, timedelta(hours=28))
        assert asked(runtime) == (6, 6), "27 hours after it the next was overdue"
        note(runtime, "new", current(runtime.catalog).url, timedelta(hours=26))
        assert asked(runtime) == (6, 0)


def test_what_is_overdue_says_so_and_after_its_end_nothing_is_made(runtime: Runtime, shelf: str) -> None:
    runtime.accounts.sign_up("admin@example.org", PASSWORD)
    schedule.set_schedule(runtime, Plan(shelf, every=6 * 3600))
    with runtime.catalog.read() as transaction:
        assert schedule.standing(transaction).state == "waiting"
    fall_due(runtime, timedelta(minutes=50))
    with runtime.catalog.read() as transaction:
        assert backup_schedules.ages(transaction).overdue == 0
        assert schedule.standing(transaction).state == "waiting"
    fall_due(runtime, timedelta(minutes=70))
    with runtime.catalog.read() as transaction:
        stands = schedule.standing(transaction)
        ages = backup_schedules.ages(transaction)
    assert (stands.state, stands.is_trouble) == ("late", True)
    assert (ages.newest, 500 < (ages.overdue or 0) < 700) == (None, True), "an hour of 70 minutes is grace"
    assert schedule.enqueue_due(runtime) == 1
    assert schedule.end_schedule(runtime)
    assert not schedule.end_schedule(runtime)
    with working(runtime):
        wait_until(lambda: is_over(runtime, 1), "the end of a backup")
    assert (jobs_of(runtime)[0].status, finished_in(runtime, shelf)) == ("done", [])
    assert schedule.enqueue_due(runtime) == 0


def test_commands_set_show_and_end_it(tmp_path: Path) -> None:
    home, shelf = str(tmp_path / "home"), str(tmp_path / "a shelf")
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ecluse", "backup", "schedule", *words, "--home", home]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    for wrong in (("--every", "5m"), ("--every", "1y"), ("--every", "24h", "--at", "24:00"), ("--every", "24h", "--keep", "0")):  # fmt: skip
        assert run("set", "--to", shelf, *wrong).returncode == 2, wrong
    assert not Path(home).exists()
    done = run("set", "--to", shelf, "--every", "7d", "--at", "03:30", "--keep", "30d", "--objects")
    assert (done.returncode, "03:30 UTC" in done.stdout) == (0, True), done.stderr
    shown = run("show")
    assert shown.returncode == 0
    assert "keeps those of 30 days" in shown.stdout
    assert "No backup has been made yet" in shown.stdout
    assert run("off").stdout.strip() == "No more backups are made."
    assert "There was no schedule" in run("off").stdout
