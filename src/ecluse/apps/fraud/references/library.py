"""List, find, match, fetch and remove the reference models of the shared library.

Everyone may look and match; administrators add and remove (`building`). Nothing here imports numpy before a
table is matched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from ecluse.apps.fraud.references.published import check_description
from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import Dataset, ReferenceModel
from ecluse.catalog import Catalog, audit
from ecluse.catalog.tables import User
from ecluse.errors import Forbidden, InvalidInput
from ecluse.models import CheckedOut
from ecluse.registry import Manifest, Progress
from ecluse.runtime import Runtime
from ecluse.sentences import _

if TYPE_CHECKING:
    from ecluse.apps.fraud.references.facts import MatchResult, ReferenceFacts
    from ecluse.apps.fraud.references.index import ReferenceIndex

logger = logging.getLogger(__name__)
#: Rows of a reference's table, with their label, beside its model.
SAMPLE_FILE: Final = "sample.parquet"
#: The column of the sample that holds the label, 0 or 1; the others are the table's own, as they were.
SAMPLE_LABEL: Final = "__label__"


def expect_administrator(user: User) -> None:
    """`Forbidden` for anyone who may not change the library."""
    if user.role != "admin":
        raise Forbidden(_("Only administrators change the library of reference models. Ask one of yours."))


# Find


def find(runtime: Runtime, name: str) -> ReferenceModel:
    """Find the reference model of this name. Raises NotFound where there is none."""
    with runtime.catalog.read() as transaction:
        return references.reference_of(transaction, name)


def find_all(runtime: Runtime, *, domain: str | None = None) -> list[ReferenceModel]:
    """Find every reference model, or those of one domain, by name."""
    with runtime.catalog.read() as transaction:
        return references.list_references(transaction, domain=domain)


def manifest_of(runtime: Runtime, row: ReferenceModel) -> Manifest:
    """Return what a reference's version holds, from the cache or the store; the manifest that was published.

    Raises:
        ManifestInvalid, VersionNotFound: it is another one now, or gone.
    """
    name, version = row.url.rsplit("/", 2)[1:]
    return runtime.registry_at(row.url).manifest(name, version, digest=row.manifest_digest or None)


def checkout(
    runtime: Runtime, row: ReferenceModel, folder: Path, progress: Progress | None = None
) -> CheckedOut:
    """Put a reference's files, verified, below `folder`: hard links out of the cache, not to be changed.

    Raises:
        DigestMismatch: a file is not what was published.
        ManifestInvalid, VersionNotFound: the manifest is not what was published, or is gone.
    """
    manifest = manifest_of(runtime, row)
    fetched = runtime.registry_at(row.url).fetch(manifest, folder, progress, link=True)
    return CheckedOut(len(fetched), manifest.size, sum(file.from_cache for file in fetched))


def is_readable(row: ReferenceModel) -> bool:
    """Tell whether what a row says of its table can be read; rows of earlier releases hold what a file said."""
    try:
        check_description(row.sketches, row.performance)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return False  # pages say so of the reference, and show nothing of its table
    return True


def facts(row: ReferenceModel) -> ReferenceFacts:
    """Return what matching knows of a reference; without a column where it has no sketches."""
    from ecluse.apps.fraud.references.facts import ReferenceFacts
    from ecluse.apps.fraud.tables.sketches import ColumnSketch

    return ReferenceFacts(
        name=row.name,
        domain=row.domain,
        columns=tuple(ColumnSketch.from_dict(sketch) for sketch in row.sketches),
        importance={str(sketch["name"]): float(sketch.get("importance", 0.0)) for sketch in row.sketches},
        rows=row.rows or 0,
        fraud_rate=row.fraud_rate or 0.0,
        performance=row.performance,
        transfer=row.transfer,
    )


# Match


def match_columns(runtime: Runtime, columns: Sequence[str], limit: int = 3) -> MatchResult:
    """Find the references that a table with these columns may mean the same as, by names alone."""
    from ecluse.apps.fraud.references.matching import match_names

    return match_names(columns, reference_index(runtime), limit)


def match_dataset(
    runtime: Runtime,
    dataset: Dataset,
    *,
    corrections: Mapping[str, Mapping[str, str | None]] | None = None,
    refused: Mapping[str, Collection[str]] | None = None,
    only: Collection[str] | None = None,
    limit: int = 3,
) -> MatchResult:
    """Find the references that a stored table means the same as; its profile has what is compared.

    `corrections` by reference: {theirs: ours or None}, as a person has settled them, and `refused`: columns of
    the reference that nothing stands for. `only` these references are compared.

    Raises:
        InvalidInput: the table is not read yet, could not be, or was read by a release that kept no sketches.
    """
    from ecluse.apps.fraud.references.matching import match_table
    from ecluse.apps.fraud.tables.sketches import ColumnSketch

    if dataset.state == "failed":
        raise InvalidInput(
            _("%(file)s could not be read: %(error)s", file=dataset.filename, error=dataset.error)
        )
    if dataset.profile is None:
        raise InvalidInput(_("%(file)s is still being read. Try again once it is.", file=dataset.filename))
    if "sketches" not in dataset.profile:
        raise InvalidInput(
            _(
                "%(file)s was read before tables could be matched. Delete it and upload it again.",
                file=dataset.filename,
            )
        )
    sketches = [ColumnSketch.from_dict(sketch) for sketch in dataset.profile["sketches"]]
    return match_table(
        sketches,
        reference_index(runtime),
        corrections=corrections or {},
        refused=refused or {},
        only=only,
        limit=limit,
    )


@dataclass(frozen=True)
class _Known:
    """An index with what it was made from."""

    revision: tuple[object, ...]
    changes: Mapping[str, datetime]
    index: ReferenceIndex


_indexes: WeakKeyDictionary[Catalog, _Known] = WeakKeyDictionary()
_lock = threading.Lock()


def reference_index(runtime: Runtime) -> ReferenceIndex:
    """Return all references that can be matched, as of now: one small query, and only what has changed is
    read again.
    """
    from ecluse.apps.fraud.references.index import ReferenceIndex

    catalog = runtime.catalog
    with _lock, catalog.read() as transaction:
        revision = references.revision(transaction)
        known = _indexes.get(catalog) or _Known((), {}, ReferenceIndex.of([]))
        if known.revision == revision:
            return known.index
        changes = references.changes(transaction)
        changed = [name for name, at in changes.items() if known.changes.get(name) != at]
        gone = (known.changes.keys() - changes.keys()) | set(changed)
        read = [facts(row) for row in references.references_named(transaction, changed) if _indexed(row)]
        index = known.index.updated(read, gone)
        _indexes[catalog] = _Known(revision, changes, index)
        return index


def _indexed(row: ReferenceModel) -> bool:
    """One reference that cannot be read keeps no table from being matched with the others."""
    readable = is_readable(row)
    if not readable:
        logger.warning("The reference %s is left out of matching: what it says cannot be read", row.name)
    return readable


# Remove


def remove(runtime: Runtime, user: User, name: str) -> None:
    """Remove a reference with all its versions. Ensembles made with it keep what they need of it.

    No table is matched with it from the beginning of the removal; one that was interrupted is done again.

    Raises:
        Forbidden: the user is no administrator.
        NotFound: there is no such reference.
    """
    expect_administrator(user)
    with runtime.catalog.write() as transaction:
        references.withdraw_reference(transaction, name)
        row: ReferenceModel | None = references.reference_of(transaction, name)
    while row is not None:  # once, or again where a migration led its row elsewhere meanwhile
        own, version = row.url.rsplit("/", 2)[1:]
        if (registry := runtime.registry_to_clear(row.url)) is not None:
            for other in {*registry.versions(own), version}:
                registry.delete(own, other)
        with runtime.catalog.write() as transaction:
            row = references.remove_reference(transaction, row)
            if row is None:
                audit.record(transaction, user.id, "model.reference.remove", name)
