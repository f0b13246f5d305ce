"""Laws of keys: nothing that is accepted leaves its scope, on any reading."""

from __future__ import annotations

import posixpath
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecluse.errors import InvalidKey
from ecluse.storage import checked_key, is_within, join_key, keys, open_store, safe_filename

_PIECES = st.sampled_from(
    [
        "a",
        "..",
        ".",
        "",
        "/",
        "//",
        "%2e",
        "%2E%2e",
        "%252e",
        "%2f",
        "\\",
        "．",
        "․",
        "‥",
        "／",
        "\x00",
        "\u202e",
        " ",
        "é",
    ]
)
_KEYS = st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=8).map("".join))


@given(_KEYS)
@example("%252e%252e/x")
@example("a/．．/b")
@example("a/‥/b")
def test_an_accepted_key_stays_in_its_scope_however_it_is_read(key: str) -> None:
    try:
        checked = checked_key(key)
    except InvalidKey:
        return
    readings, decoded = {checked}, checked
    while (once := unquote(decoded)) != decoded:
        decoded = once
        readings.add(decoded)
    for reading in readings | {unicodedata.normalize("NFKC", r) for r in readings}:
        resolved = posixpath.normpath(posixpath.join("/scope", reading.replace("\\", "/")))
        assert resolved.startswith("/scope/")
    assert is_within(join_key("scope", checked), "scope")


@given(_KEYS, st.binary(max_size=20))
def test_a_scoped_store_writes_only_below_its_prefix(key: str, data: bytes) -> None:
    root = open_store("memory://")
    try:
        root.scoped("users/1").put(key, data)
    except InvalidKey:
        assert list(root.list()) == []
        return
    assert [info.key for info in root.list()] == [f"users/1/{key}"]
    assert root.scoped("users/1").get(key) == data


@given(st.text(max_size=300))
def test_a_file_name_becomes_one_plain_segment(name: str) -> None:
    cleaned = safe_filename(name)
    assert cleaned.isascii()
    assert "/" not in checked_key(cleaned)
    assert len(cleaned) <= 120


@pytest.mark.parametrize(
    ("key", "prefix", "within"),
    [
        ("user_data/1/predictions/x.csv", "user_data/1/predictions", True),
        ("user_data/12/predictions/x.csv", "user_data/1", False),
        ("user_data/1", "user_data/1", False),
        ("user_data/1x/y", "user_data/1", False),
    ],
)
def test_prefixes_are_compared_by_segment(key: str, prefix: str, within: bool) -> None:
    assert is_within(key, prefix) is within


@given(st.from_regex(keys._PLAIN, fullmatch=True).filter(lambda key: len(key) <= keys.MAX_KEY_BYTES))
def test_a_key_that_is_plain_at_a_glance_is_one_at_a_closer_look(key: str) -> None:
    assert keys._closely_checked(key) == checked_key(key) == key
