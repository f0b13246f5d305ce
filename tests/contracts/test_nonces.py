"""A nonce begins one thing of one person, on every database, also where two begin at once."""

from __future__ import annotations

import threading

from sqlalchemy import func, select

from ecluse.catalog import Catalog, quotas, runs, uploads, user_tables
from ecluse.catalog.tables import ModelUpload, Run, User, UserTable


def add_user(catalog: Catalog, email: str) -> User:
    user = User(email=email)
    with catalog.write() as transaction:
        transaction.add(user)
    return user


def test_an_upload_or_a_run_that_its_nonce_has_begun_is_not_begun_again(catalog: Catalog) -> None:
    user, other = add_user(catalog, "a@b.c"), add_user(catalog, "d@e.f")

    def begin(owner: User, nonce: str, version: str) -> tuple[bool, bool]:
        upload = ModelUpload(
            user_id=owner.id, name="m", version=version, nonce=nonce, part_bytes=1, url="file:///x/m/v"
        )
        run = Run(user_id=owner.id, application="", kind="own", name="m", nonce=nonce)
        with catalog.write() as transaction:
            return uploads.add(transaction, upload), runs.begin_by_nonce(transaction, run)

    assert begin(user, "n", "v20260101_000000") == (True, True)
    assert begin(user, "n", "v20260101_000001") == (False, False)
    assert begin(other, "n", "v20260101_000000") == (True, True)
    assert begin(user, "o", "v20260101_000002") == (True, True)
    with catalog.read() as transaction:
        first = uploads.find(transaction, user.id, "m", "n")
        assert first is not None
        assert (first.version, first.url) == ("v20260101_000000", "file:///x/m/v")
        assert uploads.count_open(transaction, user.id) == 2
        run = runs.run_by_nonce(transaction, user.id, "n")
        assert run is not None
        assert run.status == "running"


def test_of_two_tables_of_one_nonce_at_once_one_is_kept(catalog: Catalog) -> None:
    """The second is told of the first, with no fault, and the room that both had is used once."""
    user, start = add_user(catalog, "a@b.c"), threading.Barrier(6)
    for attempt in range(4):
        outcomes: list[tuple[str, str]] = []

        def keep(number: int, table_id: str, outcomes: list[tuple[str, str]] = outcomes) -> None:
            made = UserTable(id=table_id, user_id=user.id, name="a", rows=1, columns=[], notes=[])
            made.key = f"user_data/{user.id}/tables/{number}.parquet"
            made.url, made.size_bytes, made.sha256 = f"file:///x/{made.key}", 7, "0" * 64
            start.wait()
            with catalog.write() as transaction:
                kept = user_tables.add(transaction, made)
                outcomes.append((kept.id, kept.key))

        threads = [threading.Thread(target=keep, args=(number, f"{attempt:032}")) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 6
        assert len(set(outcomes)) == 1
    with catalog.read() as transaction:
        assert transaction.scalar(select(func.count()).select_from(UserTable)) == 4
        assert quotas.used_by(transaction, user.id).stored_bytes == 4 * 7
