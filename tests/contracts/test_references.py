"""What the catalog keeps of the reference library, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest

from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.catalog import Catalog
from ecluse.errors import NotFound


def reference(name: str, version: str = "v20251121_000000", **values: Any) -> ReferenceModel:
    told = {
        "domain": "cards",
        "columns": ["amount"],
        "performance": {"roc_auc": 0.9},
        "prefix": f"automl_models/{name}/{version}",
        "url": f"s3://b/automl_models/{name}/{version}",
        "target": "fraud",
        "manifest_digest": version,
        "size_bytes": 5_000_000_000,
        "sketches": [{"name": "amount", "importance": 1.0}],
    }
    return ReferenceModel(name=name, version=version, **(told | values))


def keep(catalog: Catalog, row: ReferenceModel) -> ReferenceModel:
    with catalog.write() as transaction:
        return references.keep_reference(transaction, row)


def revision(catalog: Catalog) -> tuple[object, ...]:
    with catalog.read() as transaction:
        return references.revision(transaction)


def test_references_are_listed_by_name_by_page_and_by_domain(catalog: Catalog) -> None:
    for name, domain in (("c", "loans"), ("a", "cards"), ("b", "cards")):
        keep(catalog, reference(name, domain=domain))
    with catalog.read() as transaction:
        assert [row.name for row in references.list_references(transaction)] == ["a", "b", "c"]
        assert [row.name for row in references.list_references(transaction, limit=1, offset=1)] == ["b"]
        assert [row.name for row in references.list_references(transaction, domain="loans")] == ["c"]
        assert references.count_references(transaction, domain="cards") == 2
        assert references.count_references(transaction) == 3
        assert references.domains(transaction) == {"cards": 2, "loans": 1}
        named = references.references_named(transaction, ["c", "a", "nowhere"])
        assert [row.name for row in named] == ["a", "c"]
        assert references.reference_of(transaction, "a").size_bytes == 5_000_000_000


def test_a_reference_that_does_not_exist_is_told_with_the_way_out(catalog: Catalog) -> None:
    with catalog.read() as transaction, pytest.raises(NotFound, match="ecluse fraud references list"):
        references.reference_of(transaction, "nowhere")


def test_another_version_takes_the_place_of_the_first_and_forgets_what_was_measured(catalog: Catalog) -> None:
    first = keep(catalog, reference("a"))
    with catalog.write() as transaction:
        assert references.set_transfer(transaction, first, {"count": 2})
    keep(catalog, reference("a"))
    with catalog.read() as transaction:
        assert references.reference_of(transaction, "a").transfer == {"count": 2}
    keep(catalog, reference("a", "v20251122_000000", domain="loans", sketches=[]))
    with catalog.read() as transaction:
        (row,) = references.list_references(transaction)
    assert (row.id, row.version, row.domain, row.transfer) == (first.id, "v20251122_000000", "loans", {})
    assert row.sketches == []


def test_what_was_measured_of_a_replaced_reference_is_not_kept(catalog: Catalog) -> None:
    first = keep(catalog, reference("a"))
    keep(catalog, reference("a", "v20251122_000000"))
    with catalog.write() as transaction:
        assert not references.set_transfer(transaction, first, {"count": 2})
    with catalog.read() as transaction:
        assert references.reference_of(transaction, "a").transfer == {}


def test_the_revision_changes_with_every_change_and_with_nothing_else(catalog: Catalog) -> None:
    seen = [revision(catalog)]
    rows = [keep(catalog, reference("a"))]
    seen.append(revision(catalog))
    rows.append(keep(catalog, reference("b")))
    seen.append(revision(catalog))
    keep(catalog, reference("a", "v20251122_000000"))
    seen.append(revision(catalog))
    with catalog.write() as transaction:
        references.set_transfer(transaction, rows[1], {"count": 1})
    seen.append(revision(catalog))
    with catalog.write() as transaction:
        references.withdraw_reference(transaction, "b")
    seen.append(revision(catalog))
    with catalog.write() as transaction:
        references.remove_reference(transaction, rows[1])
    seen.append(revision(catalog))
    assert len(set(seen)) == len(seen)
    assert revision(catalog) == seen[-1]


def test_the_changes_tell_which_reference_it_was(catalog: Catalog) -> None:
    keep(catalog, reference("a"))
    keep(catalog, reference("b"))
    with catalog.read() as transaction:
        before = references.changes(transaction)
    keep(catalog, reference("a", "v20251122_000000"))
    with catalog.read() as transaction:
        after = references.changes(transaction)
    assert before["b"] == after["b"]
    assert before["a"] < after["a"]


def test_a_withdrawn_reference_has_no_sketches_and_one_that_moved_is_not_forgotten(catalog: Catalog) -> None:
    row = keep(catalog, reference("a"))
    with catalog.write() as transaction:
        references.withdraw_reference(transaction, "a")
        assert references.reference_of(transaction, "a").sketches == []
    with catalog.write() as transaction:
        references.reference_of(transaction, "a").url = "gs://elsewhere/a"
    with catalog.write() as transaction:
        moved = references.remove_reference(transaction, row)
        assert moved is not None
        assert references.remove_reference(transaction, moved) is None
    assert revision(catalog)[0] == 0
