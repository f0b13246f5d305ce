"""Files of an application that the core has never heard of: counted, verified, moved and removed like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from ecluse import migration, moving, people
from ecluse.catalog import files, usage
from ecluse.catalog.tables import File, User, new_id
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import run_ecluse

EMAIL = "writer@example.org"


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return Settings.from_environment(environ)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    with Runtime.open(settings) as opened:
        yield opened


@pytest.fixture
def writer(runtime: Runtime, tmp_path: Path) -> User:
    """Someone with a letter of two pages, a folder of drafts and a version of a model, all of an application "letters"."""
    runtime.accounts.add("admin@example.org", admin=True)
    user = runtime.accounts.add(EMAIL)
    store, registry = runtime.data, runtime.registry_in("letters/models")
    store.put("letters/drafts/a.txt", b"a draft")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "w.bin").write_bytes(b"weights")
    published = registry.publish("speller", weights, created_by=user.id, nonce=new_id(), metadata={})
    letter = {"table_name": "letters", "row_id": "letter1", "user_id": user.id, "application": "letters"}
    with runtime.catalog.write() as transaction:
        for name, content in (("page-1", b"Dear"), ("page-2", b"Sincerely")):
            stored = store.put(f"letters/{name}.txt", content)
            files.add(
                transaction,
                File(
                    **letter, name=name, kind="letters", counted=True, key=stored.key,
                    url=store.url_of(stored.key), sha256=stored.sha256, size_bytes=stored.size,
                ),
            )  # fmt: skip
        folder = {"kind": "drafts", "form": "folder", "url": store.url_of("letters/drafts")}
        files.add(transaction, File(**letter, name="drafts", **folder))
        files.add(
            transaction,
            File(
                table_name="spellers", row_id="s1", user_id=user.id, application="letters", kind="spellers",
                form="version", area="models", counted=True, url=registry.url_of("speller", published.version),
                sha256=published.digest, size_bytes=published.size,
            ),
        )  # fmt: skip
    return user


def addresses(runtime: Runtime) -> dict[str, str]:
    with runtime.catalog.read() as transaction:
        return {file.row: file.url for file in files.files(transaction)}


def test_they_are_counted_as_what_they_are(runtime: Runtime, writer: User) -> None:
    with runtime.catalog.read() as transaction:
        kinds = {
            counted.kind: (counted.size, counted.count, counted.area)
            for counted in usage.usage_by_kind(transaction, writer.id)
        }
        by_user = {counted.email: counted for counted in usage.usage_by_user(transaction)}
        growth = usage.growth(transaction, since=writer.created_at.date(), user_id=writer.id)
        largest = usage.largest(transaction, writer.id)
    assert kinds["letters"] == (13, 2, "data")
    assert kinds["spellers"][1:] == (1, "models")
    assert kinds["uploads"] == (0, 0, "data")
    assert by_user[EMAIL].sizes["letters"] == 13
    assert (by_user[EMAIL].count, growth[-1].sizes["letters"]) == (3, 13)
    assert {(counted.kind, counted.id, counted.size) for counted in largest} >= {("letters", "letter1", 13)}


def test_they_are_verified(settings: Settings, runtime: Runtime, writer: User) -> None:
    environment = {"DATABASE_URL": settings.database_url}

    def amiss() -> tuple[list[str], list[str], list[str]]:
        verified = json.loads(run_ecluse(settings.home, environment, "storage", "verify", "--json").stdout)
        return verified["missing"], verified["different"], verified["extra"]

    assert amiss() == ([], [], [])
    runtime.data.put("letters/page-1.txt", b"Hate")
    runtime.data.delete("letters/page-2.txt")
    page = runtime.data.url_of("letters/page-{}.txt").format
    assert amiss() == ([page(2)], [page(1)], [])


def test_they_migrate_and_go_back(runtime: Runtime, writer: User, tmp_path: Path) -> None:
    before, elsewhere = addresses(runtime), f"file://{tmp_path}/elsewhere"
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=elsewhere, switch_rows=True),
    )
    assert plan.id is not None
    done = migration.run(runtime.catalog, runtime.stores, plan.id)
    assert (done.rows_switched, done.rows_left) == (3, ())
    now = addresses(runtime)
    assert {row for row in now if now[row].startswith(elsewhere)} == {
        "letters letter1 page-1", "letters letter1 page-2", "spellers s1"
    }  # fmt: skip
    assert migration.verify(runtime.catalog, runtime.stores, plan.id).passed
    assert migration.rollback(runtime.catalog, runtime.stores, plan.id).rows_back == 3
    assert addresses(runtime) == before


def test_they_move_with_the_home(settings: Settings, runtime: Runtime, writer: User, tmp_path: Path) -> None:
    before = addresses(runtime)
    there = Settings.from_environment({}, home=tmp_path / "there")
    with moving.opened(settings, there) as both:
        assert moving.run(both).left == ()
        assert moving.verify(both).passed
    with Runtime.open(there) as moved:
        now = addresses(moved)
        assert now.keys() == before.keys()
        assert all(url.startswith(f"file://{there.home}/") for url in now.values())
        page = moved.stores.locate(now["letters letter1 page-1"])
        assert page.store.get(page.key) == b"Dear"


def test_they_end_with_their_row(runtime: Runtime, writer: User) -> None:
    before = addresses(runtime)
    with runtime.catalog.write() as transaction:
        removed = files.remove(transaction, "letters", ["letter1"], names=["page-1"])
    assert removed == [before.pop("letters letter1 page-1")]
    assert addresses(runtime) == before
    with runtime.catalog.write() as transaction:
        assert len(files.remove(transaction, "letters", ["letter1", "letter2"])) == 2
    assert list(addresses(runtime)) == ["spellers s1"]


def test_they_end_with_the_account(runtime: Runtime, writer: User) -> None:
    with pytest.raises(InvalidInput, match="letters: 1, spellers: 1"):
        people.remove(runtime, EMAIL)
    people.remove(runtime, EMAIL, everything=True)
    with runtime.catalog.read() as transaction:
        assert transaction.scalars(select(File)).all() == []
    assert [info.key for info in runtime.data.list("letters")] == []
