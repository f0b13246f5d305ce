"""Compare what lies at the source, at the destination and in the journal, and say what is to be done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from ecluse.catalog import Catalog
from ecluse.catalog.journal import SETTLED, Entry
from ecluse.errors import InvalidKey, ManifestInvalid, ObjectNotFound
from ecluse.migration.copying import Watch, digest_of, in_parallel
from ecluse.migration.ends import Ends
from ecluse.registry import MANIFEST, Manifest, manifest_bytes
from ecluse.storage import ObjectInfo, ObjectStore, checked_key, join_key, lacks_folder

#: What is known of an object that has to be looked at again.
_OPEN: Final = ("planned", "copying", "conflict", "damaged", "removed")


def survey(
    catalog: Catalog,
    ends: Ends,
    journal: Mapping[str, Entry],
    watch: Watch,
    *,
    again: bool = True,
    is_released: Callable[[str], bool] = lambda _: False,
) -> list[Entry]:
    """Return the entries that are new or stand differently by now, without those that are as the journal says.

    What is at the destination already is read and hashed, never judged by its name, size or tag alone. With
    `again`, what was found damaged is planned anew. What was settled and `is_released` since is left alone: its
    row was deleted, and with it what lay at the destination, or what lies there now is newer.
    """
    watch.begin("compare", 0, 0)
    at_source = _listed(ends, ends.source, watch)
    is_new = not journal and lacks_folder(ends.destination.url)
    there = {} if is_new else _listed(ends, ends.destination, watch)
    changed = {
        key: info
        for key, info in at_source.items()
        if not _is_as_known(journal.get(key), info, there, again)
        and not (key in journal and journal[key].state in SETTLED and is_released(key))
    }
    digests = _known_digests(catalog, ends, _manifests(changed, at_source), watch)
    entries = [_entry(info, journal.get(key), digests.get(key)) for key, info in changed.items()]
    doubtful = [entry for entry in entries if entry.key in there and _can_be_kept(entry.key)]
    size = sum(entry.size for entry in doubtful if there[entry.key].size == entry.size)
    watch.begin("compare", len(doubtful), size)
    compared: dict[str, Entry] = {}

    def compare(entry: Entry) -> Entry:
        entry_now = _compared(ends, entry, journal.get(entry.key), there[entry.key], watch)
        watch.passed(0, objects=1)
        return entry_now

    in_parallel(watch, doubtful, compare, lambda entry: compared.update({entry.key: entry}))
    result = [compared.get(entry.key, entry) for entry in entries]
    result = [
        e if _can_be_kept(e.key) and ends.destination.can_hold(e.key) else replace(e, state="conflict")
        for e in result
    ]
    missing = (entry for key, entry in journal.items() if key not in at_source)
    result += [_missing(ends, entry, there, watch) for entry in missing if _is_open(entry, there)]
    return [entry for entry in result if entry != journal.get(entry.key)]


def manifest_digests(store: ObjectStore, key: str) -> tuple[str, dict[str, str]] | None:
    """Return the digest of a version's manifest and, by key, those of its files; None where it is no such manifest."""
    try:
        data = manifest_bytes(store, key)
        manifest = Manifest.from_json(data)
    except (ObjectNotFound, ManifestInvalid):
        return None
    folder = key.rpartition("/")[0]
    if folder.split("/")[-2:] != [manifest.name, manifest.version]:
        return None
    digests = {join_key(folder, file.path): file.sha256 for file in manifest.files}
    return hashlib.sha256(data).hexdigest(), digests


def _listed(ends: Ends, store: ObjectStore, watch: Watch) -> dict[str, ObjectInfo]:
    listed = {}
    for info in ends.listed(store):
        listed[info.key] = info
        if len(listed) % 1000 == 0:
            watch.look()
    return listed


def _is_as_known(entry: Entry | None, info: ObjectInfo, there: Mapping[str, ObjectInfo], again: bool) -> bool:
    """Return whether an object of the source can be passed over: it was dealt with, and nothing has changed since."""
    if entry is None or entry.size != info.size or _differ(entry.source_tag, info.e_tag):
        return False
    if entry.state == "damaged" and not again:
        return True
    if entry.state not in SETTLED:
        return False
    at_destination = there.get(entry.key)
    return (
        at_destination is not None
        and at_destination.size == entry.size
        and not _differ(entry.e_tag, at_destination.e_tag)
    )


def _differ(tag: str | None, other_tag: str | None) -> bool:
    return tag is not None and other_tag is not None and tag != other_tag


def _entry(info: ObjectInfo, before: Entry | None, sha256: str | None) -> Entry:
    """Plan an object. Its digest is what rows and manifests say, else that of the bytes on their way."""
    times, e_tag = (before.times_copied, before.e_tag) if before else (0, None)
    return Entry(info.key, info.size, "planned", sha256, info.e_tag, e_tag, times)


def _compared(ends: Ends, entry: Entry, before: Entry | None, there: ObjectInfo, watch: Watch) -> Entry:
    """Compare a planned object with what the destination has under its key; return its entry."""
    same = False
    if there.size == entry.size:
        try:
            expected = entry.sha256 or digest_of(ends.source, entry.key, watch, counted=False)
            same = digest_of(ends.destination, entry.key, watch) == expected
        except ObjectNotFound:
            return entry  # it went meanwhile, here or there
        if same:
            state = "verified" if _is_own(before, there) else "same"
            return replace(entry, state=state, sha256=expected, e_tag=there.e_tag)
    if before is not None and before.e_tag and before.times_copied and there.e_tag == before.e_tag:
        return entry  # the copy of an older content, made by this migration
    return replace(entry, state="conflict", e_tag=None)


def _is_own(before: Entry | None, there: ObjectInfo) -> bool:
    """Return whether this migration wrote what is there: it had begun to, or wrote just this."""
    if before is None or not before.times_copied:
        return False
    return before.state == "copying" or not _differ(before.e_tag, there.e_tag)


def _is_open(entry: Entry, there: Mapping[str, ObjectInfo]) -> bool:
    """Return whether an object that the source no longer has is not settled, or not any more."""
    if entry.state not in SETTLED:
        return entry.state in _OPEN
    at_destination = there.get(entry.key)
    return at_destination is None or _differ(entry.e_tag, at_destination.e_tag)


def _missing(ends: Ends, entry: Entry, there: Mapping[str, ObjectInfo], watch: Watch) -> Entry:
    """Return the entry of an object that the source no longer has: arrived before, or gone."""
    if entry.state in ("copying", *SETTLED) and entry.sha256 and entry.key in there:
        try:
            arrived = digest_of(ends.destination, entry.key, watch, counted=False) == entry.sha256
        except ObjectNotFound:
            arrived = False
        if arrived:
            state = "same" if entry.state == "same" else "verified"
            return replace(entry, state=state, e_tag=there[entry.key].e_tag)
    return replace(entry, state="gone")


def _manifests(changed: Iterable[str], at_source: Mapping[str, ObjectInfo]) -> list[str]:
    """Return the manifests of the folders that these objects lie in."""
    manifests = set()
    for key in filter(_can_be_kept, changed):
        folder = key
        while folder := folder.rpartition("/")[0]:
            if (manifest := f"{folder}/{MANIFEST}") in at_source:
                manifests.add(manifest)
    return sorted(manifests)


def _known_digests(catalog: Catalog, ends: Ends, manifests: list[str], watch: Watch) -> dict[str, str]:
    """Return the SHA-256 that a row or a manifest has, by key. A manifest that its row disowns says nothing."""
    of_rows: dict[str, str] = {}
    for file in ends.files(catalog, ends.source):
        key = ends.source.key_of(file.url)
        if key is not None and file.sha256 is not None:
            of_rows[join_key(key, MANIFEST) if file.is_version else key] = file.sha256

    def read(key: str) -> dict[str, str]:
        digests = manifest_digests(ends.source, key)
        return digests[1] if digests and of_rows.get(key, digests[0]) == digests[0] else {}

    listed: dict[str, str] = {}
    in_parallel(watch, manifests, read, listed.update)
    return listed | of_rows


def _can_be_kept(key: str) -> bool:
    try:
        checked_key(key)
    except InvalidKey:
        return False
    return True


def names(entries: Iterable[str], limit: int = 3) -> str:
    """Return the first of many names, for a sentence."""
    listed = list(entries)
    return ", ".join(listed[:limit]) + (", …" if len(listed) > limit else "")
