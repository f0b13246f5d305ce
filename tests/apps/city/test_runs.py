"""A day is computed whole or not at all, and the same whenever it is computed again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ecluse.apps.city import actions as workflows
from ecluse.apps.city import reference
from ecluse.apps.city.actions import City
from ecluse.apps.city.days import MARK, find_day, is_there, latest_day, nearest_days
from ecluse.apps.city.errors import BadRaw, MixedData, NoRawData, NoSuchDay
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.thresholds import Thresholds
from ecluse.documents import Document, Documents
from ecluse.errors import InvalidInput, SettingsError, StoreUnavailable
from ecluse.runtime import Runtime
from tests.apps.city.sample import LAST, LONG_DAY, held

pytestmark = pytest.mark.nightly

WEDNESDAY = date(2025, 10, 15)


@dataclass
class Noted:
    """Documents that note in which order they are written, and fail after so many writes."""

    documents: Documents
    most: int = 1_000_000
    written: list[tuple[str, str, str]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.documents, name)

    def put(self, kind: str, key: str, body: Mapping[str, Any]) -> None:
        self._note("put", kind, key)
        self.documents.put(kind, key, body)

    def put_many(self, items: Iterable[Document]) -> None:
        for item in items:
            self.put(item.kind, item.key, item.body)

    def delete(self, kind: str, key: str) -> None:
        self._note("delete", kind, key)
        self.documents.delete(kind, key)

    def _note(self, how: str, kind: str, key: str) -> None:
        if len(self.written) == self.most:
            raise StoreUnavailable("The database went away.")
        self.written.append((how, kind, key))


def noted(city: City, most: int = 1_000_000) -> tuple[City, Noted]:
    documents = Noted(city.documents, most)
    return replace(city, documents=documents), documents  # type: ignore[arg-type]


def run(city: City, day: date = WEDNESDAY, **options: Any) -> workflows.ComputedDay | None:
    return workflows.run_day(city, day, run="test", **options)


def test_a_day_is_there_with_its_kinds_its_zone_and_the_labels_of_its_hours(city: City) -> None:
    run(city)
    mark = find_day(city.documents, WEDNESDAY)
    assert mark["run"] == "test"
    assert mark["raw"] == city.raw_url
    assert {"traffic", "arcs", "map", "zones", "ranking", "alerts", "sensors", "quality"} <= set(
        mark["kinds"]
    )
    for kind in mark["kinds"]:
        body = city.documents.get(f"metrics/{kind}", "2025-10-15")
        assert (body["date"], body["zone"]) == ("2025-10-15", "Europe/Paris")
        assert body["hours"] == [f"{hour:02d}:00" for hour in range(24)]


def test_the_day_on_which_the_clocks_go_back_has_25_hours(city: City) -> None:
    computed = run(city, LONG_DAY)
    assert computed is not None
    hours = computed.metrics["traffic"].body["hours"]
    assert hours[2:4] == ["02:00 +02:00", "02:00 +01:00"]
    assert len(hours) == len(computed.metrics["traffic"].body["by_hour"]["vehicles"]) == 25


def test_a_day_computed_twice_leaves_the_same_documents(city: City) -> None:
    run(city)
    before = held(city.documents)
    run(city)
    assert held(city.documents) == before


def test_what_an_earlier_run_left_and_this_one_did_not_make_goes(city: City) -> None:
    run(city)
    before = held(city.documents)
    for kind, key in (
        ("metrics/arcs/2025-10-15", "999999"),
        ("metrics/map/2025-10-15", "099"),
        (reference.ARCS, "099"),
        ("metrics/former/2025-10-15", "1"),
        ("metrics/former", "2025-10-15"),
    ):
        city.documents.put(kind, key, {"left": True})
    mark = city.documents.get(MARK, "2025-10-15")
    city.documents.put(MARK, "2025-10-15", mark | {"kinds": [*mark["kinds"], "former"]})
    city.documents.put(reference.STATE, "arcs", {"made_from": "another"})
    run(city)
    assert held(city.documents) == before


def test_other_days_stay_as_they_are_when_one_is_computed(city: City) -> None:
    run(city)
    before = held(city.documents)
    run(city, WEDNESDAY + timedelta(days=1))
    assert before.items() <= held(city.documents).items()


def test_a_day_is_marked_after_all_else_was_written(city: City) -> None:
    watched, documents = noted(city)
    run(watched)
    assert documents.written[-1] == ("put", MARK, "2025-10-15")
    assert [item for item in documents.written if item[1] == MARK] == [("put", MARK, "2025-10-15")]
    parts = [n for n, (_, kind, _) in enumerate(documents.written) if kind.startswith("metrics/arcs/")]
    summary = documents.written.index(("put", "metrics/arcs", "2025-10-15"))
    assert parts[-1] < summary


def test_a_day_whose_inputs_changed_is_not_there_until_it_is_whole_again(city: City) -> None:
    run(city)
    changed = replace(city, thresholds=Thresholds.changed({"rain": 1}))
    computed = workflows.compute_day(changed, WEDNESDAY)
    watched, _ = noted(changed, 0)
    with pytest.raises(StoreUnavailable):
        workflows.write_day(watched, computed, run="test")
    assert find_day(city.documents, WEDNESDAY)
    for most in (1, 2, 12, 24):
        watched, _ = noted(changed, most)
        with pytest.raises(StoreUnavailable):
            workflows.write_day(watched, computed, run="test")
        with pytest.raises(NoSuchDay):
            find_day(city.documents, WEDNESDAY)
    watched, _ = noted(changed)
    workflows.write_day(watched, computed, run="test")
    assert workflows.is_up_to_date(changed, WEDNESDAY)
    assert not workflows.is_up_to_date(city, WEDNESDAY)


def test_a_day_is_up_to_date_until_its_data_or_a_rule_changes(
    runtime: Runtime, sample: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(sample, raw)
    with workflows.open_city(runtime, str(raw)) as city:
        assert run(city, again=False) is not None
        assert run(city, again=False) is None
        day_before = raw / "api/bikes/dt=2025-10-14"
        shutil.rmtree(next(iter(sorted(day_before.iterdir()))))
        assert run(city, again=False) is not None
        shutil.rmtree(raw / "api/bikes/dt=2025-10-17")
        assert run(city, again=False) is None, "a later day does not matter"


def test_a_day_without_raw_data_names_the_nearest_that_have_some(city: City) -> None:
    with pytest.raises(NoRawData, match=f"no raw data for 2025-12-24 in {city.raw_url}.* 2025-11-02"):
        run(city, date(2025, 12, 24))
    with pytest.raises(NoRawData, match=r"2025-09-\d\d\.$"):
        run(city, date(2025, 9, 1))
    assert not city.documents.keys(MARK)


@pytest.mark.parametrize("day", [date.min, date(1, 3, 1), date.max, date.max - timedelta(days=1)])
def test_a_day_that_no_city_has_is_refused(city: City, day: date) -> None:
    with pytest.raises(InvalidInput, match="is no day of a city; ask for one from 1971-01-01 to 2147-12-31"):
        run(city, day)


def test_a_reference_of_more_arcs_than_fit_into_memory_is_refused(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "MOST_ARCS", 11)
    with pytest.raises(BadRaw, match="arcs, and a day is computed of 11 at most"):
        run(city)


def test_an_empty_raw_store_says_how_to_fill_it(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with (
        workflows.open_city(runtime, str(tmp_path / "raw")) as empty,
        pytest.raises(NoRawData, match="ecluse city fetch, or ecluse city demo"),
    ):
        run(empty)


def test_a_day_that_was_not_computed_names_its_neighbours(city: City) -> None:
    with pytest.raises(NoSuchDay, match="ecluse city run --date 2025-10-16"):
        find_day(city.documents, date(2025, 10, 16))
    run(city)
    run(city, date(2025, 10, 17))
    with pytest.raises(NoSuchDay, match="2025-10-15, 2025-10-17"):
        find_day(city.documents, date(2025, 10, 16))
    assert nearest_days(city.documents, LAST) == ["2025-10-17", "2025-10-15"]
    assert latest_day(city.documents) == date(2025, 10, 17)


def test_each_raw_store_has_a_curated_layer_of_its_own(runtime: Runtime, sample: Path) -> None:
    with workflows.open_city(runtime, str(sample)) as named:
        run(named)
    with workflows.open_city(runtime) as usual, pytest.raises(MixedData):
        run(usual)
    folders = [name.strip("/") for name in runtime.data.list_names("city")]
    assert not {"curated", "invented"} & {*folders}
    assert [name for name in folders if name.startswith("invented-")]


def test_the_document_on_quality_says_what_was_read_and_what_was_missing(
    runtime: Runtime, sample: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(sample, raw)
    shutil.rmtree(raw / "api/weather")
    with workflows.open_city(runtime, str(raw)) as city:
        run(city)
        quality = city.documents.get("metrics/quality", "2025-10-15")
    assert quality["missing"] == ["weather"]
    bikes = quality["sources"]["bikes"]
    assert bikes["files"]
    assert all(file.startswith(raw.as_uri()) for file in bikes["files"])
    assert bikes["records"] >= bikes["rows"] > 0


def test_a_copy_of_the_raw_data_is_read_where_the_first_lacks_a_file_and_is_named(
    runtime: Runtime, sample: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(sample, raw)
    shutil.rmtree(raw / "api/weather")
    settings = runtime.settings.having(
        replace(runtime.settings.of(CitySettings), raw_fallback_url=sample.as_uri())
    )
    with workflows.open_city(replace(runtime, settings=settings), str(raw)) as city:
        run(city)
        sources = city.documents.get("metrics/quality", "2025-10-15")["sources"]
    assert all(file.startswith(sample.as_uri()) for file in sources["weather"]["fallback"])
    assert sources["weather"]["fallback"]
    assert not sources["bikes"]["fallback"]


def test_a_threshold_that_is_none_is_refused(runtime: Runtime) -> None:
    settings = runtime.settings.having(replace(runtime.settings.of(CitySettings), thresholds={"snow": 1.0}))
    with (
        pytest.raises(SettingsError, match="'snow' is no threshold"),
        workflows.open_city(replace(runtime, settings=settings)),
    ):
        pass


def test_streets_and_zones_are_there_for_the_map(city: City) -> None:
    run(city)
    arcs = [item for result in city.documents.all(reference.ARCS) for item in result.body["arcs"]]
    assert [item["arc"] for item in arcs] == sorted(item["arc"] for item in arcs)
    assert all(len(item["coordinates"]) > 1 for item in arcs)
    zones = list(city.documents.all(reference.ZONES))
    assert zones[0].key == "01"
    assert zones[0].body["geometry"]["type"] in ("Polygon", "MultiPolygon")


def put_forecast(city: City, day: str) -> None:
    city.documents.put("forecast/arcs", "101", {"date": day})
    city.documents.put("forecast", "state", {"date": day, "inputs": "digest"})


def test_a_removed_day_leaves_nothing_but_what_it_can_be_computed_from(city: City, runtime: Runtime) -> None:
    tuesday = WEDNESDAY - timedelta(days=1)
    run(city, tuesday)
    before = held(city.documents)
    run(city)
    put_forecast(city, "2025-10-16")
    workflows.remove_day(city.documents, city.reports, WEDNESDAY)
    assert held(city.documents) == before
    assert [info.key.partition("/")[0] for info in city.reports.list("")] == ["2025-10-14"] * 4
    with pytest.raises(NoSuchDay, match="2025-10-14"):
        find_day(city.documents, WEDNESDAY)
    run(city)
    assert workflows.is_up_to_date(city, WEDNESDAY)


def test_a_removal_that_was_interrupted_is_done_again_and_the_forecast_of_a_later_day_stays(
    city: City,
) -> None:
    tuesday = WEDNESDAY - timedelta(days=1)
    run(city, tuesday)
    run(city)
    put_forecast(city, "2025-10-16")
    half, _ = noted(city, most=2)
    with pytest.raises(StoreUnavailable):
        workflows.remove_day(half.documents, city.reports, tuesday)
    assert not is_there(city.documents, tuesday)
    assert workflows.removable_days(city.documents, tuesday, WEDNESDAY) == [tuesday, WEDNESDAY]
    workflows.remove_day(city.documents, city.reports, tuesday)
    assert workflows.removable_days(city.documents, tuesday, WEDNESDAY) == [WEDNESDAY]
    assert city.documents.get("forecast", "state")["date"] == "2025-10-16"
    assert city.documents.keys("forecast/arcs") == ["101"]
