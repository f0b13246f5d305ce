"""What is stored, added up from the rows, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog import Catalog, usage, users
from ecluse.catalog.tables import ModelVersion, User

FIRST = datetime(2025, 11, 20, 23, 30, tzinfo=UTC)
NUMBER = itertools.count()


def add_user(catalog: Catalog, email: str) -> User:
    with catalog.write() as transaction:
        return users.add_user(transaction, email=email, name="", password_hash=None, role="member")


def upload(user: User, size: int, at: datetime = FIRST, name: str = "t.csv") -> Dataset:
    key = f"k/{next(NUMBER)}"
    return Dataset(
        user_id=user.id, filename=name, key=key, url=key, size_bytes=size, sha256="0", created_at=at
    )


def version(user: User, size: int, at: datetime = FIRST) -> ModelVersion:
    return ModelVersion(
        user_id=user.id,
        name="cards",
        version=f"v20251121_0410{next(NUMBER):02d}",
        prefix="p",
        size_bytes=size,
        manifest_digest="0",
        created_at=at,
    )


def result(user: User, dataset: Dataset | None, size: int | None, at: datetime = FIRST) -> Prediction:
    return Prediction(
        user_id=user.id,
        dataset_id=dataset.id if dataset else None,
        model_name="cards",
        version="v1",
        key=None if size is None else f"k/{next(NUMBER)}",
        size_bytes=size,
        created_at=at,
    )


def fill(catalog: Catalog) -> tuple[User, User]:
    """Two users: 5 GB and 300 bytes in three kinds for the first, 7 bytes for the second."""
    one, two = add_user(catalog, "one@example.org"), add_user(catalog, "two@example.org")
    table = upload(one, 5_000_000_000)
    with catalog.write() as transaction:
        transaction.add_all([table, upload(two, 7, name="other.csv")])
        transaction.flush()
        transaction.add_all(
            [
                result(one, table, 100, FIRST + timedelta(hours=1)),
                result(one, None, 50, FIRST + timedelta(days=2)),
                result(one, table, None),
                version(one, 150, FIRST + timedelta(days=2)),
            ]
        )
    return one, two


def test_each_kind_is_counted_for_one_user_and_for_all(catalog: Catalog) -> None:
    one, two = fill(catalog)
    with catalog.read() as transaction:
        mine = usage.usage_by_kind(transaction, one.id)
        all_ = usage.usage_by_kind(transaction)
        other = usage.usage_by_kind(transaction, two.id)
    assert [(k.kind, k.size, k.count) for k in mine] == [
        ("uploads", 5_000_000_000, 1),
        ("results", 150, 2),
        ("models", 150, 1),
        ("images", 0, 0),
    ]
    assert [k.size for k in all_] == [5_000_000_007, 150, 150, 0]
    assert [(k.size, k.count) for k in other] == [(7, 1), (0, 0), (0, 0), (0, 0)]
    assert [k.area for k in mine] == ["data", "data", "models", "images"]


def test_users_are_listed_by_what_they_have_stored_a_page_at_a_time(catalog: Catalog) -> None:
    fill(catalog)
    add_user(catalog, "none@example.org")
    with catalog.read() as transaction:
        everyone = usage.usage_by_user(transaction)
        second = usage.usage_by_user(transaction, limit=1, offset=1)
    assert [(u.email, u.size, u.count) for u in everyone] == [
        ("one@example.org", 5_000_000_300, 4),
        ("two@example.org", 7, 1),
        ("none@example.org", 0, 0),
    ]
    assert everyone[0].sizes == {"uploads": 5_000_000_000, "results": 150, "models": 150, "images": 0}
    assert [u.email for u in second] == ["two@example.org"]


def test_growth_adds_up_by_the_day_in_utc(catalog: Catalog) -> None:
    one, _ = fill(catalog)
    with catalog.read() as transaction:
        points = usage.growth(transaction, since=date(2025, 1, 1), user_id=one.id)
    assert [(p.day.isoformat(), p.size) for p in points] == [
        ("2025-11-20", 5_000_000_000),
        ("2025-11-21", 5_000_000_100),
        ("2025-11-22", 5_000_000_300),
    ]
    assert points[-1].sizes == {"uploads": 5_000_000_000, "results": 150, "models": 150, "images": 0}


def test_what_is_older_than_the_first_day_is_in_its_point(catalog: Catalog) -> None:
    one, _ = fill(catalog)
    with catalog.read() as transaction:
        points = usage.growth(transaction, since=date(2025, 11, 21), user_id=one.id)
        later = usage.growth(transaction, since=date(2026, 1, 1))
    assert [(p.day.isoformat(), p.size) for p in points] == [
        ("2025-11-21", 5_000_000_100),
        ("2025-11-22", 5_000_000_300),
    ]
    assert [(p.day.isoformat(), p.size) for p in later] == [("2026-01-01", 5_000_000_307)]


def test_the_largest_things_are_those_of_the_user_and_bear_their_names(catalog: Catalog) -> None:
    one, _ = fill(catalog)
    with catalog.read() as transaction:
        items = usage.largest(transaction, one.id, limit=3)
    assert [item.size for item in items] == [5_000_000_000, 150, 100]
    assert [(item.kind, item.name) for item in items] == [
        ("uploads", "t.csv"),
        ("models", "cards"),
        ("results", "t.csv"),
    ]
    assert items[1].version
    assert items[0].created_at == FIRST


def test_images_count_one_by_one_and_are_large_as_sets(catalog: Catalog) -> None:
    one, two = fill(catalog)
    with catalog.write() as transaction:
        leaves = ImageSet(user_id=one.id, name="leaves", created_at=FIRST)
        empty = ImageSet(user_id=two.id, name="empty", created_at=FIRST)
        transaction.add_all([leaves, empty])
        transaction.flush()
        columns = {"user_id": one.id, "set_id": leaves.id, "label": "a", "imported_label": "a", "origin": "o"}
        stored = [
            Image(sha256=str(n), url=f"k/{n}", size_bytes=2_000_000_000, created_at=FIRST, **columns)
            for n in range(3)
        ]
        refused = Image(sha256="r", size_bytes=9, state="rejected", created_at=FIRST, **columns)
        transaction.add_all([*stored, refused])
    with catalog.read() as transaction:
        mine = {k.kind: k for k in usage.usage_by_kind(transaction, one.id)}
        items = usage.largest(transaction, one.id, limit=2)
        points = usage.growth(transaction, since=date(2025, 1, 1), user_id=one.id)
        users_ = usage.usage_by_user(transaction)
        others = usage.largest(transaction, two.id)
    assert (mine["images"].size, mine["images"].count) == (6_000_000_000, 3)
    assert (items[0].kind, items[0].id, items[0].name) == ("images", leaves.id, "leaves")
    assert [item.size for item in items] == [6_000_000_000, 5_000_000_000]
    assert points[0].sizes["images"] == 6_000_000_000
    assert (users_[0].sizes["images"], users_[0].count) == (6_000_000_000, 7)
    assert [item.kind for item in others] == ["uploads"]


def test_an_empty_catalog_has_nothing_stored(catalog: Catalog) -> None:
    with catalog.read() as transaction:
        assert {k.size for k in usage.usage_by_kind(transaction)} == {0}
        assert usage.usage_by_user(transaction) == []
        assert usage.growth(transaction, since=date(2025, 1, 1)) == []
