"""While a request brings a file its sender is removed, locked or sent away: nothing is kept, and it is said in one form."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from ecluse import handovers, people, tables
from ecluse.apps.hosted import files as hosted
from ecluse.catalog import audit, plans
from ecluse.catalog.plan_tables import Plan, Reservation
from ecluse.catalog.tables import User, UserTable
from ecluse.errors import (
    EcluseError,
    Forbidden,
    InvalidInput,
    LastOwner,
    LimitReached,
    NotAllRemoved,
    NotFound,
    NotSignedIn,
    OrganisationClosed,
    PlanEnded,
)
from ecluse.people import closing
from ecluse.runtime import Runtime
from tests.web.within import Within

CSV = b"town,visits\nLyon,7\n"


@pytest.fixture
def some(opened: Runtime) -> SimpleNamespace:
    """An administrator; Anna owns acme, Ben makes things of it."""
    accounts = opened.accounts
    accounts.add("admin@mean.org", admin=True)
    made = {name: accounts.add(f"{name}@mean.org").id for name in ("anna", "ben")}
    made["acme"] = accounts.add_organisation(made["anna"], "acme").id
    accounts.accept_invitation(made["ben"], accounts.invite(made["anna"], "acme", "member")[0])
    return SimpleNamespace(**made)


def meanwhile(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once the first object of a request is stored, and before its row is written."""
    store, happened = type(runtime.data), threading.Event()

    def then(real: Any) -> Any:
        def stored(self: Any, *how: Any, **more: Any) -> Any:
            kept = real(self, *how, **more)
            if not happened.is_set():
                happened.set()
                happens()
            return kept

        return stored

    for name in ("upload", "put", "put_stream"):
        monkeypatch.setattr(store, name, then(getattr(store, name)))
    real = store.put_stream_async

    async def stored(self: Any, *how: Any, **more: Any) -> Any:
        kept = await real(self, *how, **more)
        if not happened.is_set():
            happened.set()
            happens()
        return kept

    monkeypatch.setattr(store, "put_stream_async", stored)


def user_of(runtime: Runtime, user_id: str) -> User:
    with runtime.catalog.read() as transaction:
        return transaction.get_one(User, user_id)


def archive() -> bytes:
    """A picture in an archive."""
    picture, packed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(picture, "PNG")
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("rose/a.png", picture.getvalue())
    return packed.getvalue()


def objects_of(runtime: Runtime, owner_id: str) -> list[str]:
    return [info.key for info in runtime.data.list(f"user_data/{owner_id}")]


def changes(
    runtime: Runtime, some: SimpleNamespace
) -> dict[str, tuple[Callable[[], object], type[EcluseError]]]:
    accounts = runtime.accounts
    return {
        "sent away": (lambda: accounts.remove_member(some.anna, "acme", some.ben), NotFound),
        "reads": (lambda: accounts.set_member_role(some.anna, "acme", some.ben, "viewer"), Forbidden),
        "locked": (lambda: accounts.disable("ben@mean.org"), NotSignedIn),
        "removed": (lambda: people.remove(runtime, "ben@mean.org", everything=True), NotSignedIn),
        "closed": (lambda: accounts.close_organisation(some.anna, "acme"), OrganisationClosed),
        "ended": (lambda: people.end_organisation(runtime, some.anna, "acme", everything=True), NotFound),
    }


@pytest.mark.parametrize("change", ["sent away", "reads", "locked", "removed", "closed", "ended"])
def test_a_table_that_its_sender_may_make_no_more_leaves_neither_row_nor_object(
    opened: Runtime, some: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    happens, refused = changes(opened, some)[change]
    (tmp_path / "t.csv").write_bytes(CSV)
    meanwhile(opened, monkeypatch, happens)
    with audit.done_by(some.ben), pytest.raises(refused):
        tables.add(opened, some.acme, tmp_path / "t.csv", "t.csv")
    assert objects_of(opened, some.acme) == []
    with opened.catalog.read() as transaction:
        assert transaction.scalars(select(UserTable)).all() == []


def test_a_file_of_an_account_that_is_removed_meanwhile_leaves_no_object(
    opened: Runtime, some: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    meanwhile(opened, monkeypatch, lambda: people.remove(opened, "ben@mean.org", everything=True))
    with pytest.raises(NotSignedIn):
        hosted.store(opened, some.ben, "words", tmp_path / "t.csv")
    assert objects_of(opened, some.ben) == []


@pytest.mark.parametrize("change", ["removed", "locked"])
@pytest.mark.parametrize("place", ["/api/tables", "/api/upload", "/api/plants/sets"])
def test_every_upload_of_who_is_removed_or_locked_meanwhile_is_answered_in_one_form(
    web: Within, monkeypatch: pytest.MonkeyPatch, place: str, change: str
) -> None:
    runtime = web.runtime
    email = user_of(runtime, web.user_id).email
    runtime.accounts.add(f"admin-{web.user_id}@mean.org", admin=True)

    def happens() -> None:
        if change == "locked":
            runtime.accounts.disable(email)
        else:
            people.remove(runtime, email, everything=True)

    meanwhile(runtime, monkeypatch, happens)
    sent = ("leaves.zip", archive()) if "plants" in place else ("t.csv", CSV)
    answer = web.ask("POST", place, files={"file": sent})
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"]["code"] == "not_signed_in"
    assert objects_of(runtime, web.user_id) == []


# The end of an organisation


def test_an_organisation_is_closed_before_its_objects_go_and_a_kill_is_gone_on_from(
    opened: Runtime, some: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    with audit.done_by(some.ben):
        row = tables.add(opened, some.acme, tmp_path / "t.csv", "t.csv")
    real = people._empty

    def killed(*how: Any) -> int:
        with audit.done_by(some.ben), pytest.raises(OrganisationClosed, match="@acme is being ended"):
            tables.add(opened, some.acme, tmp_path / "t.csv", "more.csv")
        with pytest.raises(OrganisationClosed):
            tables.maker_called(opened, some.ben, "acme")
        with pytest.raises(OrganisationClosed):
            tables.remove(opened, some.ben, row.id)
        real(*how)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(people, "_empty", killed)
        with pytest.raises(KeyboardInterrupt):
            people.end_organisation(opened, some.anna, "acme", everything=True)
    assert opened.accounts.owned_organisation(some.anna, "acme").disabled_at is not None
    people.end_organisation(opened, some.anna, "acme", everything=True)
    with opened.catalog.read() as transaction:
        assert transaction.get(User, some.acme) is None
    assert objects_of(opened, some.acme) == []


def test_errors_of_the_end_speak_of_the_organisation(
    opened: Runtime, some: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.data.put(f"user_data/{some.acme}/a", b"a")
    with monkeypatch.context() as broken:
        broken.setattr(type(opened.data), "delete_prefix", lambda self, prefix: 0)
        with pytest.raises(NotAllRemoved, match=r"@acme .*the organisation stays closed"):
            people.end_organisation(opened, some.anna, "acme", everything=True)
    with monkeypatch.context() as broken:
        broken.setattr("ecluse.accounts.access.owned.remaining", lambda *_: {"jobs": 1})
        with pytest.raises(NotAllRemoved, match=r"@acme .*the organisation stays closed"):
            people.end_organisation(opened, some.anna, "acme", everything=True)


def test_jobs_that_have_not_ended_keep_nobody_waiting_and_the_organisation_open(
    opened: Runtime, some: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "cancel_jobs", lambda *_: 0)
    opened.jobs.enqueue("verify_model", "upkeep", some.acme, "m", {"name": "m", "version": "1"})
    with pytest.raises(InvalidInput, match="1 jobs of @acme"):
        people.end_organisation(opened, some.anna, "acme", everything=True, patience=0)
    assert opened.accounts.owned_organisation(some.anna, "acme").disabled_at is None


def test_of_two_owners_who_are_removed_at_once_one_stays(
    opened: Runtime, some: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.accounts.set_member_role(some.anna, "acme", some.ben, "owner")
    admin = opened.accounts.by_email("admin@mean.org")
    together, refused = threading.Barrier(2), list[type[EcluseError]]()
    # Nothing that is done behind the one transaction decides it.
    monkeypatch.setattr(people, "finish_closing", lambda *_, **__: 0)

    def close(email: str) -> None:
        together.wait()
        try:
            closing.start_removal(opened, email, admin)
        except EcluseError as error:
            refused.append(type(error))

    threads = [threading.Thread(target=close, args=(f"{name}@mean.org",)) for name in ("anna", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == [LastOwner]
    disabled = [opened.accounts.by_email(f"{name}@mean.org").disabled_at for name in ("anna", "ben")]
    assert sum(moment is None for moment in disabled) == 1


# Plans


def test_a_table_counts_for_the_plan_of_whose_it_is_to_be(
    opened: Runtime, some: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_bytes(CSV)
    own = tables.upload(opened, some.ben, tmp_path / "t.csv", "t.csv")
    with opened.catalog.write() as transaction:
        transaction.get_one(Plan, "trial").days = 0
        plans.give(transaction, transaction.get_one(User, some.acme), "trial", by=None)
    with pytest.raises(PlanEnded, match="plan trial of @acme"):
        tables.upload(opened, some.ben, tmp_path / "t.csv", "t.csv", "@acme")
    with pytest.raises(PlanEnded, match="plan trial of @acme"):
        handovers.start(opened, some.ben, own.id, "acme")
    with opened.catalog.write() as transaction:
        transaction.get_one(Plan, "basic").storage_bytes = 10
        plans.give(transaction, transaction.get_one(User, some.acme), "basic", by=None)
    with pytest.raises(LimitReached, match="@acme stores"):
        tables.upload(opened, some.ben, tmp_path / "t.csv", "t.csv", "@acme")
    tables.upload(opened, some.ben, tmp_path / "t.csv", "t.csv")
    with opened.catalog.read() as transaction:
        assert transaction.scalars(select(Reservation)).all() == []


def test_the_page_of_tables_keeps_room_by_the_plan_of_whose_it_is_to_be(web: Within) -> None:
    runtime = web.runtime
    organisation = runtime.accounts.add_organisation(web.user_id, f"rooms-{web.user_id[:8]}")
    with runtime.catalog.write() as transaction:
        transaction.get_one(Plan, "enterprise").days = 0
        plans.give(transaction, user_of(runtime, web.user_id), "enterprise", by=None)
        plans.give(transaction, transaction.get_one(User, organisation.id), "premium", by=None)
    headers, sent = {"accept": "application/json"}, {"file": ("t.csv", CSV)}
    own = web.ask("POST", "/tables/upload", headers=headers, files=sent)
    assert (own.status_code, own.json()["error"]["code"]) == (402, "plan_ended")
    form = {"owner": organisation.handle}
    kept = web.ask("POST", "/tables/upload", headers=headers, data=form, files=sent)
    assert kept.status_code == 201, kept.text
