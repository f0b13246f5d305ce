"""Measure the forecasts of the city on real series: hourly traffic of road arcs and counts of bike counters.

    python -m benchmarks.city_forecast FOLDER [--weeks 8] [--skip 0] [--history 168]

FOLDER holds exports of the open data: `comptages-*.csv` (comptages routiers permanents, `;`) and
`bike-counters-train.parquet` (counter_id, date in UTC, bike_count). The last `--weeks` of each are forecast day by
day, after `--skip` weeks at the end were put away: parameters were chosen with `--weeks 12 --skip 8`, and are
judged with `--weeks 8`. `--history 0`: LightGBM learns from all there is, not from the last 168 days alone.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean, median
from zoneinfo import ZoneInfo

import polars as pl

from ecluse.apps.city.backtest import MODELS, Backtest, backtest
from ecluse.apps.city.forecast import LEARNING_DAYS
from ecluse.apps.city.sources.road_records import STAMP
from ecluse.apps.city.typical import LEVELS, VERDICTS, Panel, panel_of, usual_days

PARIS = ZoneInfo("Europe/Paris")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weeks", type=int, default=8)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--history", type=int, default=LEARNING_DAYS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    panels = {"roads": roads(args.folder), "bikes": bikes(args.folder)}
    began = time.perf_counter()
    found = {
        name: backtest(shortened(panel, args.skip), weeks=args.weeks, history_days=args.history or None)
        for name, panel in panels.items()
    }
    told = {"seconds": round(time.perf_counter() - began, 1)} | {
        name: {"first": str(one.first), "last": str(one.last), "series": len(one.series)}
        | {model: asdict(score) for model, score in one.overall.items()}
        for name, one in found.items()
    }
    told["all"] = together(list(found.values()))
    told["verdicts"] = {
        name: verdicts(shortened(panel, args.skip), args.weeks) for name, panel in panels.items()
    }
    print(json.dumps(told, indent=None if args.json else 2))


def roads(folder: Path) -> Panel:
    """The flow of each arc, without the first and last days, which are not whole."""
    frames = [
        pl.read_csv(file, separator=";").select(
            arc=pl.col("Identifiant arc").cast(pl.Int32),
            at=pl.col("Date et heure de comptage").str.to_datetime(time_zone="UTC") - STAMP.shift,
            value=pl.col("Débit horaire").cast(pl.Float64),
        )
        for file in sorted(folder.glob("comptages-*.csv"))
    ]
    return whole(pl.concat(frames), "arc")


def bikes(folder: Path) -> Panel:
    """The count of each bike counter."""
    rows = pl.read_parquet(folder / "bike-counters-train.parquet").select(
        counter=pl.col("counter_id").cast(pl.String),
        at=pl.col("date").dt.replace_time_zone("UTC"),
        value=pl.col("bike_count"),
    )
    return whole(rows, "counter")


def whole(rows: pl.DataFrame, sensor: str) -> Panel:
    first, last = (rows["at"].dt.convert_time_zone("Europe/Paris").dt.date().sort()[n] for n in (0, -1))
    assert isinstance(first, date)
    assert isinstance(last, date)
    day = timedelta(days=1)
    return panel_of(rows, "value", first + day, last - day, PARIS, sensor=sensor)


def shortened(panel: Panel, weeks: int) -> Panel:
    return panel.until(panel.first + timedelta(days=panel.values.shape[1] - 7 * weeks))


def together(found: list[Backtest]) -> dict[str, dict[str, float | int]]:
    """All series of all kinds as one: MASE over series; coverage over their hours."""
    told: dict[str, dict[str, float | int]] = {}
    for model in MODELS:
        scores = [one[model] for each in found for one in each.series.values() if model in one]
        errors = [one.mase for one in scores if one.mase is not None]
        held = [(one.coverage, one.hours) for one in scores if one.coverage is not None]
        told[model] = {"mase_mean": fmean(errors), "mase_median": median(errors), "series": len(errors)}
        if held:
            told[model]["coverage"] = sum(share * n for share, n in held) / sum(n for _, n in held)
    return told


def verdicts(panel: Panel, weeks: int) -> dict[str, float]:
    """The share of each verdict among the days of the test, and of hours inside the widest band."""
    days = panel.values.shape[1]
    said: list[str] = []
    inside = hours = 0
    for n in range(days - 7 * weeks, days):
        day = panel.first + timedelta(days=n)
        usual = usual_days(panel, day)
        values = panel.of(day)
        said += usual.verdicts(values)
        inside += int(((values >= usual.low[-1]) & (values <= usual.high[-1])).sum())
        hours += int(((values == values) & (usual.high[-1] == usual.high[-1])).sum())
    shares = {verdict: said.count(verdict) / len(said) for verdict in VERDICTS}
    return shares | {f"inside {LEVELS[-1]:.0%}": inside / hours}


if __name__ == "__main__":
    main()
