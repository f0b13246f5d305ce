"""Measure the forecasts of a city on its own days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecluse.cli.output import Report, Rows, progress, reports, say
from ecluse.cli.session import acting, home_option, user_option

if TYPE_CHECKING:
    from ecluse.apps.city.actions import City
    from ecluse.apps.city.backtest import Backtest
    from ecluse.apps.city.typical import Panel

KINDS = ("roads", "bikes")
#: Weeks that only are learnt from (`city.backtest` holds them), and how many of those behind are forecast.
FIRST_WEEKS = 8
USUAL_WEEKS = 8
_day = click.DateTime(["%Y-%m-%d"])


@click.command("backtest")
@click.option("--raw", help="Store or folder of the raw data. Default: ECLUSE_RAW_URL.")
@click.option(
    "--weeks",
    type=click.IntRange(1),
    help=f"How many weeks to forecast.  [default: those after the first {FIRST_WEEKS}, {USUAL_WEEKS} at most]",
)
@click.option(
    "--series", type=click.Choice(KINDS), multiple=True, help="Of roads or bikes alone; repeatable."
)
@click.option(
    "--from", "first", type=_day, metavar="DATE", help="The first day to read. Default: all there are."
)
@click.option(
    "--to", "last", type=_day, metavar="DATE", help="The last day to forecast. Default: the last there is."
)
@click.option("--learn/--no-learn", "learns", default=True, help="Measure LightGBM too, which takes minutes.")
@click.option("--each", is_flag=True, help="A line per series, not one for all.")
@user_option
@home_option
@reports
def backtest(
    raw: str | None,
    weeks: int | None,
    series: tuple[str, ...],
    first: datetime | None,
    last: datetime | None,
    learns: bool,
    each: bool,
    email: str | None,
    home: Path | None,
) -> Rows:
    """Forecast the last weeks day by day, each from the days before it alone, and tell how far off that was.

    MASE: the error over that of the value a week before; less than 1 is better. Coverage: the share of hours
    inside the interval, which is to be 0.9; width: that of the interval in the same unit as MASE, for one series in
    vehicles or bikes per hour. With --from and --to these days are read from the raw data first.
    """
    from ecluse.apps.city import actions as workflows
    from ecluse.apps.city import jobs as work
    from ecluse.apps.city.backtest import backtest as measure
    from ecluse.apps.city.provenance import INVENTED

    if (first is None) != (last is None):
        raise click.UsageError("Give both --from and --to, or neither.")
    items: list[dict[str, Any]] = []
    with acting(home, email) as (runtime, user):
        work.expect_administrator(user)
        with workflows.open_city(runtime, raw) as city, progress("Measuring forecasts") as report:
            if first is not None and last is not None:
                workflows.prepare(city, first.date(), last.date(), report)
            for kind in series or KINDS:
                panel = _panel(
                    city, kind, first and first.date(), last and last.date(), required=bool(series)
                )
                if panel is None:
                    continue
                measured_weeks = weeks or min(USUAL_WEEKS, max(1, panel.values.shape[1] // 7 - FIRST_WEEKS))
                result = measure(panel, weeks=measured_weeks, learns=learns, report=_named(report, kind))
                of_kind = _each(kind, result) if each else _overall(kind, result)
                items += [{"city": city.name, "invented": city.invented, **item} for item in of_kind]
            if city.invented:
                say(INVENTED)
    columns = ["series", "sensor", "model", "mase"] if each else ["series", "sensors", "model", "mase_mean"]
    columns += ["coverage", "width", "hours"] if each else ["mase_median", "coverage", "width"]
    decimals = dict.fromkeys(("mase", "mase_mean", "mase_median", "coverage", "width"), 3)
    nothing = "No days of roads or bikes are known here. See: ecluse city run"
    return Rows(items, columns, nothing, decimals)


def _panel(city: City, kind: str, first: date | None, last: date | None, *, required: bool) -> Panel | None:
    """Return the days of the curated layer; None where it has none and they are not `required`."""
    import polars as pl

    from ecluse.apps.city.errors import NoRawData
    from ecluse.apps.city.road_hours import possible_values
    from ecluse.apps.city.typical import panel_of

    days = [
        day for day in city.curated.days(kind) if first is None or (last is not None and first <= day <= last)
    ]
    rows = city.curated.read(kind, days[0], days[-1]) if days else None
    if rows is None or not rows.height:
        if required:
            raise NoRawData(
                f"No days of {kind} are known of {city.raw_url}. Compute some: ecluse city run, "
                "or name days that have raw data: --from, --to"
            )
        return None
    if kind == "roads":
        rows = possible_values(rows, "flow", city.thresholds)
    else:
        rows = rows.filter(pl.col("count").is_between(0, city.thresholds.largest_bikes))
    local = rows["at"].dt.convert_time_zone(city.zone.key).dt.date()
    begin, end = local.min(), local.max()
    assert isinstance(begin, date)  # noqa: S101 (there are rows)
    assert isinstance(end, date)  # noqa: S101
    value, sensor = ("flow", "arc") if kind == "roads" else ("count", "counter")
    return panel_of(rows, value, begin, end, city.zone, sensor=sensor)


def _named(report: Report, kind: str) -> Report:
    return lambda fraction, message: report(fraction, f"{kind}: {message}")


def _overall(kind: str, result: Backtest) -> Iterator[dict[str, Any]]:
    for model, errors in result.overall.items():
        yield {
            "series": kind,
            "sensors": len(result.series),
            "model": model,
            "mase_mean": errors.mase_mean,
            "mase_median": errors.mase_median,
            "coverage": errors.coverage,
            "width": errors.relative_width,
            "level": result.level,
            "first": result.first.isoformat(),
            "last": result.last.isoformat(),
        }


def _each(kind: str, result: Backtest) -> Iterator[dict[str, Any]]:
    for sensor, models in result.series.items():
        for model, errors in models.items():
            yield {
                "series": kind,
                "sensor": sensor,
                "model": model,
                "mase": errors.mase,
                "coverage": errors.coverage,
                "width": errors.width,
                "hours": errors.hours,
            }
