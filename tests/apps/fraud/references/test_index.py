"""The index finds the references that a table matches among many, and follows the library's changes."""

from __future__ import annotations

import random

from ecluse.apps.fraud.references.facts import ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.matching import match_table
from ecluse.apps.fraud.tables.sketches import ColumnSketch
from tests.apps.fraud.references.drawing import WORDS, payments, reference


def stray(number: int) -> ReferenceFacts:
    """A reference of random words."""
    draw = random.Random(number)
    names = {"_".join(draw.sample(WORDS, 2)) for _ in range(draw.randint(2, 12))}
    columns = [
        ColumnSketch(name, "number", 0, 0, 0, 0, 0.5, tuple(map(float, range(21)))) for name in sorted(names)
    ]
    return reference(f"stray {number}", columns)


def test_a_reference_is_found_among_many() -> None:
    index = ReferenceIndex.of([*(stray(n) for n in range(300)), reference("bank", payments(1))])
    assert len(index) == 301
    assert index.search(payments(2), 5)[0].name == "bank"
    opaque = {column.name: f"x{place}" for place, column in enumerate(payments(1))}
    assert "bank" in [found.name for found in index.search(payments(2, opaque), 20)]
    assert match_table(payments(2, opaque), index).matches[0].reference == "bank"


def test_an_index_that_was_updated_is_as_one_made_anew() -> None:
    first = [stray(n) for n in range(20)]
    changed = [reference("stray 3", payments(1)), reference("bank", payments(2))]
    updated = ReferenceIndex.of(first).updated(changed, removed=["stray 7", "of no name"])
    kept = [one for one in first if one.name not in ("stray 3", "stray 7")]
    anew = ReferenceIndex.of([*kept, *changed])
    assert updated.names == anew.names
    for table in (payments(3), stray(5).columns):
        assert match_table(table, updated, limit=9) == match_table(table, anew, limit=9)


def test_of_two_references_of_one_name_the_later_counts() -> None:
    index = ReferenceIndex.of([reference("bank", list(stray(1).columns)), reference("bank", payments(1))])
    assert index.names == ("bank",)
    assert not match_table(payments(2), index).abstain


def test_references_without_columns_and_importances_that_say_nothing_are_no_error() -> None:
    empty = ReferenceFacts("empty", "cards", (), {})
    unknown = ReferenceFacts("bank", "cards", tuple(payments(1)), {})
    index = ReferenceIndex.of([empty, unknown])
    assert index.names == ("bank",)
    assert not match_table(payments(2), index).abstain
    assert ReferenceIndex.of([]).search(payments(1)) == ()
    assert index.search([]) == ()
    assert index.updated(removed=["bank"]).search(payments(1)) == ()


def test_memory_is_counted() -> None:
    small, large = (ReferenceIndex.of(stray(n) for n in range(count)) for count in (10, 100))
    assert small.nbytes * 5 < large.nbytes
