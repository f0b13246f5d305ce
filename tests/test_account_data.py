"""Everything of an account is given out whole, and goes whole: each table has its cell, and nothing is left anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ecluse import people
from ecluse.catalog import owned
from ecluse.catalog.tables import ApiToken, AuditEntry, JobRow, Session, User
from ecluse.errors import InvalidInput, LastAdministrator, LastOwner, NotAllRemoved, NotFound
from ecluse.people import archive, closing
from ecluse.runtime import Runtime, Worker
from ecluse.work import kinds
from tests.apps.plants.sets import add_set
from tests.apps.plants.tiny import publish_tiny
from tests.support.wait import wait_until
from tests.test_people import add_table

PASSWORD = "a long password"
#: What becomes of each table in an archive. A new table fails until its cell is written here.
GIVEN = {
    "api_tokens", "audit_log", "column_mappings", "daily_use", "datasets", "email_proofs", "files", "fraud_trainings",
    "hosted_files", "identities", "image_sets",
    "image_splits", "images", "inspections", "invitations", "job_lines", "jobs", "labels", "letters", "memberships", "model_aliases",
    "model_uploads", "model_versions", "predictions", "publications", "recovery_codes", "run_metrics", "runs", "schedules",
    "second_factors", "service_accounts", "sessions",
    "shares", "sign_up_invitations", "stored", "user_plans", "user_tables", "users", "work",
}  # fmt: skip
#: Columns that look like a secret: given to nobody, or (True) none and given.
LOOKS_SECRET = {
    ("api_tokens", "secret_hash"): False,
    ("email_proofs", "secret_hash"): False,
    ("images", "perceptual_hash"): True,
    ("invitations", "secret_hash"): False,
    ("jobs", "error_code"): True,
    ("recovery_codes", "secret_hash"): False,
    ("second_factors", "secret"): False,
    ("sessions", "secret_hash"): False,
    ("shares", "secret_hash"): False,
    ("sign_up_invitations", "secret_hash"): False,
    ("users", "password_hash"): False,
}
WORDS = ("hash", "secret", "password", "totp", "recovery", "code", "cipher", "private", "seed_of", "token")


@pytest.fixture
def member(opened: Runtime) -> User:
    opened.accounts.sign_up("admin@example.org", PASSWORD)
    return opened.accounts.sign_up("member@example.org", PASSWORD, "Inès")


def fill(runtime: Runtime, user: User, folder: Path) -> dict[str, bytes]:
    """Give a person some of everything; the objects that there are, by their digests."""
    add_table(runtime, user)
    publish_tiny(runtime, user.id, folder / "leaves")
    add_set(runtime, user.id)
    runtime.accounts.create_token(user.id, "script")
    runtime.accounts.add_organisation(user.id, "botanists")
    runtime.accounts.open_session(user.id, "Firefox")
    runtime.jobs.enqueue("verify_model", "upkeep", user.id, "leaves", {"name": "leaves", "version": "v"})
    found = {}
    for store in runtime.stores.distinct():
        for prefix in ("user_data", "user_models"):
            for info in store.list(f"{prefix}/{user.id}"):
                data = store.get(info.key)
                found[hashlib.sha256(data).hexdigest()] = data
    return found


def opened_archive(runtime: Runtime, user: User) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(archive.archive_of(runtime, user))))


def rows_in(taken: zipfile.ZipFile, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(taken.read(f"rows/{table}.json"))
    return rows


# What is given out


def test_every_table_is_given_out_or_left_out_with_a_reason() -> None:
    every = {table.name for table in owned.tables()}
    given = {table.name for table in owned.given_out()}
    assert given == GIVEN
    assert given | set(owned.LEFT_OUT) == every, "a table without its cell"
    assert given.isdisjoint(owned.LEFT_OUT)
    assert all(len(reason) > 10 for reason in [*owned.LEFT_OUT.values(), *owned.KEPT.values()])


def test_every_column_that_looks_like_a_secret_has_its_cell() -> None:
    suspicious = {
        (table.name, column.name): column.name in owned.columns_of(table)
        for table in owned.given_out()
        for column in table.columns
        if any(word in column.name for word in WORDS)
    }
    assert suspicious == LOOKS_SECRET
    assert all(
        name == "images.perceptual_hash"
        or not any(word in name.partition(".")[2] for word in ("hash", "secret", "password"))
        for table in owned.given_out()
        for name in [f"{table.name}.{column}" for column in owned.columns_of(table)]
    )


def test_an_archive_has_every_row_and_every_object_of_one_person_alone(
    opened: Runtime, member: User, tmp_path: Path
) -> None:
    objects = fill(opened, member, tmp_path)
    admin = opened.accounts.by_email("admin@example.org")
    add_table(opened, admin)
    with opened_archive(opened, member) as taken:
        assert taken.testzip() is None
        manifest = json.loads(taken.read("manifest.json"))
        names = taken.namelist()
        lines = [json.loads(line) for line in taken.read("objects.jsonl").splitlines()]
        contents = {hashlib.sha256(taken.read(line["path"])).hexdigest() for line in lines}
        text = "".join(taken.read(name).decode() for name in names if name.startswith("rows/"))
        rows = {table.name: rows_in(taken, table.name) for table in owned.given_out()}
    assert names[0] == "README.txt"
    assert names[-1] == "manifest.json", "what comes last says that it is whole"
    assert contents == set(objects)
    assert {line["sha256"] for line in lines} == set(objects)
    assert {line["state"] for line in lines} <= {"ok", "damaged"}
    assert manifest["objects"]["count"] == len(lines)
    with opened.catalog.read() as transaction:
        counted = owned.remaining(transaction, member.id)
        secrets = [
            *transaction.scalars(select(ApiToken.secret_hash)),
            *transaction.scalars(select(Session.secret_hash)),
        ]
    assert {name: len(each) for name, each in rows.items() if each and name in counted} == {
        name: count for name, count in counted.items() if name not in owned.LEFT_OUT
    }
    assert manifest["rows"]["datasets"]["rows"] == 1
    assert rows["users"][0]["email"] == member.email
    assert admin.id not in text.replace("audit_log", "")
    for secret in (*secrets, member.password_hash or "-", PASSWORD):
        assert secret not in text
    assert manifest["left_out"]["columns"]["users"] == ["password_hash"]


def test_many_rows_come_in_batches_each_once(
    opened: Runtime, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "BATCH", 3)
    for number in range(10):
        opened.accounts.create_token(member.id, f"n{number}")
    with opened_archive(opened, member) as taken:
        names = [row["name"] for row in rows_in(taken, "api_tokens")]
    assert sorted(names) == sorted({f"n{number}" for number in range(10)})


def test_what_is_damaged_or_gone_is_said(
    opened: Runtime, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_table(opened, member)  # its recorded digest is another
    real = type(opened.data).list

    def and_one_that_goes(self: Any, prefix: str = "", **how: Any) -> Any:
        for info in real(self, prefix, **how):
            yield info
            yield replace(info, key=f"{info.key}.gone")

    monkeypatch.setattr(type(opened.data), "list", and_one_that_goes)
    with opened_archive(opened, member) as taken:
        states = {
            line["key"]: line["state"] for line in map(json.loads, taken.read("objects.jsonl").splitlines())
        }
        manifest = json.loads(taken.read("manifest.json"))
    assert states == {key: "damaged", f"{key}.gone": "gone"}
    assert (manifest["objects"]["damaged"], manifest["objects"]["gone"]) == (1, 1)


def test_a_file_appears_when_it_is_whole_and_is_not_written_over(
    opened: Runtime, member: User, tmp_path: Path
) -> None:
    target = tmp_path / "mine.zip"

    def stop(fraction: float, name: str) -> None:
        raise KeyboardInterrupt

    add_table(opened, member)
    with pytest.raises(KeyboardInterrupt):
        archive.write_archive(opened, member, target, stop)
    assert list(tmp_path.glob("*mine*")) == []
    assert archive.write_archive(opened, member, target) == target.stat().st_size
    with pytest.raises(InvalidInput, match="--out"):
        archive.write_archive(opened, member, target)


# What goes


def test_nothing_is_left_in_any_table_or_folder_but_the_log(
    opened: Runtime, member: User, tmp_path: Path
) -> None:
    fill(opened, member, tmp_path)
    opened.accounts.add_organisation(member.id, "alone")
    with pytest.raises(LastOwner, match="ecluse orgs hand-over"):
        people.remove(opened, member.email, everything=True)
    for handle in ("alone", "botanists"):
        people.end_organisation(opened, member.id, handle)
    removed = people.remove(opened, member.email, everything=True)
    assert removed.rows["datasets"] == 1
    assert removed.objects > 5
    with opened.catalog.read() as transaction:
        assert owned.remaining(transaction, member.id) == {}
        assert transaction.scalars(select(JobRow).where(JobRow.user_id == member.id)).all() == []
        kept = transaction.scalars(select(AuditEntry.action).where(AuditEntry.user_id == member.id)).all()
    assert "user.add" in kept
    for store in opened.stores.distinct():
        assert [info.key for info in store.list("") if member.id in info.key] == []
    assert len(removed.places) >= 2


def test_what_is_still_there_is_a_loud_error_and_the_account_is_not_gone(
    opened: Runtime, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_table(opened, member)
    with monkeypatch.context() as broken:
        broken.setattr(type(opened.data), "delete_prefix", lambda self, prefix: 0)
        with pytest.raises(NotAllRemoved, match="user_data"):
            people.remove(opened, member.email, everything=True)
    assert opened.accounts.by_email(member.email).disabled_at is not None
    assert opened.data.exists(key)
    people.remove(opened, member.email, everything=True)
    with pytest.raises(NotFound):
        opened.accounts.by_email(member.email)


def test_a_table_that_does_not_go_with_its_owner_stops_it_and_no_row_goes(
    opened: Runtime, member: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = opened
    runtime.accounts.create_token(member.id, "script")
    monkeypatch.setattr("ecluse.catalog.jobs.forget_of", lambda transaction, user_id: None)
    runtime.jobs.enqueue("verify_model", "upkeep", member.id, "m", {"name": "m", "version": "v"})
    with pytest.raises(NotAllRemoved, match="jobs"):
        people.remove(runtime, member.email, everything=True)
    assert runtime.accounts.by_email(member.email).id == member.id


def test_a_person_closes_the_account_and_a_job_removes_it_though_it_is_interrupted(
    opened: Runtime, member: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(opened, member, tmp_path)
    people.end_organisation(opened, member.id, "botanists")
    session = opened.accounts.open_session(member.id)
    job = closing.start_removal(opened, member.email, member)
    assert opened.accounts.who_has_session(session) is None, "at once"
    admin = opened.accounts.by_email("admin@example.org")
    assert opened.jobs.get(admin.id, job).status == "queued"
    real, struck = people._empty, threading.Event()

    def strike(*how: Any) -> int:
        if not struck.is_set():
            struck.set()
            raise KeyboardInterrupt  # as a worker that is killed with half of it done
        return real(*how)

    monkeypatch.setattr(people, "_empty", strike)
    with pytest.raises(KeyboardInterrupt):
        people.remove(opened, member.email, everything=True)
    worker = Worker(opened, kinds())
    worker.start()
    try:
        wait_until(lambda: opened.jobs.get(admin.id, job).status == "done" or None, "the removal")
    finally:
        worker.close()
    with opened.catalog.read() as transaction:
        assert owned.remaining(transaction, member.id) == {}


def test_the_last_administrator_closes_nothing(opened: Runtime, member: User) -> None:
    admin = opened.accounts.by_email("admin@example.org")
    with pytest.raises(LastAdministrator):
        closing.start_removal(opened, admin.email, admin)
    assert opened.accounts.by_email(admin.email).disabled_at is None


def test_an_organisation_goes_with_everything_that_it_has(opened: Runtime, member: User) -> None:
    made = opened.accounts.add_organisation(member.id, "botanists")
    with opened.catalog.read() as transaction:
        organisation = transaction.get_one(User, made.id)
    key = add_table(opened, organisation)
    with pytest.raises(InvalidInput, match="--with-everything"):
        people.end_organisation(opened, member.id, "botanists")
    people.end_organisation(opened, member.id, "botanists", everything=True)
    assert not opened.data.exists(key)
    with opened.catalog.read() as transaction:
        assert owned.remaining(transaction, made.id) == {}
    assert opened.accounts.organisations(member.id) == []
