"""Laws of digests: whoever hashes, and however the bytes are cut, the digest is that of the bytes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.storage import Digest
from ecluse.storage.digests import AHEAD, ALONE


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, ALONE), max_size=3 * AHEAD))
def test_bytes_hashed_beside_have_the_digest_of_all_of_them(sizes: list[int]) -> None:
    digest = Digest()
    chunks = [bytes([place]) * size for place, size in enumerate(sizes)]
    written: list[bytes] = []
    assert list(digest.beside(chunks, written.append)) == written == chunks
    stored = digest.stored("key")
    assert (stored.size, stored.sha256) == (sum(sizes), hashlib.sha256(b"".join(chunks)).hexdigest())


def test_bytes_of_two_sources_are_hashed_in_their_order() -> None:
    digest, chunks = Digest(), [b"a" * ALONE, b"b" * ALONE]
    for _ in digest.beside(chunks):
        pass
    for _ in digest.through([b"c"]):
        pass
    assert digest.stored("").sha256 == hashlib.sha256(b"".join([*chunks, b"c"])).hexdigest()


def test_an_error_of_the_source_ends_the_hash_and_its_thread() -> None:
    def broken() -> Iterator[bytes]:
        yield from [b"x" * ALONE] * 3
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(Digest().beside(broken()))
    assert not _hashing()


def test_who_stops_in_the_middle_leaves_no_thread() -> None:
    chunks = Digest().beside(b"x" * ALONE for _ in range(100))
    for _ in range(5):
        next(chunks)
    assert _hashing()
    chunks.close()  # type: ignore[attr-defined]
    assert not _hashing()


def test_what_cannot_be_hashed_is_an_error_also_in_another_thread() -> None:
    with pytest.raises(TypeError):
        list(Digest().beside([b"x" * ALONE, "text"]))  # type: ignore[list-item]


def test_a_write_that_fails_is_an_error_however_late_it_comes() -> None:
    def refuse(chunk: bytes) -> None:
        if chunk == b"last":
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        list(Digest().beside([b"x" * ALONE, b"last"], refuse))


def _hashing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("digest")]
