"""What no document may be is refused before any database is asked, with the value's place and the way out."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.documents.canonical import (
    _ENCODER,
    DEPTH_LIMIT,
    KEY_LIMIT,
    TEXT_LIMIT,
    WEIGHT_LIMIT,
    _common_text,
    _object,
    _weight,
    checked_key,
    checked_kind,
    entry,
)
from ecluse.errors import InvalidDocument


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"a": {"b": [1, math.nan]}}, "a.b[1] is nan"),
        ({"a": math.inf}, "inf"),
        ({"a": 1e-131}, "1e-131"),
        ({"a": -1e126}, "-1e+126"),
        ({"a": 5e-324}, "5e-324"),
        ({"a": 2**53 + 1}, "2^53"),
        ({"a": "x\x00y"}, "NUL"),
        ({"a": ["\ud800"]}, "a[0]"),
        ({"a": {1: 2}}, "name 1"),
        ({"a": {"": 2}}, "name ''"),
        ({"$a": 2}, "'$a'"),
        ({"a": {"b.c": 2}}, "'b.c'"),
        ({"a\x00": 2}, "'a\\x00'"),
        ({"\udfff": 2}, "name"),
        ({"a": {1, 2}}, "set"),
        ({"a": b"bytes"}, "bytes"),
    ],
)
def test_a_value_that_not_every_database_keeps_is_named(body: dict[Any, Any], named: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        entry("metrics/zones", "2025-10-14", body)
    assert "metrics/zones 2025-10-14" in str(caught.value)
    assert named in str(caught.value)


def test_a_body_is_an_object() -> None:
    with pytest.raises(InvalidDocument, match="list"):
        entry("metrics/zones", "2025-10-14", [1])  # type: ignore[arg-type]


def test_depth_ends_where_it_is_said_to() -> None:
    value: Any = 1
    for _ in range(DEPTH_LIMIT - 1):
        value = [value]
    entry("a", "k", {"a": value})
    with pytest.raises(InvalidDocument, match="20"):
        entry("a", "k", {"a": [value]})


def test_a_body_is_brought_into_one_form() -> None:
    made = entry("a", "k", {"b": 2.0, "a": (1, -0.0, 1e20), "c": True, "é": "é"})
    assert made.text == '{"a":[1,0,1e+20],"b":2,"c":true,"é":"é"}'
    assert json.loads(made.text) == made.body


def test_a_body_given_stays_as_it_was() -> None:
    body = {"b": [2.0], "a": 1}
    entry("a", "k", body)
    assert repr(body) == "{'b': [2.0], 'a': 1}"


@pytest.mark.parametrize(
    "kind", ["", "/", "a/", "/a", "a//b", "Metrics", "a b", "é", "a\n", "a" * 256, "../\x1f", 3]
)
def test_what_is_no_kind_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidDocument):
        checked_kind(kind)


@pytest.mark.parametrize(
    "key", ["", "a\n", "\x00", "\x7f", "\x85", "\ud800", "a" * (KEY_LIMIT + 1), "é" * 257, 3]
)
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(InvalidDocument):
        checked_key(key)


def test_the_longest_kind_and_key_are_taken() -> None:
    assert checked_kind("a" * 255)
    assert checked_key("é" * 256)


def test_lists_of_lists_that_dynamodb_would_not_keep_are_refused_below_the_limit_of_text() -> None:
    nested = {"a": [[[[[[[[[[]]]]]]]]]] * 12_000}
    assert len(json.dumps(nested, separators=(",", ":"))) < TEXT_LIMIT
    with pytest.raises(InvalidDocument, match=r"432008.*400000"):
        entry("a", "k", nested)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(0.001, 1e6) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(values)
def test_a_value_weighs_twice_its_text_at_most(value: Any) -> None:
    """So a document whose text is half of what DynamoDB keeps need not be weighed."""
    text = json.dumps({"v": value}, ensure_ascii=False, separators=(",", ":"))
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return
    assert _weight({"v": value}) <= 2 * size + 1


def test_kind_key_and_attributes_fit_beside_the_heaviest_body() -> None:
    assert WEIGHT_LIMIT + len("kindkeybody") + 255 + KEY_LIMIT < 400 * 1024


_ODD = st.sampled_from(
    [math.nan, math.inf, 1e-131, -1e126, 5e-324, -0.0, 2.0**53, 2.0**60, 2**53 + 1, "\x00", "\ud800"]
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _ODD,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), _ANY, max_size=4))
def test_what_is_looked_at_all_at_once_becomes_what_it_becomes_value_by_value(body: dict[str, Any]) -> None:
    try:
        expected = _ENCODER.encode(_object("name", "", body, 1))
    except InvalidDocument as error:
        with pytest.raises(InvalidDocument) as caught:
            _common_text("name", body)
        assert str(caught.value) == str(error)
    else:
        assert _common_text("name", body) == expected
