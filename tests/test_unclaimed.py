"""No object stays that no row points at: neither of who was killed before the row was written, nor of a row that went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import select, text, update

from ecluse import tables, unclaimed, work
from ecluse.catalog import object_notes, rows
from ecluse.catalog.clock import moment
from ecluse.catalog.tables import Base, ObjectNote, User, UserTable
from ecluse.errors import StoreUnavailable
from ecluse.runtime import Runtime
from ecluse.storage import ObjectStore


@pytest.fixture(params=["sqlite", "postgresql"])
def home_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    from ecluse.settings import Settings

    environ = {} if request.param == "sqlite" else {"DATABASE_URL": request.getfixturevalue("postgresql_url")}
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        yield runtime


def a_table(runtime: Runtime, folder: Path, owner: str) -> UserTable:
    file = folder / "t.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(file)
    return tables.keep(runtime, owner, file, "t.csv")


def noted(runtime: Runtime) -> set[str]:
    with runtime.catalog.read() as transaction:
        return set(transaction.scalars(select(ObjectNote.url)))


def make_due(runtime: Runtime) -> None:
    with runtime.catalog.write() as transaction:
        transaction.execute(update(ObjectNote).values(due_at=moment(-1)))


def test_an_object_whose_row_was_never_written_goes_when_it_is_due(home_of: Runtime) -> None:
    key = "user_data/u/tables/x.parquet"
    unclaimed.expect(home_of, key)
    home_of.data.put(key, b"left by who was killed")
    assert unclaimed.clear(home_of) == 0
    assert home_of.data.exists(key)
    make_due(home_of)
    assert work.reconcile(home_of) == 1
    assert not home_of.data.exists(key)
    assert noted(home_of) == set()


def test_a_row_claims_its_object_and_leaves_it_noted_when_it_goes(home_of: Runtime, tmp_path: Path) -> None:
    owner = home_of.accounts.add("owner@example.org").id
    row = a_table(home_of, tmp_path, owner)
    assert noted(home_of) == set()
    with home_of.catalog.write() as transaction:  # whoever removes it is killed before the object
        transaction.delete(transaction.get_one(UserTable, row.id))
    assert noted(home_of) == {row.url}
    assert unclaimed.clear(home_of) == 0  # whoever removed the row has its time
    make_due(home_of)
    assert unclaimed.clear(home_of) == 1
    assert not home_of.data.exists(row.key)


def test_rows_that_go_with_their_owner_leave_notes(home_of: Runtime, tmp_path: Path) -> None:
    owner = home_of.accounts.add("owner@example.org").id
    row = a_table(home_of, tmp_path, owner)
    with home_of.catalog.write() as transaction:
        transaction.execute(text("DELETE FROM users WHERE id = :id"), {"id": owner})
        assert transaction.get(User, owner) is None
    assert noted(home_of) == {row.url}


def test_an_object_that_a_row_points_at_stays_whatever_is_noted(home_of: Runtime, tmp_path: Path) -> None:
    row = a_table(home_of, tmp_path, home_of.accounts.add("owner@example.org").id)
    with home_of.catalog.write() as transaction:
        object_notes.expect(transaction, row.url)
    make_due(home_of)
    assert unclaimed.clear(home_of) == 0
    assert home_of.data.exists(row.key)
    assert noted(home_of) == set()


def test_an_object_that_is_stored_anew_is_not_removed_for_the_one_before(
    home_of: Runtime, tmp_path: Path
) -> None:
    row = a_table(home_of, tmp_path, home_of.accounts.add("owner@example.org").id)
    with home_of.catalog.write() as transaction:
        transaction.delete(transaction.get_one(UserTable, row.id))
    make_due(home_of)
    unclaimed.expect(home_of, row.key)
    assert unclaimed.clear(home_of) == 0
    assert home_of.data.exists(row.key)


def test_a_store_that_does_not_remove_an_object_holds_nothing_else_up(
    home_of: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note stays, and the next look begins with the others."""
    bad, good = (f"user_data/u/tables/{name}.parquet" for name in ("bad", "good"))
    for key in (bad, good):
        unclaimed.expect(home_of, key)
        home_of.data.put(key, b"x")
        make_due(home_of)
    delete = type(home_of.data).delete

    def refuse(store: ObjectStore, key: str) -> None:
        if key == bad:
            raise StoreUnavailable("away")
        delete(store, key)

    monkeypatch.setattr(type(home_of.data), "delete", refuse)
    looks = [work.reconcile(home_of) for _ in range(2)]
    assert sum(looks) == 1
    assert not home_of.data.exists(good)
    assert noted(home_of) == {home_of.data.url_of(bad)}


def test_a_place_that_is_emptied_of_its_rows_forgets_their_objects(home_of: Runtime, tmp_path: Path) -> None:
    """As of a move that came to nothing: the objects are those of the home that stays."""
    a_table(home_of, tmp_path, home_of.accounts.add("owner@example.org").id)
    with home_of.catalog.write() as transaction:
        rows.remove_all(transaction.connection(), [Base.metadata.tables["files"]])
    assert noted(home_of) == set()
