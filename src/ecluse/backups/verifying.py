"""Read a backup again: that every part and every object is there, and is what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ecluse.backups.places import Backup, Place, Report, sealed_parts
from ecluse.errors import BackupError
from ecluse.storage.side_by_side import side_by_side

#: How many findings are named.
NAMED: Final = 20


@dataclass
class Verification:
    """What was read of a backup, and the first of what is wrong with it."""

    id: str
    rows: int = 0
    documents: int = 0
    objects: int = 0
    size: int = 0
    wrong: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.wrong

    def note(self, text: str) -> None:
        self.wrong += 1
        if len(self.findings) < NAMED:
            self.findings.append(text)


def verify(place: Place, backup: Backup, *, report: Report = lambda *_: None) -> Verification:
    """Read all parts of a backup, and the bytes of every object that it holds.

    Of a backup without the bytes of objects, their digests alone are there to be read.

    Raises:
        BackupError: it is encrypted, and no identity was named.
    """
    if backup.encrypted:
        place.keys.identities()
    result = Verification(backup.id)
    if backup.encrypted and (refusal := _refusal(place, backup)) is not None:
        result.note(refusal)
        return result
    for number, (table, expected) in enumerate(backup.rows.items()):
        report(0.2 * number / len(backup.rows), "rows")
        result.rows += _count(place, backup, f"rows/{table}.jsonl.gz", expected, result)
    result.documents = _count(place, backup, "documents.jsonl.gz", backup.documents, result)
    result.objects = _count(place, backup, "objects.jsonl.gz", backup.objects, result)
    result.size = backup.object_bytes
    if backup.has_contents:
        _read_contents(place, backup, result, report)
    return result


def _refusal(place: Place, backup: Backup) -> str | None:
    """Return why the identity opens no part at all, as one finding; None where it opens any, or none is needed."""
    import pyrage

    said = None
    for name in sealed_parts(backup):
        try:
            with place.part(backup, name):
                return None
        except BackupError as error:
            if not isinstance(error.__cause__, pyrage.DecryptError):
                return None  # a part that is missing or damaged is a finding of its own
            said = said or str(error)
    return said


def _count(place: Place, backup: Backup, name: str, expected: int, result: Verification) -> int:
    number = 0
    try:
        with place.part(backup, name) as lines:
            for line in lines:
                json.loads(line)
                number += 1
    except (BackupError, ValueError) as error:
        result.note(str(error))
        return number
    if number != expected:
        result.note(f"{name} holds {number:,} lines, {expected:,} were written.")
    return number


def _read_contents(place: Place, backup: Backup, result: Verification, report: Report) -> None:
    try:
        with place.part(backup, "objects.jsonl.gz") as lines:
            sizes = {item["sha256"]: item["size"] for item in map(json.loads, lines)}
    except BackupError:
        return  # it is noted already
    total, done = sum(sizes.values()) or 1, 0

    def read(sha256: str, passed: Callable[[int], None]) -> None:
        with place.file() as file:
            try:
                place.fetch_content(backup, sha256, file)
            except BackupError as error:
                result.note(str(error))
        passed(sizes[sha256])

    def count(number: int) -> None:
        nonlocal done
        done += number
        report(0.2 + 0.8 * done / total, "objects")

    side_by_side(read, sizes, count)


def lines_of(place: Place, backup: Backup, name: str) -> list[dict[str, Any]]:
    """Return all lines of a part."""
    with place.part(backup, name) as lines:
        return [json.loads(line) for line in lines]
