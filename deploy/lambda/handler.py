"""Compute one day of the city per event, and answer the API, as AWS Lambda functions.

`compute_day` is for EventBridge, `answer` for an HTTP API. Nothing is kept on the function's disk: objects are in S3,
documents in DynamoDB, and accounts in the database of `DATABASE_URL`, which `answer` alone needs.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ecluse import logs
from ecluse.apps.city import actions as workflows
from ecluse.apps.city.days import find_day, latest_day
from ecluse.apps.city.settings import CitySettings
from ecluse.errors import InvalidInput, SettingsError
from ecluse.runtime import Runtime
from ecluse.settings import Settings

#: The only folder a function may write to; it goes with the instance.
HOME = Path("/tmp/ecluse")  # noqa: S108 (Lambda gives each instance a /tmp of its own)


def compute_day(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Compute and write the day of an event; what was written.

    `event`: {"date": "2025-10-14"}, or what EventBridge sends, whose `time` says which day was yesterday. The same
    event may come twice, as Lambda allows: the second leaves the same documents.

    Raises:
        NoRawData: nothing was measured on that day. EventBridge tries again, then puts the event into the queue.
    """
    runtime = computing()
    day = day_of(event, ZoneInfo(runtime.settings.of(CitySettings).zone))
    run = getattr(context, "aws_request_id", None) or str(event.get("id", "lambda"))
    raw = event.get("raw")
    if raw is not None and not isinstance(raw, str):
        raise InvalidInput("The raw of the event is no text. Send the address of a store, or none.")
    with workflows.open_city(runtime, raw) as city:
        workflows.run_day(city, day, run=run, report=_print)
        if latest_day(city.documents) == day:
            workflows.update_forecast(city, _print)
    return find_day(runtime.documents, day)


def answer(event: dict[str, Any], context: Any) -> Any:
    """Answer a request of an API Gateway, a function URL or a load balancer."""
    return _adapter()(event, context)


def day_of(event: dict[str, Any], zone: ZoneInfo) -> date:
    """The day an event asks for: its `date`, or the day before its `time` (now, without one) on the city's clocks.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        if event.get("date"):
            return date.fromisoformat(event["date"])
        told = event.get("time")
        moment = datetime.fromisoformat(told) if told else datetime.now(UTC)
        day = moment.astimezone(zone).date() - timedelta(days=1)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f'The event has no day that can be read: {error}. Send {{"date": "2025-10-14"}}.'
        ) from error
    if moment.tzinfo is None:
        raise InvalidInput(f"The time {told} of the event has no zone; write it with Z or +00:00.")
    return day


@cache
def computing() -> Runtime:
    """What an instance keeps open between events. The catalog, which holds the jobs, is not used, and not made."""
    settings = _settings()
    return Runtime.open(settings, migrate=settings.documents.database == "sql")


@cache
def answering() -> Runtime:
    """What an instance of the API keeps open between requests."""
    settings = _settings()
    if settings.database_url.startswith("sqlite"):
        raise SettingsError(
            "The API keeps accounts and tokens in a database that all instances share. Set DATABASE_URL to a "
            "PostgreSQL: postgresql+psycopg://user@host/name."
        )
    return Runtime.open(settings)


@cache
def _adapter() -> Any:
    from mangum import Mangum

    from ecluse.web.app import make_app

    return Mangum(make_app(answering()), lifespan="off")


def _settings() -> Settings:
    settings = Settings.from_environment(home=Path(os.environ.get("ECLUSE_HOME", HOME)))
    logs.set_up("function", settings.log_form, settings.log_level)
    return settings


def _print(fraction: float, message: str) -> None:
    """Into the function's log."""
    print(f"{fraction:4.0%}  {message}")
