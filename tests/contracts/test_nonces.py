"""A nonce begins one thing of one person, on every database, also where two begin at once."""

from __future__ import annotations

from ecluse.catalog import Catalog, runs, uploads
from ecluse.catalog.tables import ModelUpload, Run, User


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
