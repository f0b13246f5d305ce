"""A home of the release before files had a table of their own opens with everything in it, on both databases.

`tests/data/old_home.json` was made by that release, whose tables are those of migration 0012: `rows` is what stood in
them, `objects` what lay in its stores, and `facts` what it said of both: addresses, digests, bytes, what is stored.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, null, select

import ecluse.catalog as catalog_package
from ecluse import migration, moving
from ecluse.apps.plants.tables import ImageSet
from ecluse.catalog import Catalog, files, usage
from ecluse.catalog.tables import Base, File, MigrationRow, User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import run_ecluse
from tests.migrating import check_rows

#: The run whose version was deleted.
GONE = ("runs gone",)
STAGED = ("image_sets", "set1", "")
OLD: Path = Path(__file__).parent / "data" / "old_home.json"


@pytest.fixture
def old(tmp_path: Path) -> dict[str, Any]:
    return dict(json.loads(OLD.read_text().replace("@HOME@", str(tmp_path / "home"))))


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, old: dict[str, Any]) -> Settings:
    """Those of a home as the release before left it."""
    chosen = (
        {"DATABASE_URL": request.getfixturevalue("postgresql_url")} if request.param == "postgresql" else {}
    )
    settings = Settings.from_environment(chosen, home=tmp_path / "home")
    for name, content in old["objects"].items():
        file = settings.home / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_bytes(base64.b64decode(content))
    settings.home.chmod(0o700)
    catalog = Catalog(settings.database_url)
    config = Config()
    config.set_main_option("script_location", str(Path(catalog_package.__file__).parent / "migrations"))
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0012")
        there = MetaData()
        there.reflect(connection)
        for table, rows in old["rows"].items():
            for row in rows:
                values = {name: read_value(value) for name, value in row.items()}
                connection.execute(there.tables[table].insert().values(values))
    catalog.close()
    return settings


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    with Runtime.open(settings) as opened:
        yield opened


def read_value(value: Any) -> Any:
    if isinstance(value, dict) and "$time" in value:
        return datetime.fromisoformat(value["$time"])
    return null() if value is None else value


def test_every_row_says_of_its_files_what_it_said_before(runtime: Runtime, old: dict[str, Any]) -> None:
    classes = {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers}
    with runtime.catalog.read() as transaction:
        for name, rows in old["facts"]["rows"].items():
            kind = classes[name]
            now = {row.id: row for row in transaction.scalars(select(kind))}
            assert sorted(now) == sorted(row["id"] for row in rows)
            for row in rows:
                assert {fact: getattr(now[row["id"]], fact) for fact in row} == row


def test_what_is_stored_adds_up_to_the_same(runtime: Runtime, old: dict[str, Any]) -> None:
    facts = old["facts"]
    with runtime.catalog.read() as transaction:
        users = transaction.scalars(select(User).order_by(User.email)).all()
        kinds = {"": usage.usage_by_kind(transaction)}
        kinds |= {user.email: usage.usage_by_kind(transaction, user.id) for user in users}
        by_user, growth = usage.usage_by_user(transaction), usage.growth(transaction, since=date(2026, 1, 1))
        largest = [item for user in users for item in usage.largest(transaction, user.id)]
    assert facts["kinds"] == {
        email: [[kind.kind, kind.area, kind.size, kind.count] for kind in listed]
        for email, listed in kinds.items()
    }
    assert facts["users"] == [[one.email, *one.sizes.values(), one.count] for one in by_user]
    assert facts["growth"] == [[point.day.isoformat(), *point.sizes.values()] for point in growth]
    assert facts["largest"] == [[one.kind, one.id, one.name, one.version, one.size] for one in largest]


def test_its_objects_verify_migrate_and_go_back(runtime: Runtime, tmp_path: Path) -> None:
    check_rows(runtime, GONE)
    with runtime.catalog.read() as transaction:
        before = {files.key_of(file): file.url for file in files.files(transaction)}
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=f"file://{tmp_path}/new", switch_rows=True),
    )
    assert plan.id is not None
    migration.run(runtime.catalog, runtime.stores, plan.id)
    check_rows(runtime, GONE)
    with runtime.catalog.read() as transaction:
        now = {files.key_of(file): file.url for file in files.files(transaction)}
    root = runtime.data.url.rstrip("/")
    assert {key for key in now if now[key] != before[key]} == {
        key
        for key in before
        if before[key].startswith(f"{root}/") and key[1:] != ("gone", "") and key != STAGED
    }
    migration.rollback(runtime.catalog, runtime.stores, plan.id)
    with runtime.catalog.read() as transaction:
        assert {files.key_of(file): file.url for file in files.files(transaction)} == before


def test_its_earlier_migrations_are_rolled_back(runtime: Runtime, old: dict[str, Any]) -> None:
    with runtime.catalog.read() as transaction:
        journal = {
            (row.table_name, row.name or row.row_id): row.url
            for row in transaction.scalars(select(MigrationRow))
        }
    former = {
        ("image_sets" if table == "images" else table, row_id): url
        for table, row_id, url in old["facts"]["journal"]
    }
    assert journal == former
    for one in migration.list_migrations(runtime.catalog):
        assert migration.rollback(runtime.catalog, runtime.stores, one.id).rows_back == 2
    with runtime.catalog.read() as transaction:
        now = {(file.table_name, file.name or file.row_id): file.url for file in files.files(transaction)}
    assert {key: now[key] for key in former} == former


def test_storage_verify_finds_its_objects_whole(settings: Settings) -> None:
    with Runtime.open(settings) as runtime, runtime.catalog.read() as transaction:
        left = sorted(row.url for row in transaction.scalars(select(MigrationRow)))
        late = [file.url for file in files.files(transaction) if file.kind == "publications"]
    done = run_ecluse(settings.home, {"DATABASE_URL": settings.database_url}, "storage", "verify", "--json")
    verified = json.loads(done.stdout)
    assert (verified["missing"], verified["different"]) == ([], [])
    # What its migrations left at their sources is nobody's, nor is what is announced and has no row yet.
    assert [url for url in verified["extra"] if not url.startswith(late[0])] == left


@pytest.mark.nightly
def test_it_moves_to_another_database_and_other_stores(settings: Settings, tmp_path: Path) -> None:
    there = Settings.from_environment({}, home=tmp_path / "there")
    with moving.opened(settings, there) as both:
        both.source.catalog.migrate()
    with Runtime.open(settings) as source, source.catalog.write() as transaction:
        # Files in folders that are no part of a home do not move with it.
        outside = [
            key
            for key in map(files.key_of, files.files(transaction))
            if "elsewhere" in address(transaction, key)
        ]
        for key in outside:
            transaction.delete(transaction.get_one(File, key))
    with moving.opened(settings, there) as both:
        moving.run(both)
        assert moving.verify(both).passed
    with Runtime.open(there) as moved:
        check_rows(moved, GONE)
        with moved.catalog.read() as transaction:
            staged = transaction.get_one(ImageSet, "set1").staged_url
    assert staged is not None
    assert staged.startswith(f"file://{there.home}")


def address(transaction: Any, key: files.Key) -> str:
    file = files.find(transaction, key)
    return "" if file is None else file.url
