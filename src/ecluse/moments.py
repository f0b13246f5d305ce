"""Bound the moments that come from outside: what is taken can be written in every time zone, and compared.

The years that a `datetime` has end where a zone may still be ahead or behind: 9999-12-31T23:30 UTC is no moment of
Paris.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final

from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: The first moment that is taken, and the one that all have to be before.
FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(9000, 1, 1, tzinfo=UTC)


def checked_moment(moment: datetime) -> datetime:
    """Return a moment that came from outside, in UTC.

    Raises:
        InvalidInput: it names no time zone, or is before 1970 or after 8999.
    """
    if moment.utcoffset() is None:
        raise InvalidInput(
            _(
                "%(value)s names no time zone. Write it with one: 2026-11-23T14:30:00Z",
                value=moment.isoformat(),
            )
        )
    if not FIRST <= moment < END:
        raise InvalidInput(
            _(
                "%(value)s is out of the years that are kept, 1970 to 8999. Say when it was or will be.",
                value=moment.isoformat(),
            )
        )
    return moment.astimezone(UTC)


def expect_ahead(moment: datetime) -> datetime:
    """Return a moment up to which something is to last, in UTC.

    Raises:
        InvalidInput: it is past, or as `checked_moment`.
    """
    ahead = checked_moment(moment)
    if ahead <= datetime.now(UTC):
        raise InvalidInput(
            _("%(value)s is past. Name a moment to come, or leave it out.", value=moment.isoformat())
        )
    return ahead


def local_to(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return a moment that is stored as a zone tells it (None: of this machine); one that no zone can tell, in UTC."""
    try:
        return moment.astimezone(zone)
    except (OverflowError, ValueError):
        return moment
