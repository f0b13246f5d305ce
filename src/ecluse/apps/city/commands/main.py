"""Compute a city's days, show them, and say when they are computed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ecluse.apps.city.commands.backtest import backtest
from ecluse.apps.city.commands.data import check, demo, fetch
from ecluse.apps.city.commands.dates import Day
from ecluse.apps.city.commands.sharing import share, shares, unshare
from ecluse.apps.city.settings import CitySettings
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, counted, progress, reports, say
from ecluse.cli.session import acting, attended, home_option, last_address, opened, user_option
from ecluse.errors import JobFailed

if TYPE_CHECKING:
    from ecluse.apps.city.jobs import Run
    from ecluse.catalog.tables import User
    from ecluse.documents import Documents
    from ecluse.jobs import Job
    from ecluse.runtime import Runtime


@click.group(cls=Group)
def city() -> None:
    """Compute a city's daily indicators, forecasts, alerts and reports."""


@city.command()
@click.option("--date", "day", type=Day(), help="The day to compute, here and now.")
@click.option("--from", "first", type=Day(), help="The first of many days, computed by all workers.")
@click.option("--to", "last", type=Day(), help="The last of many days.")
@click.option("--raw", help="Store or folder of the raw data. Default: ECLUSE_RAW_URL.")
@click.option("--again", is_flag=True, help="Compute days of --from and --to that are up to date too.")
@click.option("--arcs", is_flag=True, help="With --json: every arc too.")
@user_option
@home_option
@reports
def run(
    day: date | None,
    first: date | None,
    last: date | None,
    raw: str | None,
    again: bool,
    arcs: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Compute one day (--date), or many (--from and --to). What is up to date of many is left as it is."""
    if (day is None) == (first is None and last is None) or (first is None) != (last is None):
        raise click.UsageError("Give --date, or --from and --to.")
    if day is not None:
        return _run_day(day, raw, arcs, email, home)
    assert first is not None  # noqa: S101 (checked above)
    assert last is not None  # noqa: S101 (checked above)
    return _run_days(first, last, raw, again, email, home)


def _run_day(day: date, raw: str | None, arcs: bool, email: str | None, home: Path | None) -> Record:
    from ecluse.apps.city import actions as workflows
    from ecluse.apps.city import jobs as work
    from ecluse.apps.city.days import latest_day

    with acting(home, email) as (runtime, user):
        work.expect_administrator(user)
        with workflows.open_city(runtime, raw) as opened_city, progress(f"Computing {day}") as report:
            computed = workflows.run_day(
                opened_city, day, run="command", report=lambda done, message: report(0.8 * done, message)
            )
            if latest_day(runtime.documents) == day:
                workflows.update_forecast(
                    opened_city, lambda done, message: report(0.8 + 0.2 * done, message)
                )
        assert computed is not None  # noqa: S101 (asked for again)
        fields: dict[str, Any] = {
            "date": day.isoformat(),
            "zone": computed.day.zone.key,
            "hours": list(computed.day.labels),
            "metrics": {kind: metrics.body for kind, metrics in computed.metrics.items()},
        }
        if arcs:
            fields["arcs"] = dict(computed.metrics["arcs"].parts) if "arcs" in computed.metrics else {}
        bodies = {kind: metrics.body for kind, metrics in computed.metrics.items()}
        return Record(fields, _day_text(day, bodies, last_address(runtime.settings.home)))


def _run_days(
    first: date, last: date, raw: str | None, again: bool, email: str | None, home: Path | None
) -> Record:
    from ecluse.apps.city import jobs as work
    from ecluse.apps.city.calendar import days_between

    with acting(home, email) as (runtime, user):
        run_id = work.start_runs(runtime, user, first, last, raw, again=again)
        ended = _follow(runtime, user, run_id, f"Computing {first} to {last}")
    days, forecast = ended.days, ended.forecast
    without = forecast is not None and forecast.status != "done"
    outcomes = [
        {"date": day.isoformat()}
        | ({"status": "up to date", "error": None} if (job := days.get(day)) is None else _outcome(job))
        for day in days_between(first, last)
    ]
    failed = [outcome for outcome in outcomes if outcome["status"] not in ("done", "up to date")]
    counts = {
        status: sum(outcome["status"] == status for outcome in outcomes)
        for status in ("done", "up to date", "failed", "cancelled")
    }
    lines = [
        f"{_days(counts['done'])} computed, {counts['up to date']} up to date, {len(failed)} not computed.",
        *(f"  {outcome['date']}  {outcome['error'] or outcome['status']}" for outcome in failed),
        *([f"There is no forecast: {forecast.error or forecast.status}"] if forecast and without else []),
        "See: ecluse city days",
    ]
    fields = {"run": run_id, "days": outcomes, "forecast": _outcome(forecast) if forecast else None}
    return Record(fields, "\n".join(lines), failed=bool(failed) or without)


def _outcome(job: Job) -> dict[str, Any]:
    return {"status": job.status, "error": job.error}


def _follow(runtime: Runtime, user: User, run_id: str, title: str) -> Run:
    """Return a run once it has ended. Ctrl-C cancels what has not."""
    from ecluse.apps.city import jobs as work
    from ecluse.work import cancel_job

    try:
        with progress(title) as report, attended(runtime, work.PREPARE) as attend:
            while True:
                attend()
                now = work.run_of(runtime, user.id, run_id)
                if now.prepare.status in ("failed", "cancelled"):
                    raise JobFailed(now.prepare.error or f"The run was {now.prepare.status}.")
                ended = [job for job in now.days.values() if not job.active]
                if not now.active:
                    return now
                if now.prepare.active:
                    report(0.2 * now.prepare.fraction, now.prepare.message or "waiting")
                else:
                    done = sum(job.fraction if job.active else 1.0 for job in now.days.values())
                    failed = sum(job.status != "done" for job in ended)
                    message = f"{len(ended)} of {len(now.days)} days" + (
                        f", {failed} not computed" if failed else ""
                    )
                    if len(ended) == len(now.days) and now.forecast is not None:
                        message = f"forecast: {now.forecast.message or now.forecast.stage or 'waiting'}"
                    report(0.2 + 0.75 * done / max(len(now.days), 1), message)
                time.sleep(0.3)
    except KeyboardInterrupt:
        now = work.run_of(runtime, user.id, run_id)
        for job in now.all:
            if job.active:
                cancel_job(runtime, user.id, job.id)
        say("Cancelled. The days that were computed stay; the same command goes on from there.")
        raise


@city.command("days")
@home_option
@reports
def list_days(home: Path | None) -> Rows:
    """List the days that were computed, with the share of the roads' hours that were observed."""
    from ecluse.apps.city.days import MARK

    with opened(home) as runtime:
        marks = [document.body for document in runtime.documents.all(MARK)]
    items = [
        mark | {f"{table}_rows": rows for table, rows in mark["rows"].items()} | {"computed_at": _at(mark)}
        for mark in marks
    ]
    columns = (
        "date",
        "city_name",
        "invented",
        "coverage",
        "roads_rows",
        "bikes_rows",
        "disruptions_rows",
        "computed_at",
    )
    return Rows(items, columns, "No day was computed yet. See: ecluse city run --date 2025-10-14")


def _at(mark: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(mark["computed_at"])


@city.command("show")
@click.argument("day", type=Day())
@click.argument("kind", required=False)
@home_option
@reports
def show_day(day: date, kind: str | None, home: Path | None) -> Record:
    """Show what was measured on a day: its headline figures, or one KIND of metrics whole, such as traffic."""
    from ecluse.apps.city.days import find_day
    from ecluse.errors import InvalidInput

    with opened(home, reads=True) as runtime:
        mark = find_day(runtime.documents, day)
        if kind is not None and kind not in mark["kinds"]:
            raise InvalidInput(f"{day} has no metrics {kind!r}. There are: {', '.join(mark['kinds'])}.")
        bodies = _bodies(runtime.documents, day, mark["kinds"] if kind is None else [kind])
        if kind is not None:
            return Record(bodies[kind], _body_text(bodies[kind]))
        fields = {"date": mark["date"], "computed_at": mark["computed_at"], "metrics": bodies}
        return Record(fields, _day_text(day, bodies, last_address(runtime.settings.home)))


_KINDS_OF_DAYS = {"working": "Working days", "saturday": "Saturdays", "sunday": "Sundays and public holidays"}


@city.command("bottlenecks")
@click.option("--from", "first", type=Day(), help="The first day.  [default: eight weeks before the last]")
@click.option("--to", "last", type=Day(), help="The last day.  [default: the latest that is computed]")
@click.option(
    "--days",
    "kind",
    type=click.Choice(["working", "saturday", "sunday"]),
    default="working",
    show_default=True,
    help="Of which days; public holidays are as Sundays.",
)
@home_option
@reports
def list_bottlenecks(
    first: date | None, last: date | None, kind: Literal["working", "saturday", "sunday"], home: Path | None
) -> Rows:
    """Rank where there is a queue again and again over a period: the costliest bottlenecks first.

    Recurrence: of the days on which the head was measured, the share on which it queued. Duration: hours a day with a
    queue. Length: metres that queue at once. Lost time: vehicle-hours a day, of all its arcs in those hours.
    """
    from ecluse.apps.city.bottlenecks import rank_period, usual_begin
    from ecluse.apps.city.days import latest_day
    from ecluse.apps.city.provenance import INVENTED, invented_days
    from ecluse.apps.city.reference import ARCS
    from ecluse.apps.city.thresholds import Thresholds

    nothing = "No bottleneck is known there. See: ecluse city days"
    with opened(home) as runtime:
        documents = runtime.documents
        stop = last or latest_day(documents)
        if stop is None:
            return Rows([], (), "No day was computed yet. See: ecluse city run --date 2025-10-14")
        arcs = [arc for chunk in documents.all(ARCS) for arc in chunk.body["arcs"]]
        begin = first or usual_begin(stop)
        thresholds = Thresholds.changed(runtime.settings.of(CitySettings).thresholds)
        ranking = rank_period(documents, arcs, begin, stop, kind, thresholds)
        invented = bool(invented_days(documents))
    say(
        f"{_KINDS_OF_DAYS[kind]} from {begin} to {stop}: {_days(ranking.days)}, "
        f"{counted(ranking.total, 'bottleneck')}. "
        "Duration in hours, length in metres, lost time in vehicle-hours."
    )
    if invented:
        say(INVENTED)
    columns = ("rank", "label", "arc", "recurrence", "duration", "length", "arcs_total", "lost_time_a_day")
    return Rows(
        ranking.items, columns, nothing, {"recurrence": 2, "duration": 1, "length": 0, "lost_time_a_day": 1}
    )


@city.command("remove")
@click.argument("days", metavar="DATE...", nargs=-1, type=Day())
@click.option("--from", "first", type=Day(), help="The first of many days: those that are there go.")
@click.option("--to", "last", type=Day(), help="The last of many days.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@user_option
@home_option
@reports
def remove(
    days: tuple[date, ...],
    first: date | None,
    last: date | None,
    yes: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Remove what was computed of days: metrics, reports and their files.

    Raw data and the curated tables stay: ecluse city run computes the days again, as does the schedule where they
    are since its first.
    """
    from ecluse.apps.city import actions as workflows
    from ecluse.apps.city import jobs as work

    if bool(days) == (first is not None or last is not None) or (first is None) != (last is None):
        raise click.UsageError("Give the days, or --from and --to.")
    with acting(home, email) as (runtime, user):
        work.expect_administrator(user)
        chosen_days = sorted(set(days))
        if first is not None and last is not None:
            chosen_days = workflows.removable_days(runtime.documents, first, last)
        if chosen_days and not yes:
            click.confirm(f"Remove {_days(len(chosen_days))} for everyone?", abort=True, err=True)
        if chosen_days:
            work.remove_days(runtime, user, chosen_days)
    text = (
        f"{_days(len(chosen_days))} removed." if chosen_days else f"No day from {first} to {last} is there."
    )
    return Record({"removed": [day.isoformat() for day in chosen_days]}, text)


def _days(count: int) -> str:
    return f"{count} day" if count == 1 else f"{count} days"


@city.command("schedule")
@click.option(
    "--at", help="Time of the next day at which a day is computed, on the city's clocks, such as 06:30."
)
@click.option("--fetch/--no-fetch", "fetches", default=None, help="Get the open data before.")
@click.option(
    "--since", type=Day(), help="The first day. Days that are missing are computed. Default: yesterday."
)
@click.option("--off", is_flag=True, help="Compute no more days by themselves.")
@user_option
@home_option
@reports
def schedule(
    at: str | None,
    fetches: bool | None,
    since: date | None,
    off: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Have each day computed by itself once its time has come; without options, show how that stands.

    A worker must run for that: ecluse up, or ecluse worker. Days that were missed meanwhile are computed later.
    """
    from ecluse.apps.city import schedule as daily

    if off and (at is not None or fetches is not None or since is not None):
        raise click.UsageError("--off goes without other options.")
    with acting(home, email) as (runtime, user):
        if off:
            removed = daily.remove_schedule(runtime, user)
            return Record({"removed": removed}, "Off." if removed else "There was no schedule.")
        current = daily.find_schedule(runtime)
        if at is not None or fetches is not None or since is not None:
            daily.set_schedule(
                runtime,
                user,
                at=at or (f"{current.at:%H:%M}" if current else daily.USUAL_TIME),
                fetches=current.fetches if fetches is None and current else bool(fetches),
                since=since,
            )
        now = daily.standing(runtime)
    if now is None:
        return Record({"at": None}, "No day is computed by itself. See: ecluse city schedule --at 06:30")
    fields = {
        "at": f"{now.daily.at:%H:%M}",
        "zone": now.daily.zone.key,
        "fetch": now.daily.fetches,
        "since": now.daily.since.isoformat(),
        "next_at": now.next_at,
        "missing": [day.isoformat() for day in now.missing],
        "failed": [{"date": job.title, "error": job.error} for job in now.failed],
    }
    lines = [
        f"Each day is computed at {fields['at']} of the next ({now.daily.zone.key})"
        + (", once the open data were fetched" if now.daily.fetches else "")
        + f", since {now.daily.since}.",
        f"Next: {now.next_at.astimezone(now.daily.zone):%Y-%m-%d %H:%M}.",
    ]
    if now.missing:
        lines.append(f"Due and not there yet: {_some([day.isoformat() for day in now.missing])}")
    lines += [f"  {job.title}  {job.error}" for job in now.failed[:10]]
    return Record(fields, "\n".join(lines))


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:10]) + (f" and {len(texts) - 10} more" if len(texts) > 10 else "")


def _bodies(documents: Documents, day: date, kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    key = day.isoformat()
    bodies_of = documents.get_many([(f"metrics/{kind}", key) for kind in kinds])
    return {
        kind: bodies_of[f"metrics/{kind}", key] for kind in kinds if (f"metrics/{kind}", key) in bodies_of
    }


#: Rows of a list that `show` prints, and letters of a cell.
LISTED = 10
LEADING = ("rank", "arc", "label", "name", "zone", "value", "unit")
WIDEST = 40
#: The headline figures: what they are called, their kind and field, and how they are written.
#: How a doubt about a day begins, by its kind.
DOUBTS: dict[str, str] = {
    "set_aside": "Set aside, as it cannot be read",
    "zones": "Zones do not fit",
    "not_taken": "Not taken",
}
HEADLINES: tuple[tuple[str, str, str, str], ...] = (
    ("passages over arcs", "traffic", "vehicles", "{:,.0f}"),
    ("arc-hours congested", "traffic", "saturation_share", "{:.1%}"),
    ("lost time", "traffic", "lost_time", "{:,.0f} vehicle-hours"),
    ("bikes counted", "bikes", "total", "{:,.0f}"),
    ("alerts", "alerts", "alerts_total", "{:,}"),
)


def _day_text(day: date, bodies: Mapping[str, Mapping[str, Any]], address: str | None) -> str:
    from ecluse.apps.city.coverage import rests_on_few

    any_body = next((body for body in bodies.values() if body.get("city_name")), {})
    city_name = f", {any_body['city_name']}" if any_body else ""
    lines = [f"{day:%A} {day}{city_name}" + (" (invented data)" if any_body.get("invented") else "")]
    for title, kind, name, form in HEADLINES:
        value = bodies.get(kind, {}).get(name)
        lines.append(f"  {title:<20} {'not known' if value is None else form.format(value)}")
    if rests_on_few(traffic := bodies.get("traffic")):
        assert traffic is not None  # noqa: S101 (it rests on some)
        counts = f"{traffic['arcs_reporting']:,} of {traffic['arcs_known']:,}"
        lines.append(f"Only {counts} road sensors report: the figures of roads are theirs, not the city's.")
    if missing := bodies.get("quality", {}).get("missing"):
        lines.append(f"No data of: {', '.join(missing)}")
    lines += [
        f"{DOUBTS[doubt['kind']]}: {doubt['text']}" for doubt in bodies.get("quality", {}).get("doubts", ())
    ]
    lines.append(f"See: ecluse city show {day} KIND" + (f", or {address}/city/{day}" if address else ""))
    return "\n".join(lines)


def _body_text(body: Mapping[str, Any]) -> str:
    """Return the plain figures of a body, then its lists: the first rows of each, and how many there are."""
    lists = {name: value for name, value in body.items() if _is_table(value)}
    plain = {name: value for name, value in body.items() if name not in lists}
    width = max(map(len, plain), default=0)
    lines = [f"{name.replace('_', ' '):<{width}}  {_brief(value)}" for name, value in plain.items()]
    for name, rows in lists.items():
        lines += ["", f"{name.replace('_', ' ')} ({_shown(len(rows))})", *_table_lines(rows[:LISTED])]
    if lists:
        lines += ["", "All of it: --json"]
    return "\n".join(lines)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _shown(count: int) -> str:
    return f"{count:,}" if count <= LISTED else f"the first {LISTED} of {count:,}"


def _table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fields that hold neither lists nor records, below their names."""
    columns = {name for row in rows for name, value in row.items() if not isinstance(value, list | dict)}
    names = [name for name in LEADING if name in columns] + sorted(columns - set(LEADING))
    cells = [[name.replace("_", " ") for name in names]]
    cells += [[_cut(_brief(row.get(name))) for name in names] for row in rows]
    widths = [max(len(line[n]) for line in cells) for n in range(len(names))]
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _brief(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        plain = len(value) <= 25 and not any(isinstance(item, dict | list) for item in value)
        return " ".join(_brief(item) for item in value) if plain and value else f"{len(value)} entries"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_brief(item)}" for name, item in value.items())
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


#: Commands of the group that have a file of their own: import it above and name its command here.
OTHERS: tuple[click.Command, ...] = (backtest, check, demo, fetch, share, shares, unshare)
for command in OTHERS:
    city.add_command(command)
