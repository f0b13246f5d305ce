"""`ecluse city backtest` measures the forecasts on the days of a raw folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.application import run_ecluse
from tests.apps.city.by_hand import local

LAST = date(2022, 9, 18)
DAYS = 70


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two counters with ten bikes each hour of one week and twenty of the next."""
    folder = tmp_path_factory.mktemp("place")
    for n in range(DAYS):
        day = LAST - timedelta(days=n)
        records = [
            {
                "id_compteur": counter,
                "nom_compteur": f"Piste {counter}",
                "sum_counts": 10 + 10 * (n // 7 % 2),
                "date": at.isoformat(),
                "coordinates": {"lon": 2.35, "lat": 48.86},
            }
            for counter in ("100-1", "100-2")
            for at in local(day).starts
        ]
        file = folder / "raw" / "api" / "bikes" / f"dt={day}" / "hour=23" / "day.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"results": records}), encoding="utf-8")
    return folder


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    raw = ("--raw", str(place / "raw"))
    return run_ecluse(place / "home", {}, "city", "backtest", *raw, *arguments)


def backtest_json(place: Path, *arguments: str) -> list[dict[str, Any]]:
    done = run(place, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    items: list[dict[str, Any]] = json.loads(done.stdout)
    return items


def test_days_are_read_and_the_forecasts_of_the_last_week_measured(place: Path) -> None:
    period = ("--from", str(LAST - timedelta(days=DAYS - 1)), "--to", str(LAST))
    items = backtest_json(place, "--weeks", "1", "--no-learn", *period)
    assert [(item["series"], item["sensors"], item["model"]) for item in items] == [
        ("bikes", 2, model) for model in ("weekly naive", "typical day", "recent level", "chosen")
    ]
    assert (items[0]["mase_mean"], items[0]["coverage"]) == (1.0, None)
    assert items[1]["mase_mean"] < 1
    assert items[0]["last"] == "2022-09-18"
    assert (items[0]["city"], items[0]["invented"]) == ("Paris", False)

    each = backtest_json(place, "--weeks", "1", "--no-learn", "--each")  # the days are known now
    assert [item["sensor"] for item in each[::4]] == ["100-1", "100-2"]
    assert {item["hours"] for item in each} == {7 * 24}


def test_forecasts_of_an_invented_city_say_that_it_is(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "raw", tmp_path / "raw")
    for file in (tmp_path / "raw").rglob("day.json"):
        file.rename(file.with_name("day-demo.json"))
    (tmp_path / "raw" / "demo.json").write_text('{"demo": true}')
    period = ("--from", str(LAST - timedelta(days=DAYS - 1)), "--to", str(LAST))
    done = run(tmp_path, "--weeks", "1", "--no-learn", *period, "--json")
    assert done.returncode == 0, done.stderr
    assert {(item["city"], item["invented"]) for item in json.loads(done.stdout)} == {("Écluville", True)}
    assert "Invented data: there is no such city." in done.stderr


def test_what_cannot_be_measured_says_the_way_out(place: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    none = run(tmp_path, "--series", "roads")
    assert none.returncode == 1
    assert "No days of roads are known" in none.stderr
    assert "ecluse city run" in none.stderr
    assert run(place, "--from", "2022-09-01").returncode == 2
