"""Say when a job with a schedule is due: "hourly", "daily 06:00", or a day of the week such as "monday 07:30" (UTC)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from ecluse.errors import InvalidInput
from ecluse.sentences import N_, _

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
#: What a sentence calls them.
_WORDS: Final = {
    "monday": N_("Mondays"),
    "tuesday": N_("Tuesdays"),
    "wednesday": N_("Wednesdays"),
    "thursday": N_("Thursdays"),
    "friday": N_("Fridays"),
    "saturday": N_("Saturdays"),
    "sunday": N_("Sundays"),
}
_FORM: Final = re.compile(rf"hourly|(daily|{'|'.join(DAYS)}) ([01]\d|2[0-3]):([0-5]\d)")


def checked_schedule(text: str) -> str:
    """Return a schedule; "" is none.

    Raises:
        InvalidInput: it is not of a form that is known.
    """
    if text and _FORM.fullmatch(text) is None:
        raise InvalidInput(
            _(
                '%(value)s is no schedule. Write "hourly", "daily 06:00" or "monday 07:30" (UTC).',
                value=repr(text)[:100],
            )
        )
    return text


def schedule_words(schedule: str) -> str:
    """Say when a job of this schedule runs."""
    day, _blank, time = schedule.partition(" ")
    match day:
        case "hourly":
            return _("Runs by itself every hour.")
        case "daily":
            return _("Runs by itself every day at %(time)s (UTC).", time=time)
        case _other:
            return _("Runs by itself on %(day)s at %(time)s (UTC).", day=_(_WORDS[_other]), time=time)


def last_due(schedule: str, now: datetime) -> datetime:
    """Return the last moment up to `now` (UTC) at which a job of this schedule was due."""
    if schedule == "hourly":
        return now.replace(minute=0, second=0, microsecond=0)
    day, _blank, time = schedule.partition(" ")
    hour, minute = (int(part) for part in time.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if day != "daily":
        moment -= timedelta(days=(now.weekday() - DAYS.index(day)) % 7)
    if moment > now:
        moment -= timedelta(days=1 if day == "daily" else 7)
    return moment
