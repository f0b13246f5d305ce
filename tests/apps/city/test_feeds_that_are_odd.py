"""Whatever JSON a feed holds, the day is made: what cannot be read is set aside, and documents can keep the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.city import tables
from ecluse.apps.city.processors import disruptions as told_disruptions
from ecluse.apps.city.processors import weather as told_weather
from ecluse.apps.city.sources import bikes, disruptions, weather
from ecluse.apps.city.sources.feed import Document, FeedFile, Rejections
from ecluse.documents.canonical import entry
from tests.apps.city.by_hand import TUESDAY, local, made
from tests.apps.city.layers import PARIS, make_layers

TIMES = ("2025-06-03", "2025-06-03T10:00:00", "20250603T101500", "99991231T235959", "00010101T000000")
WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        (*TIMES, "a", "b", "line", "network", "\ud800", "a\x00b", "-5", "1e400", "NaN", "<p>", "&#0;")
    ),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS)
ODD = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


def often(*good: Any) -> st.SearchStrategy[Any]:
    """Mostly one of these, and anything at times."""
    some = st.one_of(*(item if isinstance(item, st.SearchStrategy) else st.just(item) for item in good))
    return st.one_of(some, some, some, some, ODD)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.fixed_dictionaries({}, optional=fields), st.fixed_dictionaries(fields))


def several(item: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return often(st.lists(st.one_of(item, ODD), max_size=3))


TIME = often(*TIMES)
PERIODS = st.one_of(several(record(begin=TIME, end=TIME)), st.just([{"begin": TIMES[2], "end": TIMES[3]}]))
LINE = record(id=often("a", "b"), code=WORDS, name=ODD, commercial_mode=often(record(id=WORDS)), network=ODD)
PLACE = record(line=often(LINE), network=often(record(name=WORDS)), embedded_type=often("stop_point"))
MESSAGE = record(text=WORDS, channel=often(record(types=often(["title"]))))
DISRUPTION = st.one_of(
    record(
        id=often("a"),
        applicationPeriods=PERIODS,
        severity=often("BLOQUANTE"),
        title=WORDS,
        message=WORDS,
        cause=WORDS,
    ),
    record(
        id=often("a"),
        application_periods=PERIODS,
        severity=often(record(effect=often("NO_SERVICE"))),
        messages=several(MESSAGE),
        impacted_objects=several(record(pt_object=often(PLACE), impacted_section=ODD)),
        updated_at=TIME,
    ),
)
IMPACTED = record(type=often("line"), disruptionIds=often(["a"], ["a", 7, None]))
PRIM_LINE = record(id=often("a"), shortName=WORDS, mode=ODD, networkId=ODD, impactedObjects=several(IMPACTED))
COUNT = record(
    id_compteur=often("a"),
    nom_compteur=WORDS,
    sum_counts=often(1, "2"),
    date=TIME,
    coordinates=often("1,2", [1, 2]),
)
DAY = record(datetime=TIME, temp=often(20), tempmin=ODD, precip=often(1.5), windspeed=ODD, conditions=WORDS)
TABLE = record(
    time=often(["2025-06-03"], ["2025-06-03T10:00", 5]),
    temperature_2m=often([20, None]),
    precipitation_sum=ODD,
)
CONTENT = st.one_of(
    ODD,
    several(COUNT),
    several(DISRUPTION),
    record(results=several(COUNT), records=several(record(fields=often(COUNT)))),
    record(
        disruptions=several(DISRUPTION), lines=several(PRIM_LINE), line_reports=several(record(line=LINE))
    ),
    record(days=several(DAY), unitGroup=often("us", "metric")),
    record(
        hourly=often(TABLE),
        daily=often(TABLE),
        hourly_units=ODD,
        utc_offset_seconds=often(7200),
        timezone=ODD,
    ),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> FeedFile:
    layers = make_layers(tmp_path_factory.mktemp("odd"))
    layers.put("api/bikes/dt=2025-06-03/hour=10/a.json", "{}")
    (raw,) = layers.raw.partition("bikes", TUESDAY)
    return FeedFile(raw, TUESDAY, 10)


@settings(max_examples=250)
@given(CONTENT)
def test_no_json_is_fatal_and_what_is_read_can_be_kept(file: FeedFile, content: Any) -> None:
    day = local(TUESDAY)
    document = Document(file, content, Rejections())
    counts, rejections = bikes.read_document(document, day)
    pl.DataFrame([vars(count) for count in counts], schema=tables.BIKES)
    snapshot = disruptions.read_document(document, PARIS, rejections)
    rows = pl.DataFrame(list(disruptions.rows_of(snapshot, day)), schema=tables.DISRUPTIONS)
    transit = told_disruptions.compute(made(TUESDAY).with_tables(disruptions=rows), {})
    entry("metrics/disruptions", "2025-06-03", transit.body)
    row = weather.one_day([weather.read_document(document, day, rejections)], day)
    days = pl.DataFrame([row] if row else [], schema=tables.WEATHER)
    entry("metrics/weather", "x", told_weather.compute(made(TUESDAY).with_tables(weather=days), {}).body)
    json.dumps([vars(item) for item in rejections.examples], ensure_ascii=False).encode()


def test_text_that_no_database_keeps_is_left_out(tmp_path: Path) -> None:
    layers = make_layers(tmp_path)
    count = {"id_compteur": "1-1", "nom_compteur": "a\x00\ud800b", "sum_counts": 5}
    records = [count | {"date": "2025-06-03T10:00:00+00:00"}, count | {"date": "\ud800"}]
    layers.put("api/bikes/dt=2025-06-03/hour=10/a.json", json.dumps({"results": records}))
    bikes.curate(layers.raw, replace(layers.work, first=TUESDAY, last=TUESDAY))
    assert layers.curated.read("bikes", TUESDAY, TUESDAY)["name"].to_list() == ["ab"]
    (part,) = layers.curated.parts("bikes", TUESDAY)
    assert part.rejected == {bikes.NO_TIME: 1}


def test_a_number_without_end_makes_its_file_a_broken_one(tmp_path: Path) -> None:
    layers = make_layers(tmp_path)
    layers.put("api/bikes/dt=2025-06-03/hour=10/a.json", '{"results": [' + "9" * 5000 + "]}")
    bikes.curate(layers.raw, replace(layers.work, first=TUESDAY, last=TUESDAY))
    (part,) = layers.curated.parts("bikes", TUESDAY)
    assert part.rejected == {"the file is broken": 1}


def test_an_end_that_stands_for_none_is_none(tmp_path: Path) -> None:
    layers = make_layers(tmp_path)
    periods = [{"begin": "20250603T000000", "end": "9999-12-31T23:59:59Z"}]
    facts = {"id": "a", "applicationPeriods": periods, "severity": "BLOQUANTE"}
    layers.put("api/traffic/dt=2025-06-03/hour=10/a.json", json.dumps({"disruptions": [facts]}))
    disruptions.curate(layers.raw, replace(layers.work, first=TUESDAY, last=TUESDAY))
    rows = layers.curated.read("disruptions", TUESDAY, TUESDAY)
    assert rows.select("begin", "end").rows() == [(datetime(2025, 6, 2, 22, tzinfo=UTC), None)]
