"""Tell whether two places, or the places of two migrations, share a part."""

from __future__ import annotations

from urllib.parse import quote

from ecluse.catalog.tables import Migration
from ecluse.settings import local_folder
from ecluse.storage import is_within


def share_a_part(one: str, other: str) -> bool:
    """Whether two addresses lead to one place, or one into the other; by whole segments, links followed."""
    return lies_in(one, other) or lies_in(other, one)


def lies_in(one: str, other: str) -> bool:
    """Whether an address leads to the same place as another or into it; by whole segments, links followed."""
    first, second = _canonical(one), _canonical(other)
    return first == second or is_within(first, second)


def meet(one: Migration, other: Migration) -> bool:
    """Whether an end of one migration shares a part with an end of the other."""
    return any(share_a_part(first, second) for first in _places(one) for second in _places(other))


def _places(migration: Migration) -> list[str]:
    roots = (migration.source, migration.destination)
    return [f"{root.rstrip('/')}/{migration.prefix}" for root in roots]


def _canonical(url: str) -> str:
    """An address by which two that lead to one place are known, links of a folder followed."""
    folder = local_folder(url)
    return url.rstrip("/") if folder is None else f"file://{quote(str(folder.resolve()))}"
