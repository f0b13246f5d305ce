"""Find the days of a city that are whole, by their marks: of each day's documents the mark is written last."""

from __future__ import annotations

from datetime import date
from typing import Final

from ecluse.apps.city.errors import NoSuchDay
from ecluse.documents import Body, Documents
from ecluse.sentences import _

#: The kind of the documents that say which days are whole.
MARK: Final = "metrics/day"
NEAREST: Final = 4


def find_day(documents: Documents, day: date) -> Body:
    """Return the mark of a day that is whole.

    Raises:
        NoSuchDay: there is none; carries the nearest days.
    """
    key = (MARK, day.isoformat())
    mark = documents.get_many([key]).get(key)
    if mark is None:
        raise no_such_day(documents, day)
    return mark


def is_there(documents: Documents, day: date) -> bool:
    """Return whether a day was computed and is whole."""
    return bool(documents.get_many([(MARK, day.isoformat())]))


def latest_day(documents: Documents) -> date | None:
    """Return the last day that was computed."""
    document = documents.latest(MARK)
    return None if document is None else date.fromisoformat(document.key)


def known_days(documents: Documents) -> list[date]:
    """Return every day that was computed, oldest first."""
    return [date.fromisoformat(key) for key in documents.keys(MARK)]


def nearest_days(documents: Documents, day: date, kind: str = MARK) -> list[str]:
    """Return at most `NEAREST` dates around a day that have a document of `kind`, the closest first."""
    key = day.isoformat()
    after = documents.range(kind, key, limit=NEAREST).items
    before = documents.range(kind, None, key, limit=NEAREST, newest_first=True).items
    around = [document.key for document in (*before, *after)]
    return sorted(around, key=lambda key: abs(date.fromisoformat(key) - day))[:NEAREST]


def no_such_day(documents: Documents, day: date, kind: str = MARK) -> NoSuchDay:
    """Return what to say of a day that has no document of `kind`: the days around it that have."""
    nearest = nearest_days(documents, day, kind)
    if not nearest:
        return NoSuchDay(
            _(
                "Nothing is known of %(day)s: no day was computed yet. See: ecluse city run --date %(value)s",
                day=day,
                value=day,
            )
        )
    return NoSuchDay(
        _(
            "Nothing is known of %(day)s. The nearest days that are known: %(days)s. See: ecluse city days",
            day=day,
            days=", ".join(nearest),
        ),
        tuple(nearest),
    )
