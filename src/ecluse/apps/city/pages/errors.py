"""Show the errors of the city in its own way."""

from __future__ import annotations

from datetime import date

from ecluse.apps.city.errors import NoSuchDay
from ecluse.web.errors import ErrorPage


def no_such_day(error: NoSuchDay) -> ErrorPage:
    """Show the nearest days that are known, in place of one that is not."""
    days = [date.fromisoformat(day) for day in error.nearest]
    return ErrorPage("city/no_day.html", {"days": days}, {"nearest": list(error.nearest)})
