"""Plans hold, on SQLite and on a real PostgreSQL, also where several ask at the same moment."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update

from ecluse.catalog import Catalog, plans, quotas, uploads, users
from ecluse.catalog.database import fenced
from ecluse.catalog.fences import not_counted
from ecluse.catalog.plan_tables import Reservation, Stored, UserPlan
from ecluse.catalog.tables import File, JobRow, ModelUpload, ModelVersion, User, UserTable, now
from ecluse.errors import EcluseError, InvalidInput, LimitReached, NotFound, PlanEnded, UploadTooLarge
from ecluse.jobs import Jobs
from ecluse.tracking import programs

NUMBER = itertools.count()
MB = 1_000_000


@pytest.fixture
def other(catalog: Catalog) -> Iterator[Catalog]:
    """The same catalog, as another process has it open."""
    opened = Catalog(catalog.engine.url.render_as_string(hide_password=False))
    yield opened
    opened.close()


def person(catalog: Catalog, plan: str | None = "trial", **limits: int | None) -> User:
    """A person with a plan, whose limits are changed to these."""
    with catalog.write() as transaction:
        email = f"p{next(NUMBER)}@example.org"
        user = users.add_user(transaction, email=email, name="", password_hash=None, role="member")
        if plan is not None:
            plans.give(transaction, user, plan, by=None)
            plans.set_plan(transaction, plan, limits, by=None)
        return user


def keep(catalog: Catalog, user: User, size: int, reservation_id: str | None = None) -> None:
    """Store a table of so many bytes, and give its room back."""
    with catalog.write() as transaction:
        url = f"memory:///t/{next(NUMBER)}"
        transaction.add(UserTable(user_id=user.id, name="t", rows=1, url=url, size_bytes=size))
        transaction.flush()
        if reservation_id is not None:
            quotas.give_back(transaction, reservation_id)


def version(user: User, name: str) -> ModelVersion:
    number = next(NUMBER)
    return ModelVersion(
        user_id=user.id,
        name=name,
        version=f"v{number}",
        url=f"memory:///m/{number}",
        size_bytes=10,
        manifest_digest="0",
    )


def sums(catalog: Catalog) -> tuple[dict[tuple[str, str], tuple[int, int]], ...]:
    """What the triggers have counted, and what there is."""
    is_stored = (
        File.counted,
        (File.url != "") | File.key.is_not(None),
        File.size_bytes.is_not(None),
        File.user_id.is_not(None),
    )
    with catalog.read() as transaction:
        counted = transaction.execute(select(Stored.user_id, Stored.kind, Stored.size_bytes, Stored.files))
        there = transaction.execute(
            select(File.user_id, File.kind, func.sum(File.size_bytes), func.count())
            .where(*is_stored)
            .group_by(File.user_id, File.kind)
        )
        return tuple({(u, k): (int(s), int(n)) for u, k, s, n in rows if n} for rows in (counted, there))


# Plans are rows


def test_the_plans_are_there_as_they_come(catalog: Catalog) -> None:
    with catalog.read() as transaction:
        there = {
            plan.name: (plan.days, plan.models, plan.upload_bytes) for plan in plans.list_plans(transaction)
        }
    assert there == {
        "trial": (14, 3, 100 * MB),
        "basic": (30, 10, 500 * MB),
        "premium": (365, 50, 2000 * MB),
        "enterprise": (None, 999, 10_000 * MB),
    }


def test_a_plan_is_changed_given_and_taken(catalog: Catalog) -> None:
    user = person(catalog, None)
    with catalog.write() as transaction:
        plans.set_plan(transaction, "trial", {"models": 5, "images": None, "days": 7}, by=None)
        mine = plans.give(transaction, user, "trial", by=None)
        assert mine is not None
        assert mine.ends_at == mine.started_at + timedelta(days=7)
    with catalog.read() as transaction:
        allowance = quotas.allowance_of(transaction, user.id)
        assert allowance is not None
        assert (allowance.plan.models, allowance.plan.images) == (5, None)
        actions = transaction.execute(text("SELECT action FROM audit_log")).scalars().all()
        assert {"plan.set", "user.plan"} <= set(actions)
    with catalog.write() as transaction:
        assert plans.give(transaction, user, "enterprise", by=None).ends_at is None  # type: ignore[union-attr]
        assert plans.give(transaction, user, None, by=None) is None
    with catalog.read() as transaction:
        assert quotas.allowance_of(transaction, user.id) is None


@pytest.mark.parametrize("limits", [{"modles": 1}, {"models": -1}, {"jobs": 10**19}, {"days": 40_000}])
def test_a_limit_that_cannot_be_meant_is_refused(catalog: Catalog, limits: dict[str, int]) -> None:
    with catalog.write() as transaction, pytest.raises(InvalidInput):
        plans.set_plan(transaction, "trial", limits, by=None)
    with catalog.write() as transaction, pytest.raises(NotFound, match=r"trial, basic, premium, enterprise"):
        plans.set_plan(transaction, "tiral", {}, by=None)


# What is stored is counted by the database


def test_sums_are_those_of_the_files_whatever_becomes_of_them(catalog: Catalog) -> None:
    """Rows come, change and go one by one, in bulk, by cascade and at the end of an account."""
    chance = random.Random(7)
    people = [person(catalog, None) for _ in range(3)]
    for _round in range(12):
        with catalog.write() as transaction:
            for _ in range(chance.randrange(4)):
                user, size = chance.choice(people), chance.randrange(1000)
                transaction.add(
                    UserTable(
                        user_id=user.id, name="t", rows=1, url=f"memory:///{next(NUMBER)}", size_bytes=size
                    )
                )
                transaction.add(version(user, "m"))
            transaction.flush()
            change = chance.randrange(5)
            if change == 0:
                transaction.execute(
                    update(File).where(File.kind == "models").values(size_bytes=File.size_bytes + 5)
                )
            elif change == 1:
                transaction.execute(update(File).where(File.kind == "tables").values(url=""))
            elif change == 2:
                transaction.execute(delete(File).where(File.user_id == chance.choice(people).id))
            elif change == 3:
                transaction.execute(update(File).values(counted=chance.random() < 0.5))
        counted, there = sums(catalog)
        assert counted == there
    with catalog.write() as transaction:
        users.remove_user(transaction, people[0].id)
    counted, there = sums(catalog)
    assert counted == there
    assert not any(user_id == people[0].id for user_id, _kind in counted)


def test_what_is_rolled_back_is_not_counted(catalog: Catalog) -> None:
    user = person(catalog)
    with pytest.raises(RuntimeError), catalog.write() as transaction:
        transaction.add(UserTable(user_id=user.id, name="t", rows=1, url="memory:///x", size_bytes=9))
        transaction.flush()
        raise RuntimeError
    assert sums(catalog) == ({}, {})


# Limits


def test_who_has_no_plan_has_no_limits(catalog: Catalog) -> None:
    user = person(catalog, None)
    with catalog.write() as transaction:
        assert quotas.reserve(transaction, user.id, 10**15) == quotas.Room()
        quotas.expect_model(transaction, user.id, "m")
        quotas.expect_job(transaction, user.id)
        assert transaction.scalar(select(func.count()).select_from(Reservation)) == 0


def test_an_upload_beyond_the_plan_is_refused_before_it_begins(catalog: Catalog) -> None:
    user = person(catalog, upload_bytes=100, storage_bytes=150)
    with catalog.write() as transaction:
        with pytest.raises(UploadTooLarge, match=r"0\.1 kB"):
            quotas.reserve(transaction, user.id, 101)
        room = quotas.reserve(transaction, user.id, 100)
        assert room.most == 100
        with pytest.raises(LimitReached):
            quotas.reserve(transaction, user.id, 51)
    keep(catalog, user, 100, room.id)
    with catalog.write() as transaction:
        unannounced = quotas.reserve(transaction, user.id, None)
        assert unannounced.most == 50
        assert isinstance(unannounced.refusal, LimitReached)


def test_room_is_given_back_and_ends_where_it_is_abandoned(catalog: Catalog) -> None:
    user = person(catalog, storage_bytes=100)
    with catalog.write() as transaction:
        first = quotas.reserve(transaction, user.id, 100)
        assert first.id is not None
        with pytest.raises(LimitReached):
            quotas.reserve(transaction, user.id, 1)
        quotas.give_back(transaction, first.id)
        quotas.reserve(transaction, user.id, 100)
        transaction.execute(update(Reservation).values(expires_at=now()))
        quotas.reserve(transaction, user.id, 100)
        assert quotas.prune(transaction) == 1


def test_the_room_of_an_import_ends_with_its_job(catalog: Catalog) -> None:
    user, jobs = person(catalog, storage_bytes=100, images=10), Jobs(catalog)
    with catalog.write() as transaction:
        room = quotas.reserve(transaction, user.id, 60, images=True)
        assert room.id is not None
        job_id = jobs.enqueue("import", "import", user.id, "t", {}, transaction=transaction)
        quotas.give_to_job(transaction, room.id, job_id)
        quotas.give_back(transaction, room.id)
        with pytest.raises(LimitReached):
            quotas.reserve(transaction, user.id, 50)
        quotas.expect_to_import(transaction, user.id, job_id, 100, 10)  # the room is its own
        with pytest.raises(LimitReached):
            quotas.expect_to_import(transaction, user.id, "another job", 50, 1)
        with pytest.raises(LimitReached, match="images"):
            quotas.expect_to_import(transaction, user.id, job_id, 1, 11)
    jobs.cancel(user.id, job_id)
    with catalog.write() as transaction:
        quotas.reserve(transaction, user.id, 100)
        assert quotas.prune(transaction) == 1


def test_a_new_model_is_refused_and_a_version_of_an_old_one_is_not(catalog: Catalog) -> None:
    user = person(catalog, models=2)
    with catalog.write() as transaction:
        transaction.add_all([version(user, "a"), version(user, "a"), version(user, "b")])
    with catalog.write() as transaction:
        quotas.expect_model(transaction, user.id, "a")
        with pytest.raises(LimitReached, match=r"\b2 models\b.*\bc\b"):
            quotas.expect_model(transaction, user.id, "c")
        with pytest.raises(LimitReached):
            quotas.reserve(transaction, user.id, 1, model="c")


def test_a_model_that_is_on_its_way_counts_until_it_is_given_up(catalog: Catalog) -> None:
    user = person(catalog, models=1)
    upload = ModelUpload(
        id="u1", user_id=user.id, name="a", version="v1", nonce="n", part_bytes=1, url="memory:///u"
    )
    with catalog.write() as transaction:
        quotas.reserve(transaction, user.id, 10, upload_id=upload.id, model="a")
        assert uploads.add(transaction, upload)
        with pytest.raises(LimitReached):
            quotas.expect_model(transaction, user.id, "b")
    with catalog.write() as transaction:
        uploads.remove(transaction, "u1")
        quotas.expect_model(transaction, user.id, "b")
        assert transaction.scalar(select(func.count()).select_from(Reservation)) == 0


def test_jobs_at_a_time(catalog: Catalog) -> None:
    user, jobs = person(catalog, jobs=1), Jobs(catalog)
    with not_counted():
        jobs.enqueue("profile", "q", user.id, "a part of an upload", {})
    first = jobs.enqueue("train", "q", user.id, "t", {}, job_id="first")
    assert jobs.enqueue("train", "q", user.id, "t", {}, job_id="first") == first  # it is the same
    with pytest.raises(LimitReached):
        jobs.enqueue("train", "q", user.id, "t", {})
    with catalog.write() as transaction:
        transaction.execute(update(JobRow).where(JobRow.id == first).values(status="running", fence=1))
    with fenced(first, 1):
        jobs.enqueue("export", "q", user.id, "what the first one goes on with", {})
    jobs.cancel(user.id, first)
    jobs.enqueue("train", "q", user.id, "t", {})


def test_no_job_is_begun_where_nothing_more_can_be_kept(catalog: Catalog) -> None:
    user = person(catalog, storage_bytes=10)
    keep(catalog, user, 10)
    with pytest.raises(LimitReached):
        Jobs(catalog).enqueue("train", "q", user.id, "t", {})


def test_the_day_after_the_end_of_a_plan(catalog: Catalog) -> None:
    """What is there stays and goes on; nothing new is begun, and the sentence says when and why."""
    user, jobs = person(catalog), Jobs(catalog)
    keep(catalog, user, 10)
    with catalog.write() as transaction:
        began = quotas.reserve(transaction, user.id, 10)
        transaction.execute(update(UserPlan).values(ends_at=now() - timedelta(seconds=1)))
    refused: list[Callable[[Any], Any]] = [
        lambda transaction: quotas.reserve(transaction, user.id, 1),
        lambda transaction: quotas.expect_model(transaction, user.id, "m"),
        lambda transaction: jobs.enqueue("train", "q", user.id, "t", {}, transaction=transaction),
    ]
    for ask in refused:
        with (
            catalog.write() as transaction,
            pytest.raises(PlanEnded),
        ):
            ask(transaction)
    keep(catalog, user, 10, began.id)
    with catalog.read() as transaction:
        allowance = quotas.allowance_of(transaction, user.id)
        assert allowance is not None
        assert allowance.has_ended
        assert (allowance.used.stored_bytes, allowance.used.reserved_bytes) == (20, 0)


# At the same moment


@pytest.mark.parametrize("repeat", range(5))
def test_two_uploads_at_once_cannot_pass_a_limit_together(
    catalog: Catalog, other: Catalog, repeat: int
) -> None:
    """Of eight writers in two processes' catalogs, whose uploads are of 40 of 100 bytes each, two have room."""
    user, start = person(catalog, storage_bytes=100), threading.Barrier(8)
    outcomes: list[str] = []

    def send(opened: Catalog) -> None:
        start.wait()
        try:
            with opened.write() as transaction:
                room = quotas.reserve(transaction, user.id, 40)
        except LimitReached:
            outcomes.append("refused")
            return
        keep(opened, user, 40, room.id)
        outcomes.append("kept")

    _together([lambda opened=opened: send(opened) for opened in (catalog, other) * 4])
    assert sorted(outcomes) == ["kept"] * 2 + ["refused"] * 6
    assert sums(catalog)[0] == {(user.id, "tables"): (80, 2)}


@pytest.mark.parametrize("what", ["models", "jobs", "trainings"])
def test_two_at_once_cannot_pass_a_number_together(catalog: Catalog, other: Catalog, what: str) -> None:
    user, start = person(catalog, models=3, jobs=9 if what == "trainings" else 3), threading.Barrier(8)
    outcomes: list[bool] = []

    def ask(opened: Catalog, number: int) -> None:
        start.wait()
        try:
            if what == "jobs":
                Jobs(opened).enqueue("train", "q", user.id, "t", {})
            elif what == "trainings":
                with opened.write() as transaction:
                    quotas.hold_model(transaction, user.id, f"m{number}", f"job{number}")
                    Jobs(opened).enqueue(
                        "train", "q", user.id, "t", {}, job_id=f"job{number}", transaction=transaction
                    )
            else:
                with opened.write() as transaction:
                    quotas.reserve(transaction, user.id, 1, model=f"m{number}")
            outcomes.append(True)
        except LimitReached:
            outcomes.append(False)

    _together([lambda opened=opened, n=n: ask(opened, n) for n, opened in enumerate((catalog, other) * 4)])
    assert sorted(outcomes) == [False] * 5 + [True] * 3


def test_a_name_is_free_again_once_the_training_has_ended(catalog: Catalog) -> None:
    user, queue = person(catalog, models=1, jobs=9), Jobs(catalog)

    def train(name: str, job: str) -> None:
        with catalog.write() as transaction:
            quotas.hold_model(transaction, user.id, name, job)
            queue.enqueue("train", "q", user.id, "t", {}, job_id=job, transaction=transaction)

    train("texts", "one")
    train("texts", "two")  # the same name is one
    with pytest.raises(LimitReached, match="1 models"):
        train("other", "three")
    for job in ("one", "two"):
        queue.cancel(user.id, job)
    train("other", "three")


def test_no_run_of_a_program_begins_after_the_end_and_one_that_had_begun_goes_on(catalog: Catalog) -> None:
    user = person(catalog)
    begun = programs.begin(catalog, user.id, programs.NewRun("churn", "train", "n1"))
    with catalog.write() as transaction:
        plans.give(transaction, user, "trial", by=None)
        transaction.execute(update(UserPlan).values(ends_at=now() - timedelta(days=1)))
    with pytest.raises(PlanEnded):
        programs.begin(catalog, user.id, programs.NewRun("churn", "train", "n2"))
    assert programs.begin(catalog, user.id, programs.NewRun("churn", "train", "n1")).id == begun.id
    programs.end(catalog, user.id, begun.id, programs.RunEnd("done"))


def _together(asks: list[Callable[[], None]]) -> None:
    errors: list[BaseException] = []

    def run(ask: Callable[[], None]) -> None:
        try:
            ask()
        except (EcluseError, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
