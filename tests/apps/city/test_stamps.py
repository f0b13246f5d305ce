"""The hours of real days, recomputed from the raw rows by the publishers' words, and by nothing of the code."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.inputs import read_inputs
from ecluse.apps.city.processors import arcs
from ecluse.apps.city.sources import roads
from ecluse.apps.city.thresholds import Thresholds
from tests.apps.city.layers import Layers, make_layers
from tests.conftest import SHARED

REAL = SHARED / "city"
PARIS = ZoneInfo("Europe/Paris")
#: The day of 23 hours, that of 25, one of 24, and one of which the first half is there.
DAYS = (date(2022, 3, 27), date(2022, 10, 30), date(2022, 9, 20), date(2022, 3, 4))


def flows_by_hand(path: Path, day: date) -> list[float | None]:
    """The flow of each hour of a local day: the row whose stamp is the end of the hour."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        result = {
            datetime.fromisoformat(row["Date et heure de comptage"]).astimezone(UTC): row["Débit horaire"]
            for row in csv.DictReader(text, delimiter=";")
        }
    midnight = datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)
    following = day + timedelta(days=1)
    last = datetime(following.year, following.month, following.day, tzinfo=PARIS).astimezone(UTC)
    flows: list[float | None] = []
    end = midnight + timedelta(hours=1)
    while end <= last:
        flows.append(float(result[end]) if result.get(end) else None)
        end += timedelta(hours=1)
    return flows


@pytest.fixture(scope="module")
def real_layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    """The real files of road sensors, curated."""
    layers = make_layers(tmp_path_factory.mktemp("roads"))
    for path in REAL.glob("comptages-*.csv"):
        layers.put(f"batch/{path.name}", path.read_bytes())
    roads.curate(layers.raw, layers.work)
    return layers


@pytest.mark.skipif(
    not list(REAL.glob("comptages-*.csv")), reason="the real files are not beside the checkout"
)
@pytest.mark.parametrize("day", DAYS, ids=str)
def test_a_real_day_of_each_sensor_is_that_of_its_raw_rows(real_layers: Layers, day: date) -> None:
    inputs = read_inputs(real_layers.curated, LocalDay(day, PARIS), Thresholds(), history_days=0)
    result = arcs.compute(inputs, {}).parts
    for path in sorted(REAL.glob("comptages-*.csv")):
        arc = pl.read_csv(path, separator=";", columns=["Identifiant arc"], n_rows=1).item()
        flows = flows_by_hand(path, day)
        expected = [flow for flow in flows if flow is not None]
        assert result[str(arc)]["flow"] == flows
        assert result[str(arc)]["vehicles"] == sum(expected)
        assert result[str(arc)]["vehicles_coverage"] == pytest.approx(len(expected) / len(flows), abs=1e-6)


#: The hours of 2022-03-27 at Saint-Pères (arc 191), whose stamps run from 01:00 to 00:00 a day later.
@pytest.mark.skipif(
    not (REAL / "comptages-sts-peres.csv").exists(), reason="the real file is not beside the checkout"
)
def test_the_short_day_at_saints_peres_has_the_sum_of_its_own_hours() -> None:
    flows = flows_by_hand(REAL / "comptages-sts-peres.csv", date(2022, 3, 27))
    assert (len(flows), sum(flow or 0 for flow in flows)) == (23, 7984)
