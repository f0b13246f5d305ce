import csv
import io
from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl
import pytest

from ecluse.apps.city.days import MARK
from ecluse.apps.city.pages.columns import COLUMNS
from ecluse.apps.city.pages.exports import TABLES, encode_table, table_of
from ecluse.apps.city.pages.view import chains_of
from ecluse.apps.city.streets import stretch_of
from ecluse.documents import Document
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.apps.city.invented_documents import LAST, invented_city
from tests.web.test_pages import Browser, browser

DAY = LAST.isoformat()
JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A city of 24 arcs and three days."""
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        opened.documents.put_many(invented_city())
        yield opened


@pytest.fixture(scope="module")
def asking(runtime: Runtime) -> Browser:
    return browser(runtime, runtime.accounts.sign_up("ines@example.org", "a long password", "Inès"))


@pytest.fixture(scope="module")
def visitor(runtime: Runtime) -> Browser:
    return browser(runtime, None)


def test_health_is_open_and_names_the_latest_day(visitor: Browser) -> None:
    assert visitor.get("/api/city/health").json() == {"status": "ok", "latest": DAY, "invented": False}


@pytest.mark.parametrize(
    "path",
    [
        "stats",
        "days",
        f"metrics/traffic/{DAY}",
        f"metrics/{DAY}",
        "metrics/traffic",
        "arcs/100",
        f"report/{DAY}",
        "report/latest",
        "forecast/100",
        f"export/zones/{DAY}.csv",
    ],
)
def test_everything_else_needs_an_account(visitor: Browser, path: str) -> None:
    assert visitor.get(f"/api/city/{path}").status_code == 401


def test_stats_count_days_arcs_and_documents(asking: Browser) -> None:
    body = asking.get("/api/city/stats").json()
    assert (body["city"], body["zone"], body["days"], body["arcs"], body["zones"]) == (
        "Paris",
        "Europe/Paris",
        3,
        24,
        4,
    )
    assert (body["first"], body["latest"]) == ("2025-10-12", DAY)
    assert body["documents"]["metrics/traffic"] == 3


def test_days_are_those_of_the_range(asking: Browser) -> None:
    assert asking.get("/api/city/days").json()["days"] == ["2025-10-12", "2025-10-13", DAY]
    assert asking.get("/api/city/days?from=2025-10-13&to=2025-10-13").json()["days"] == ["2025-10-13"]


def test_a_kind_of_a_day_is_what_was_written(asking: Browser, runtime: Runtime) -> None:
    written = runtime.documents.get("metrics/zones", DAY)
    assert asking.get(f"/api/city/metrics/zones/{DAY}").json() == written


def test_a_day_answers_with_every_kind(asking: Browser) -> None:
    body = asking.get(f"/api/city/metrics/{DAY}").json()
    assert body["date"] == DAY
    assert body["metrics"]["traffic"]["arcs_known"] == 24
    assert all(body["metrics"].values())


def test_a_range_is_read_a_page_at_a_time(asking: Browser) -> None:
    first = asking.get("/api/city/metrics/traffic?limit=2").json()
    assert [item["date"] for item in first["items"]] == ["2025-10-12", "2025-10-13"]
    rest = asking.get(f"/api/city/metrics/traffic?from={first['next']}").json()
    assert ([item["date"] for item in rest["items"]], rest["next"]) == ([DAY], None)


@pytest.mark.parametrize("path", ["metrics/traffic/2025-10-20", "metrics/2025-10-20", "report/2025-10-20"])
def test_an_unknown_date_names_the_nearest_that_are_known(
    asking: Browser, runtime: Runtime, path: str
) -> None:
    runtime.documents.put("reports", DAY, {"headline": []})
    answer = asking.get(f"/api/city/{path}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "no_such_day")
    assert error["nearest"][0] == DAY
    assert DAY in error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "metrics/traffic/2025-13-45",
        "metrics/2025-02-30",
        "metrics/traffic/yesterday",
        "metrics/traffic?from=14.10.2025",
        "metrics/traffic?from=2025-10-14&to=2025-10-01",
        "arcs/100?to=20251014",
        f"metrics/traffic/{DAY.replace('-', '')}",
    ],
)
def test_a_date_that_is_none_is_refused(asking: Browser, path: str) -> None:
    answer = asking.get(f"/api/city/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")


@pytest.mark.parametrize(
    "path", [f"metrics/trafic/{DAY}", "metrics/trafic", f"export/arc/{DAY}.csv", "arcs/7", "forecast/7"]
)
def test_what_does_not_exist_is_not_found(asking: Browser, path: str) -> None:
    assert asking.get(f"/api/city/{path}").status_code == 404


def test_an_arc_comes_with_its_days_and_its_place(asking: Browser) -> None:
    body = asking.get("/api/city/arcs/101?from=2025-10-13").json()
    assert [item["date"] for item in body["items"]] == ["2025-10-13", DAY]
    assert (body["label"], body["reference"]["zone"]) == ("Rue_1", body["items"][0]["zone"])


def test_a_forecast_carries_its_interval(asking: Browser) -> None:
    body = asking.get("/api/city/forecast/100").json()
    assert body["date"] == "2025-10-15"
    assert all(low <= high for low, high in zip(body["flow"]["low"], body["flow"]["high"], strict=True))


def test_bike_counters_have_forecasts_too(asking: Browser, runtime: Runtime) -> None:
    expected = {"counter": "100-200", "date": "2025-10-15", "bikes": {"median": [1, 2]}}
    runtime.documents.put("forecast/bikes", "100-200", expected)
    assert asking.get("/api/city/forecast/bikes/100-200").json() == expected
    assert asking.get("/api/city/forecast/bikes/7").status_code == 404
    assert asking.get("/api/city/forecast/bikes/a%0Ab").status_code == 422


def test_the_latest_report_is_that_of_the_latest_day(asking: Browser, runtime: Runtime) -> None:
    runtime.documents.put("reports", "2025-10-13", {"headline": []})
    runtime.documents.put("reports", DAY, {"headline": ["last"]})
    assert asking.get("/api/city/report/latest").json() == {"date": DAY, "headline": ["last"]}


def test_the_columns_of_a_table_are_the_same_on_a_full_and_on_an_empty_day(runtime: Runtime) -> None:
    documents = runtime.documents
    empty = "2025-11-01"
    kinds = {kind for kind, _ in TABLES.values()}
    try:
        documents.put_many(
            Document(f"metrics/{kind}", empty, {"hours": [], "rankings": {}}) for kind in kinds
        )
        documents.put(MARK, empty, {"date": empty, "kinds": sorted(kinds), "inputs": ""})
        for table in TABLES:
            full, none = (table_of(documents, table, day)[0] for day in (LAST, date.fromisoformat(empty)))
            assert full.schema == none.schema
            assert full.columns == ["date", "city", "invented", *COLUMNS[table], "other"]
    finally:
        documents.delete(MARK, empty)
        for kind in kinds:
            documents.delete(f"metrics/{kind}", empty)


@pytest.mark.parametrize("table", list(TABLES))
def test_each_table_has_the_same_rows_in_both_forms(asking: Browser, table: str) -> None:
    as_csv = asking.get(f"/api/city/export/{table}/{DAY}.csv")
    as_parquet = asking.get(f"/api/city/export/{table}/{DAY}.parquet")
    rows = list(csv.DictReader(io.StringIO(as_csv.text)))
    frame = pl.read_parquet(io.BytesIO(as_parquet.content))
    assert len(rows) == frame.height > 0
    assert list(rows[0]) == frame.columns
    assert frame["date"].unique().to_list() == [date(2025, 10, 14)]
    assert as_csv.headers["content-disposition"] == f'attachment; filename="{table}-{DAY}.csv"'


def test_hours_without_a_measurement_are_empty_and_not_zero(asking: Browser) -> None:
    frame = pl.read_parquet(io.BytesIO(asking.get(f"/api/city/export/arc_hours/{DAY}.parquet").content))
    assert frame.height == 24 * 24
    assert frame["flow"].null_count() > 0


def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless_in_csv() -> None:
    frame = pl.DataFrame({"title": ["=HYPERLINK(1)", "Rue 1"], "lost": [-1.5, 2.0]})
    assert encode_table(frame, "csv").decode().splitlines()[1] == "'=HYPERLINK(1),-1.5"
    assert pl.read_parquet(io.BytesIO(encode_table(frame, "parquet"))).equals(frame)


def test_arcs_of_a_street_follow_each_other_by_their_nodes() -> None:
    def arc(number: int, start: int, end: int) -> dict[str, int]:
        return {"arc": number, "upstream": start, "downstream": end}

    there, back = [arc(3, 1, 2), arc(1, 2, 3), arc(2, 3, 4)], [arc(4, 4, 3), arc(5, 3, 2)]
    result = chains_of([*back, *there])
    assert [[entry["arc"] for entry in chain] for chain in result] == [[3, 1, 2], [4, 5]]


def test_a_ring_of_arcs_is_driven_once() -> None:
    ring = [{"arc": n, "upstream": n, "downstream": (n + 1) % 4} for n in range(4)]
    assert [[entry["arc"] for entry in chain] for chain in chains_of(ring)] == [[0, 1, 2, 3]]


def test_arcs_without_nodes_stand_alone() -> None:
    arcs = [{"arc": n, "upstream": None, "downstream": None} for n in range(2)]
    assert [len(chain) for chain in chains_of(arcs)] == [1, 1]


def test_administrators_start_runs_and_follow_them(asking: Browser) -> None:
    answer = asking.post("/api/city/runs", json={"from": "2025-10-12", "to": DAY})
    assert answer.status_code == 202
    run = answer.json()["run"]
    body = asking.get(f"/api/city/runs/{run}").json()
    assert (body["run"]["kind"], body["active"], body["days"]) == ("city_prepare", True, {})
    again = asking.post("/api/city/runs", json={"from": "2025-10-12", "to": DAY})
    assert again.json()["run"] == run


def test_a_job_of_another_kind_is_no_run_of_the_city(runtime: Runtime, asking: Browser) -> None:
    (owner,) = runtime.accounts.everyone()
    with runtime.catalog.write() as transaction:
        job = runtime.jobs.enqueue("profile", "profile", owner.id, "a table", {}, transaction=transaction)
    assert asking.get(f"/api/city/runs/{job}").status_code == 404


@pytest.mark.parametrize(
    "body", [{"from": DAY}, {"from": DAY, "to": "soon"}, {"from": DAY, "to": "2025-10-01"}]
)
def test_a_run_of_no_days_is_refused(asking: Browser, body: dict[str, str]) -> None:
    assert asking.post("/api/city/runs", json=body).status_code == 422


def test_only_administrators_start_runs(runtime: Runtime, asking: Browser) -> None:
    other = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    answer = other.post("/api/city/runs", json={"from": DAY, "to": DAY})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert other.post("/city/runs", data={"first": DAY, "last": DAY}).status_code == 403
    assert "Compute days" not in other.get("/city").text


def test_a_range_of_all_days_that_can_be_written_is_answered(asking: Browser) -> None:
    whole = "from=0001-01-01&to=9999-12-31"
    for path in ("days", "metrics/traffic", "arcs/100"):
        result = asking.get(f"/api/city/{path}?{whole}")
        assert result.status_code == 200, path
        assert DAY in result.text


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_day_at_the_end_of_the_calendar_is_unknown_like_any_other(asking: Browser, day: str) -> None:
    for path in (f"metrics/traffic/{day}", f"metrics/{day}", f"report/{day}", f"export/zones/{day}.csv"):
        assert asking.get(f"/api/city/{path}").status_code == 404
    assert asking.get(f"/city/{day}").status_code == 404
    run = asking.post("/api/city/runs", json={"from": day, "to": day})
    assert (run.status_code, run.json()["error"]["code"]) == (422, "invalid_input")


@pytest.mark.parametrize(
    ("label", "upstream", "downstream", "said"),
    [
        (
            "AV_Champs_Elysees",
            "Av_Champs_Elysees-Washington",
            "Av_Champs_Elysees-Berri",
            "Washington → Berri",
        ),
        ("Convention", "Lecourbe-Convention", "Convention-Blomet", "Lecourbe → Blomet"),
        ("Convention", "Convention", None, "Convention → …"),
        ("Convention", None, "", ""),
        (None, "Pont_Neuf", "Gare", "Pont Neuf → Gare"),
        ("Rue", 12, 13, ""),
    ],
)
def test_an_arc_is_told_by_the_crossings_it_leads_from_and_to(
    label: str | None, upstream: Any, downstream: Any, said: str
) -> None:
    assert stretch_of({"label": label, "upstream": upstream, "downstream": downstream}) == said
