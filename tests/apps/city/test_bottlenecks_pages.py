"""Bottlenecks on their page, over HTTP, as files and on the command line: the same ranking everywhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from ecluse.apps.city.bottlenecks import Hours, day_chunks
from ecluse.cli import cli
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.apps.city.invented_documents import LAST, invented_city
from tests.web.test_pages import Browser, browser

DAYS, DAY = 14, LAST.isoformat()
QUERY = f"from=2025-10-01&to={DAY}&days=working"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weeks in which arcs 101 and 102 queue from 8 to 10 on every day, 103 at 18 on the first alone."""
    folder = tmp_path_factory.mktemp("home")
    last = date.fromisoformat(DAY)
    dates = tuple(last - timedelta(days=DAYS - 1 - n) for n in range(DAYS))
    queue = np.zeros((3, DAYS, 24), bool)
    queue[:2, :, 8:10] = queue[2, 0, 18] = True
    lost = np.full(queue.shape, 1.5, np.float32)
    hours = Hours((101, 102, 103), dates, np.ones_like(queue), queue, lost)
    with Runtime.open(Settings.from_environment({}, home=folder)) as runtime:
        runtime.documents.put_many(invented_city(days=1))
        chunk = runtime.documents.get("reference/arcs", "000")
        for arc in chunk["arcs"]:
            arc |= {"upstream_node": arc["arc"], "downstream_node": arc["arc"] + 1}
        runtime.documents.put("reference/arcs", "000", chunk)
        for n, day in enumerate(dates):
            for key, body in day_chunks(hours, n).items():
                runtime.documents.put(f"metrics/bottlenecks/{day}", key, body)
            mark = {"date": day.isoformat(), "kinds": [], "rows": {}, "city_name": "Paris", "invented": False}
            runtime.documents.put("metrics/day", day.isoformat(), mark)
    return folder


@pytest.fixture(scope="module")
def reader(home: Path) -> Iterator[Browser]:
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        yield browser(runtime, runtime.accounts.sign_up("ines@example.org", "a long password"))


def test_page_api_files_and_command_say_the_same(reader: Browser, home: Path) -> None:
    body = reader.get(f"/api/city/bottlenecks?{QUERY}").json()
    (item,) = body["items"]
    assert (body["city"], body["invented"], body["rests_on"], body["total"]) == ("Paris", False, 10, 1)
    assert (body["from"], body["to"], body["days"]) == ("2025-10-01", DAY, "working")
    assert (item["arc"], item["arcs"], item["hours"], item["recurrence"]) == (102, [101, 102], [8, 9], 1)
    assert item["lost_time_a_day"] == 2 * 2 * 1.5
    page = reader.get(f"/city/bottlenecks?{QUERY}").text
    assert '<a href="/city/arcs/102?date=2025-10-14">1. ' in page
    assert "(10/10)" in page
    assert page.count('<path class="queues"') == 1
    assert f"/api/city/bottlenecks.csv?{QUERY.replace('&', '&amp;')}" in page
    answer = reader.get(f"/api/city/bottlenecks.csv?{QUERY}")
    assert 'filename="bottlenecks-2025-10-01-2025-10-14-working.csv"' in answer.headers["content-disposition"]
    rows = pl.read_csv(io.BytesIO(answer.content)).to_dicts()
    assert [(row["arc"], row["arcs"], row["recurrence"], row["days"]) for row in rows] == [
        (102, "101; 102", 1, 10)
    ]
    parquet = reader.get(f"/api/city/bottlenecks.parquet?{QUERY}")
    assert pl.read_parquet(io.BytesIO(parquet.content))["lost_time_a_day"].to_list() == [6.0]
    facts = CliRunner().invoke(
        cli, ["city", "bottlenecks", "--from", "2025-10-01", "--to", DAY, "--home", str(home), "--json"]
    )
    assert json.loads(facts.stdout) == body["items"]
    assert f"Working days from 2025-10-01 to {DAY}: 10 days, 1 bottleneck. Duration in hours" in facts.stderr


def test_a_kind_of_day_with_too_few_days_has_none_and_says_so(reader: Browser) -> None:
    page = reader.get("/city/bottlenecks?from=2025-10-01&to=2025-10-14&days=saturday").text
    assert "No bottleneck" in page
    assert "A ranking needs 5 such days; this period has 2." in page
    assert reader.get("/api/city/bottlenecks.csv?days=saturday").text.count("\n") == 1
    assert reader.get("/api/city/bottlenecks?days=holidays").status_code == 422


def test_a_period_that_is_none_is_told_beside_the_usual_one(reader: Browser) -> None:
    answer = reader.get("/city/bottlenecks?from=2025-10-14&to=2025-10-01")
    assert (answer.status_code, "Exchange them." in answer.text) == (422, True)
    assert re.search(r'<a href="/city/arcs/102', answer.text)
    assert reader.get("/api/city/bottlenecks?from=2025-10-14&to=2025-10-01").status_code == 422


@pytest.mark.parametrize("last", ["0001-01-01", "9999-12-31"])
def test_a_period_at_the_end_of_the_calendar_has_no_bottleneck(
    reader: Browser, home: Path, last: str
) -> None:
    for address in ("/city/bottlenecks", "/api/city/bottlenecks", "/api/city/bottlenecks.csv"):
        assert reader.get(f"{address}?to={last}").status_code == 200
    assert reader.get(f"/api/city/bottlenecks?to={last}").json()["items"] == []
    done = CliRunner().invoke(cli, ["city", "bottlenecks", "--to", last, "--home", str(home)])
    assert done.exit_code == 0, done.output


def test_the_page_is_french_too(reader: Browser) -> None:
    page = reader.get(f"/city/bottlenecks?{QUERY}&lang=fr").text
    assert "Points noirs de" in page
    assert "Jours ouvrés" in page
