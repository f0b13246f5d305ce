"""Count the city's alerts by day: those of the rule, and those that blocked hours alone would raise.

    python -m benchmarks.city_alerts [FOLDER] [--arcs 400] [--days 63] [--step 1]

Without FOLDER: over the invented city. FOLDER holds exports of real road counts (`comptages-*.csv`). Of every alert it
is asked what its own page says: whether one of its hours lies within its usual band, or the verdict of its arc's day is
"as usual". Both shares have to be 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ecluse.apps.city import sample
from ecluse.apps.city.actions import City, open_city, prepare
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.inputs import Inputs, Metrics, read_inputs
from ecluse.apps.city.processors import PROCESSORS
from ecluse.apps.city.streaks import streaks
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import open_store

#: The rule of before: so many hours in a row with at least this occupancy.
HOURS, BLOCKED = 2, 50.0
#: What the alerts are made from.
NEEDED = ("bikes", "sensors", "arcs", "weather", "alerts")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--arcs", type=int, default=sample.ARCS)
    parser.add_argument("--days", type=int, default=sample.DAYS)
    parser.add_argument("--step", type=int, default=1, help="Look at every so many days.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        raw = Path(place) / "raw"
        first, last = _write(raw, args)
        with _city(Path(place) / "home", raw) as city:
            prepare(city, first, last)
            days = [
                _day(city, first + timedelta(days=n)) for n in range(0, (last - first).days + 1, args.step)
            ]
    print(json.dumps(_told([one for one in days if one is not None]), indent=2))


def _write(raw: Path, args: argparse.Namespace) -> tuple[date, date]:
    if args.folder is None:
        written = write_demo(open_store(raw.as_uri()), sample.FIRST, args.days, arcs=args.arcs)
        return written.first, written.last
    (raw / "batch").mkdir(parents=True)
    for file in sorted(args.folder.glob("comptages-*.csv")):
        shutil.copy(file, raw / "batch" / f"comptages-routiers-permanents-{file.name}")
    return date(2021, 11, 2), date(2022, 12, 3)


@contextmanager
def _city(home: Path, raw: Path) -> Iterator[City]:
    settings = Settings.from_environment({}, home=home)
    with Runtime.open(settings) as runtime, open_city(runtime, str(raw)) as city:
        yield city


def _day(city: City, day: date) -> dict[str, Any] | None:
    inputs = read_inputs(city.curated, city.day(day), city.thresholds)
    if not inputs.road_hours.reporting.any():
        return None
    found: dict[str, Metrics] = {}
    for kind in NEEDED:
        found[kind] = PROCESSORS[kind].compute(inputs, found)
    body, arcs = found["alerts"].body, found["arcs"].parts
    usual = [one for one in body["alerts"] if arcs[str(one["arc"])]["verdict"] == "as usual"]
    before = list(_before(inputs))
    return {
        "reporting": body["arcs_reporting"],
        "judged": body["arcs_judged"],
        "alerts": body["alerts_total"],
        "by_kind": body["by_kind"],
        "severities": [one["severity"] for one in body["alerts"]],
        "causes": sorted({cause["kind"] for one in body["alerts"] for cause in one["causes"]}),
        "without_cause": sum(not one["causes"] for one in body["alerts"]),
        "near_cause": sum(any(cause["near"] for cause in one["causes"]) for one in body["alerts"]),
        "within_band": sum(_within(one) for one in body["alerts"]),
        "as_usual": len(usual),
        "before": len(before),
        "before_with_band": sum(has for has, _ in before),
        "before_within_band": sum(has and within for has, within in before),
        "size": len(json.dumps(body, ensure_ascii=False)),
    }


def _within(alert: dict[str, Any]) -> bool:
    why = alert["why"]
    rows = zip(why["observed"], why["usual"]["low"], why["usual"]["high"], strict=True)
    return any(low <= value <= high for value, low, high in rows)


def _before(inputs: Inputs) -> Iterator[tuple[bool, bool]]:
    """Of each alert that blocked hours would raise: whether there is a band, and whether no hour leaves it."""
    occupancy, usual = inputs.road_hours.occupancy, inputs.occupancy_usual
    clock = list(inputs.day.clock_hours)
    for place, begin, end in streaks(occupancy >= BLOCKED, HOURS):
        high = usual.high[0, place, clock[begin:end]]
        yield bool((high == high).any()), not bool((occupancy[place, begin:end] > high).any())


def _told(days: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [one for one in days if one["judged"]]

    def by_day(name: str, some: list[dict[str, Any]]) -> dict[str, float]:
        values = [one[name] for one in some] or [0]
        return {
            "mean": round(fmean(values), 2),
            "median": median(values),
            "most": max(values),
            "all": sum(values),
        }

    return {
        "days": len(days),
        "days_judged": len(judged),
        "alerts a day": by_day("alerts", days),
        "alerts a judged day": by_day("alerts", judged),
        "of kind": dict(sum((Counter(one["by_kind"]) for one in days), Counter())),
        "of severity": dict(sorted(Counter(n for one in days for n in one["severities"]).items())),
        "with an hour within its band": sum(one["within_band"] for one in days),
        "whose arc's day is as usual": sum(one["as_usual"] for one in days),
        "without any cause in the data": sum(one["without_cause"] for one in days),
        "with a cause near the arc": sum(one["near_cause"] for one in days),
        "largest document, bytes": max(one["size"] for one in days),
        "before": {
            "alerts a day": by_day("before", days),
            "with a band": sum(one["before_with_band"] for one in days),
            "never beyond it": sum(one["before_within_band"] for one in days),
        },
    }


if __name__ == "__main__":
    main()
