"""Share the report of a day by a link that needs no account; see such links, take them back, and open one.

The days belong to the installation, and whoever is signed in reads them all: to name a person or an organisation would
give nothing. A link is a row of `shares` of whoever made it, and ends with it, with their account, and by the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from ecluse import shares
from ecluse.accounts.access import digest
from ecluse.apps.city import rows
from ecluse.apps.city.days import no_such_day
from ecluse.catalog.tables import User
from ecluse.documents import Body
from ecluse.errors import LinkOver, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.shares import LINK_DAYS, Reader, Thing

#: The kind of the documents that are shared.
REPORTS: Final = "reports"


@dataclass(frozen=True)
class DayLink:
    """A link to the report of a day. `maker`: the handle of who made it."""

    id: str
    day: date
    maker: str
    created_at: datetime
    expires_at: datetime


def share(runtime: Runtime, user: User, day: date, days: int = LINK_DAYS) -> tuple[DayLink, str]:
    """Make a link to the report of a day; the link, and its secret, which is told this once.

    Raises:
        NoSuchDay: the day has no report.
        InvalidInput: it would last too long.
    """
    if report_of(runtime, day) is None:
        raise no_such_day(runtime.documents, day, REPORTS)
    with runtime.catalog.write() as transaction:
        thing = _thing(user.id, day)
        shown, secret = shares.share(transaction, user.id, thing, Reader(), days)
    assert secret is not None  # noqa: S101 (a share without a reader is a link)
    assert shown.expires_at is not None  # noqa: S101 (links end)
    return DayLink(shown.id, day, user.handle or "", shown.created_at, shown.expires_at), secret


def links(runtime: Runtime, user: User, day: date) -> list[DayLink]:
    """List the links to a day that someone made, the newest first; to an administrator everyone's."""
    with runtime.catalog.read() as transaction:
        listed = rows.links_of(transaction, user.id, day.isoformat(), administers=user.role == "admin")
    return [
        DayLink(row.id, day, handle, row.created_at, row.expires_at)
        for row, handle in listed
        if row.expires_at is not None
    ]


def unshare(runtime: Runtime, user: User, day: date, link_id: str) -> None:
    """Take a link back, from the next request on.

    Raises:
        NotFound: there is no such link to this day, or it is not for them.
    """
    with runtime.catalog.write() as transaction:
        row = rows.link_to_end(
            transaction, user.id, day.isoformat(), link_id, administers=user.role == "admin"
        )
        if row is None:
            raise NotFound(_("%(name)s is not shared by %(value)s.", name=day.isoformat(), value=link_id))
        shares.unshare(transaction, user.id, _thing(row.owner_id, day), row.id)


def day_of_link(runtime: Runtime, secret: str) -> date:
    """Return the day whose report a link leads to, whoever holds it.

    Raises:
        LinkOver: it was taken back, is too old, never was one, or the report is gone.
    """
    with runtime.catalog.read() as transaction:
        name = rows.day_by_link(transaction, digest(secret))
    day = None if name is None else date.fromisoformat(name)
    if day is None or report_of(runtime, day) is None:
        raise LinkOver(shares.NO_LINK)
    return day


def report_of(runtime: Runtime, day: date) -> Body | None:
    """Return the report of a day; None where there is none."""
    key = (REPORTS, day.isoformat())
    return runtime.documents.get_many([key]).get(key)


def _thing(owner_id: str, day: date) -> Thing:
    return Thing(rows.LINKED_DAYS, owner_id, day.isoformat(), day.isoformat())
