"""A table becomes an organisation's: its file first, then its row, in a job that may be killed anywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from ecluse import handovers, shares, tables
from ecluse.catalog import quotas, sharing
from ecluse.catalog.tables import JobRow, UserTable, now
from ecluse.cli.session import finish
from ecluse.errors import Forbidden, InvalidInput, JobCancelled, NotFound
from ecluse.handovers import run_hand_over
from ecluse.runtime import Runtime
from ecluse.shares import Reader
from ecluse.tables import Origin
from ecluse.work import cancel_job, reconcile
from tests.web.test_organisations_pages import page, someone
from tests.web.within import Within


class Killed(BaseException):
    """The worker died."""


class Steps:
    """What a worker has of a task: what steps returned outlives it. Dies at the moment `dies_at`, counted from 0."""

    def __init__(self, user_id: str, dies_at: int | None = None) -> None:
        self.user_id, self.job_id = user_id, "j" * 32
        self.kept: dict[str, Any] = {}
        self.dies_at, self.moments = dies_at, 0

    def moment(self) -> None:
        if self.moments == self.dies_at:
            self.dies_at = None
            raise Killed
        self.moments += 1

    def report(self, *_: Any) -> None:
        self.moment()

    def step(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        if name not in self.kept:
            self.moment()
            done = function(*arguments)
            self.moment()  # done, and not written down
            self.kept[name] = done
        return self.kept[name]


@pytest.fixture
def people(opened: Runtime) -> SimpleNamespace:
    """Anna owns acme, Ben reads what it has, Carl belongs to nothing."""
    accounts = opened.accounts
    made = {name: accounts.add(f"{name}@over.org").id for name in ("anna", "ben", "carl")}
    made["acme"] = accounts.add_organisation(made["anna"], "acme").id
    accounts.accept_invitation(made["ben"], accounts.invite(made["anna"], "acme", "viewer")[0])
    return SimpleNamespace(**made)


def added(runtime: Runtime, user_id: str, folder: Path, origin: Origin = tables.UPLOADED) -> UserTable:
    file = folder / "towns.csv"
    file.write_text("town,visits\nLyon,7\n")
    return tables.add(runtime, user_id, file, "towns.csv", origin)


def below(runtime: Runtime, owner: str) -> list[str]:
    return [info.key for info in runtime.data.list(f"user_data/{owner}/tables")]


def expect_over(runtime: Runtime, people: SimpleNamespace, row: UserTable) -> None:
    """The table is acme's, whole, once, and nothing of it is left where it was."""
    assert below(runtime, people.anna) == []
    (key,) = below(runtime, people.acme)
    with runtime.catalog.read() as transaction:
        now = transaction.get_one(UserTable, row.id)
        assert (now.user_id, now.key, now.sha256, now.job_id) == (people.acme, key, row.sha256, None)
        used = [quotas.used_by(transaction, owner).stored_bytes for owner in (people.anna, people.acme)]
    assert used == [0, row.size_bytes]
    assert tables.find(runtime, people.ben, row.id).name == "towns.csv"


@pytest.mark.parametrize("dies_at", [None, *range(5), "removing"])
def test_wherever_the_worker_dies_the_table_is_handed_over_once(
    opened: Runtime, people: SimpleNamespace, tmp_path: Path, dies_at: int | str | None
) -> None:
    row = added(opened, people.anna, tmp_path)
    steps: Any = Steps(people.anna, None if dies_at == "removing" else dies_at)
    if dies_at == "removing":  # switched, and nothing is removed yet
        steps.kept["copy"] = handovers._copy(opened, steps, row.id, people.acme)
        handovers._switch(opened, steps, row.id, people.acme)
    for _attempt in range(2):
        try:
            run_hand_over(opened, steps, row.id, people.acme)
        except Killed:
            continue
    assert steps.dies_at is None
    expect_over(opened, people, row)


def test_a_job_hands_a_table_over_with_what_it_is_shared_by(
    opened: Runtime, people: SimpleNamespace, tmp_path: Path
) -> None:
    row = added(opened, people.anna, tmp_path, Origin(nonce="once"))
    for reader in (Reader("carl@over.org"), Reader(organisation="acme")):
        shares.share_by_id(opened.catalog, people.anna, "tables", row.id, reader)
    job = handovers.start(opened, people.anna, row.id, "@acme")
    finish(opened, opened.accounts.by_email("anna@over.org"), job, "Hand over")
    expect_over(opened, people, row)
    with opened.catalog.read() as transaction:
        left = sharing.list_of(transaction, people.acme, "tables", row.id)
    assert [share.email for share, _reader in left] == ["carl@over.org"], "acme reads what is its own"
    assert tables.find(opened, people.carl, row.id).id == row.id
    again = added(opened, people.anna, tmp_path, Origin(nonce="once"))
    assert (again.id == row.id, again.user_id) == (False, people.anna), "the same upload is another table now"
    assert len(below(opened, people.anna)) == len(below(opened, people.acme)) == 1


def test_who_may_not_hand_over_is_refused_before_work_begins(
    opened: Runtime, people: SimpleNamespace, tmp_path: Path
) -> None:
    row = added(opened, people.anna, tmp_path)
    own = added(opened, people.ben, tmp_path)
    shares.share_by_id(opened.catalog, people.anna, "tables", row.id, Reader("ben@over.org"))
    for who, table, handle, refused in (
        (people.carl, row.id, "acme", NotFound),
        (people.anna, row.id, "nobody", NotFound),
        (people.anna, row.id, "", InvalidInput),
        (people.anna, "none", "acme", NotFound),
        (people.ben, own.id, "acme", Forbidden),
    ):
        with pytest.raises(refused):
            handovers.start(opened, who, table, handle)
    opened.accounts.accept_invitation(people.carl, opened.accounts.invite(people.anna, "acme", "member")[0])
    shares.share_by_id(opened.catalog, people.anna, "tables", row.id, Reader("carl@over.org"))
    with pytest.raises(Forbidden, match="is not yours"):
        handovers.start(opened, people.carl, row.id, "acme")


@pytest.mark.parametrize("gone", ["table", "role", "cancelled"])
def test_what_comes_to_nothing_leaves_no_copy(
    opened: Runtime, people: SimpleNamespace, tmp_path: Path, gone: str
) -> None:
    row = added(opened, people.anna, tmp_path)
    steps: Any = Steps(people.anna, dies_at=3)  # copied and written down
    with pytest.raises(Killed):
        run_hand_over(opened, steps, row.id, people.acme)
    assert len(below(opened, people.acme)) == 1
    expected: type[BaseException] = NotFound
    if gone == "table":
        tables.remove(opened, people.anna, row.id)
    elif gone == "role":
        opened.accounts.accept_invitation(
            people.carl, opened.accounts.invite(people.anna, "acme", "owner")[0]
        )
        opened.accounts.remove_member(people.carl, "acme", people.anna)
    else:
        expected = JobCancelled

        def cancelled(*_: Any) -> None:
            raise JobCancelled("stopped")

        steps.step = cancelled
    with pytest.raises(expected):
        run_hand_over(opened, steps, row.id, people.acme)
    if expected is NotFound:  # what the worker then calls
        handovers.KINDS[handovers.KIND].failed(opened, steps, "", table=row.id, owner=people.acme)  # type: ignore[misc]
    assert below(opened, people.acme) == []
    assert len(below(opened, people.anna)) == (0 if gone == "table" else 1)


def test_a_job_that_is_cancelled_when_its_worker_has_died_leaves_no_copy(
    opened: Runtime, people: SimpleNamespace, tmp_path: Path
) -> None:
    row = added(opened, people.anna, tmp_path)
    steps: Any = Steps(people.anna, dies_at=3)  # copied and written down
    steps.job_id = handovers.start(opened, people.anna, row.id, "acme")
    with pytest.raises(Killed):
        run_hand_over(opened, steps, row.id, people.acme)
    cancel_job(opened, people.anna, steps.job_id)
    handovers.reconcile(opened)
    assert len(below(opened, people.acme)) == 1, "its worker may only have been away"
    with pytest.raises(JobCancelled):
        handovers._switch(opened, steps, row.id, people.acme)
    with opened.catalog.write() as transaction:
        ended = update(JobRow).where(JobRow.id == steps.job_id)
        transaction.execute(ended.values(finished_at=now() - handovers.SETTLED - timedelta(seconds=1)))
    reconcile(opened)
    assert below(opened, people.acme) == []
    assert tables.find(opened, people.anna, row.id).id == row.id
    assert len(below(opened, people.anna)) == 1


def test_the_copy_of_a_job_that_was_done_after_all_stays(
    opened: Runtime, people: SimpleNamespace, tmp_path: Path
) -> None:
    row = added(opened, people.anna, tmp_path)
    steps: Any = Steps(people.anna)
    steps.job_id = handovers.start(opened, people.anna, row.id, "acme")
    run_hand_over(opened, steps, row.id, people.acme)
    with opened.catalog.write() as transaction:
        ended = update(JobRow).where(JobRow.id == steps.job_id)
        long_ago = now() - handovers.SETTLED - timedelta(seconds=1)
        transaction.execute(ended.values(status="failed", finished_at=long_ago))
    handovers.reconcile(opened)
    expect_over(opened, people, row)


def test_the_page_and_the_api_hand_over(web: Within, tmp_path: Path) -> None:
    (anna, session), (_ben, other) = someone(web, "anna@given.org"), someone(web, "ben@given.org")
    row = added(web.runtime, anna, tmp_path)
    assert "/hand-over" not in page(web, session, "GET", f"/tables/{row.id}")[1], "there is no organisation"
    web.runtime.accounts.add_organisation(anna, "given")
    for language in ("en", "fr"):
        assert "/hand-over" in page(web, session, "GET", f"/tables/{row.id}", language)[1]
    assert page(web, other, "POST", f"/tables/{row.id}/hand-over", owner="given")[0] == 404
    assert page(web, session, "POST", f"/tables/{row.id}/hand-over", owner="")[0] == 422
    web.token = web.runtime.accounts.create_token(anna, "t")[0]
    body = web.ask("POST", f"/api/tables/{row.id}/hand-over", json={"owner": "@given"}).json()
    finish(web.runtime, web.runtime.accounts.by_email("anna@given.org"), body["job"], "Hand over")
    status = web.ask("GET", body["status_url"]).json()
    assert status["result"] == {"table": row.id, "owner": "given"}
    assert web.ask("GET", f"/api/tables/{row.id}").json()["owner"] == "given"
