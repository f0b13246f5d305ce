"""Tell whether two places, or the places of two migrations, share a part."""

from __future__ import annotations

from urllib.parse import quote

from ecluse.catalog.tables import Migration
from ecluse.settings import local_folder
from ecluse.storage import is_within


def share_a_part(first: str, second: str) -> bool:
    """Return whether two addresses lead to one place, or one into the other; by whole segments, links followed."""
    return lies_in(first, second) or lies_in(second, first)


def lies_in(place: str, container: str) -> bool:
    """Return whether an address leads to the same place as another or into it; by whole segments, links followed."""
    inner, outer = _canonical(place), _canonical(container)
    return inner == outer or is_within(inner, outer)


def meet(first: Migration, second: Migration) -> bool:
    """Return whether an end of one migration shares a part with an end of the other."""
    return any(share_a_part(a, b) for a in _places(first) for b in _places(second))


def _places(migration: Migration) -> list[str]:
    roots = (migration.source, migration.destination)
    return [f"{root.rstrip('/')}/{migration.prefix}" for root in roots]


def _canonical(url: str) -> str:
    """Return the address by which two that lead to one place are equal, links of a folder followed."""
    folder = local_folder(url)
    return url.rstrip("/") if folder is None else f"file://{quote(str(folder.resolve()))}"
