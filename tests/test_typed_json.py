"""Stored JSON becomes typed records and JSON again; what is not of its type is refused with its place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.errors import UnreadableRecord
from ecluse.typed_json import optional, read, write


@dataclass(frozen=True)
class Point:
    x: float
    y: float | None


@dataclass(frozen=True, kw_only=True)
class Drawing:
    title: str
    kind: Literal["line", "bar"] = "line"
    points: tuple[Point, ...] = ()
    range: tuple[float, float] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    visible: bool = True
    note: str | None = optional()
    source: str | None = optional(key="from")
    tags: tuple[str, ...] = optional(())
    any: Any = None


numbers = st.floats(allow_nan=False, allow_infinity=False)
drawings = st.builds(
    Drawing,
    title=st.text(),
    kind=st.sampled_from(("line", "bar")),
    points=st.lists(st.builds(Point, numbers, st.none() | numbers), max_size=4).map(tuple),
    range=st.none() | st.tuples(numbers, numbers),
    counts=st.dictionaries(st.text(), st.integers()),
    visible=st.booleans(),
    note=st.none() | st.text(),
    source=st.none() | st.text(),
    tags=st.lists(st.text(), max_size=3).map(tuple),
    any=st.none() | st.integers() | st.lists(st.text(), max_size=2),
)


@given(drawings)
def test_what_is_written_reads_back_the_same(drawing: Drawing) -> None:
    stored = json.loads(json.dumps(write(drawing)))
    assert read(Drawing, stored, "drawing.json") == drawing


def test_optional_fields_are_left_out_while_they_have_their_default_and_other_nones_are_null() -> None:
    assert write(Drawing(title="t")) == {
        "title": "t", "kind": "line", "points": [], "range": None, "counts": {}, "visible": True, "any": None,
    }  # fmt: skip
    assert write(Drawing(title="t", source="v1", tags=("a",)))["from"] == "v1"


def test_a_key_of_a_later_release_is_left_out_and_one_of_an_older_takes_its_default() -> None:
    assert read(Drawing, {"title": "t", "invented later": 1}, "drawing.json") == Drawing(title="t")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"title": 3}, "drawing.json.title is '3', not str."),
        ({"kind": "pie"}, "drawing.json.kind is 'pie', not one of 'line', 'bar'."),
        ({"points": [{"x": "1", "y": 2}]}, "drawing.json.points.x is '1', not float."),
        ({"points": [{"x": 1}]}, "drawing.json.points has no 'y'."),
        ({"points": {"x": 1}}, "drawing.json.points is \"{'x': 1}\", not a list."),
        ({"range": [1, 2, 3]}, "drawing.json.range is '[1, 2, 3]', not a list of 2."),
        ({"counts": {"a": 1.5}}, "drawing.json.counts.a is '1.5', not int."),
        ({"counts": {"a": True}}, "drawing.json.counts.a is 'True', not int."),
        ({"visible": 1}, "drawing.json.visible is '1', not bool."),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreadableRecord) as raised:
        read(Drawing, {"title": "t"} | changed, "drawing.json")
    assert str(raised.value) == said
