"""Disruptions: of two providers, with lines from their fields alone, at the local day's active periods."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.city.sources import disruptions
from ecluse.apps.city.sources.disruptions import plain_text
from tests.apps.city.layers import Layers, make_layers
from tests.conftest import SHARED

DAY = date(2025, 2, 4)  # from 23:00 UTC on the 3rd to 23:00 UTC on the 4th
REAL = SHARED / "city"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return make_layers(tmp_path)


def curate(layers: Layers, day: date = DAY) -> pl.DataFrame:
    disruptions.curate(layers.raw, replace(layers.work, first=day, last=day))
    return layers.curated.read("disruptions", day, day)


def active(layers: Layers, day: date = DAY) -> pl.DataFrame:
    return curate(layers, day).filter(pl.col("disruption").is_not_null())


def put(layers: Layers, key: str, content: object) -> None:
    layers.put(f"api/traffic/{key}", json.dumps(content))


def period(begin: str, end: str | None) -> dict[str, str]:
    return {"begin": begin, **({} if end is None else {"end": end})}


def prim(id_: str, *periods: dict[str, str], **changed: object) -> dict[str, Any]:
    return {
        "id": id_,
        "applicationPeriods": list(periods) or [period("20250204T080000", "20250204T100000")],
        "lastUpdate": "20250204T070000",
        "cause": "TRAVAUX",
        "severity": "BLOQUANTE",
        "title": "Travaux",
        "message": "<p>Ligne 99 : a &amp; b</p><p>Deux</p>",
        **changed,
    }


def prim_line(id_: str, name: str, **impacted: list[str]) -> dict[str, Any]:
    return {
        "id": id_,
        "shortName": name,
        "name": name,
        "mode": "Metro",
        "networkId": "network:1",
        "impactedObjects": [
            {"type": kind, "id": kind, "name": name, "disruptionIds": ids} for kind, ids in impacted.items()
        ],
    }


def navitia(id_: str, effect: str, **changed: object) -> dict[str, Any]:
    line = {
        "id": "line:6",
        "name": "Ligne 6",
        "code": "6",
        "commercial_mode": {"id": "commercial_mode:Metro", "name": "Métro"},
        "network": {"id": "network:1", "name": "RATP"},
    }
    return {
        "id": id_,
        "application_periods": [period("20250204T002000", "20250204T003000")],
        "updated_at": "20250204T145644",
        "cause": "perturbation",
        "severity": {"name": "x", "effect": effect, "priority": 30},
        "messages": [
            {"text": "<b>Long</b> et précis", "channel": {"types": ["web"]}},
            {"text": "Titre", "channel": {"types": ["title"]}},
        ],
        "impacted_objects": [{"pt_object": {"id": "line:6", "embedded_type": "line", "line": line}}],
        **changed,
    }


def test_prim_joins_disruptions_to_lines_by_identifier_in_one_file(layers: Layers) -> None:
    content = {
        "disruptions": [prim("a"), prim("b")],
        "lines": [prim_line("line:1", "1", stop_point=["z"], line=["a"]), prim_line("line:2", "2")],
    }
    put(layers, "dt=2025-02-04/hour=08/a.json", content)
    rows = curate(layers)
    of_a = rows.filter(pl.col("disruption") == "a").row(0, named=True)
    assert of_a == {
        "disruption": "a",
        "line": "line:1",
        "line_name": "1",
        "mode": "Metro",
        "network": "network:1",
        "begin": datetime(2025, 2, 4, 7, tzinfo=UTC),
        "end": datetime(2025, 2, 4, 9, tzinfo=UTC),
        "scope": "line",
        "severity": "blocked",
        "effect": "BLOQUANTE",
        "cause": "TRAVAUX",
        "title": "Travaux",
        "message": "Ligne 99 : a & b\nDeux",
        "updated_at": datetime(2025, 2, 4, 6, tzinfo=UTC),
    }
    # the words "Ligne 99" name no line
    assert rows.filter(pl.col("disruption") == "b")["line"].to_list() == [None]
    # lines without a disruption are known all the same
    assert rows.filter(pl.col("disruption").is_null())["line"].to_list() == ["line:1", "line:2"]


def test_prim_is_read_from_two_files_of_bare_lists(layers: Layers) -> None:
    put(layers, "dt=2025-02-04/hour=08/prim-disruptions.json", [prim("a")])
    put(
        layers,
        "dt=2025-02-04/hour=08/prim-lines.json",
        [prim_line("line:1", "1", line=["a"], stop_point=["a"])],
    )
    assert active(layers).select("line", "scope").rows() == [("line:1", "part")]


@pytest.mark.parametrize(
    ("effect", "severity"),
    [
        ("NO_SERVICE", "blocked"),
        ("SIGNIFICANT_DELAYS", "disturbed"),
        ("REDUCED_SERVICE", "disturbed"),
        ("DETOUR", "disturbed"),
        ("MODIFIED_SERVICE", "disturbed"),
        ("OTHER_EFFECT", "information"),
        ("", "information"),
    ],
)
def test_navitia_says_severity_by_its_effect(layers: Layers, effect: str, severity: str) -> None:
    put(layers, "dt=2025-02-04/hour=08/a.json", {"disruptions": [navitia("n", effect)]})
    (row,) = active(layers).rows(named=True)
    assert (row["severity"], row["effect"]) == (severity, effect or None)
    assert (row["line"], row["line_name"], row["mode"], row["network"]) == ("line:6", "6", "Metro", "RATP")
    assert (row["title"], row["message"]) == ("Titre", "Long et précis")
    assert row["begin"] == datetime(2025, 2, 3, 23, 20, tzinfo=UTC)


def test_a_section_or_a_stop_is_a_part_and_a_network_names_no_line(layers: Layers) -> None:
    line = {"id": "line:6", "code": "6"}
    section = {"pt_object": {"line": line}, "impacted_section": {"from": {}, "to": {}}}
    network = {"pt_object": {"embedded_type": "network", "network": {"id": "n", "name": "RATP"}}}
    stop = {"pt_object": {"embedded_type": "stop_point", "stop_point": {"name": "Ligne 6"}}}
    content = [
        navitia("section", "NO_SERVICE", impacted_objects=[section]),
        navitia("network", "NO_SERVICE", impacted_objects=[network]),
        navitia("stop", "NO_SERVICE", impacted_objects=[stop, "x", {}]),
        navitia("both", "NO_SERVICE", impacted_objects=[{"pt_object": {"line": line}}, stop]),
    ]
    put(layers, "dt=2025-02-04/hour=08/a.json", {"disruptions": content})
    result = {
        row[0]: row[1:] for row in active(layers).select("disruption", "line", "scope", "network").rows()
    }
    assert result == {
        "section": ("line:6", "part", None),
        "network": (None, None, "RATP"),
        "stop": (None, None, None),
        "both": ("line:6", "part", None),
    }


def test_only_periods_that_touch_the_local_day_are_rows(layers: Layers) -> None:
    periods = {
        "before": ("20250203T220000", "20250204T000000"),
        "over": ("20250203T220000", "20250204T000100"),
        "late": ("20250204T235900", "20250205T100000"),
        "after": ("20250205T000000", "20250205T100000"),
        "around": ("20250101T000000", "20251231T000000"),
        "open": ("20250204T120000", None),
    }
    records = [prim(name, period(*times)) for name, times in periods.items()]
    put(layers, "dt=2025-02-04/hour=08/a.json", {"disruptions": records})
    rows = active(layers)
    assert rows["disruption"].sort().to_list() == ["around", "late", "open", "over"]
    assert rows.filter(pl.col("disruption") == "open")["end"].to_list() == [None]


def test_a_later_snapshot_replaces_the_periods_of_a_disruption(layers: Layers) -> None:
    longer, shorter = (
        period("20250204T080000", "20250204T200000"),
        period("20250204T080000", "20250204T090000"),
    )
    put(layers, "dt=2025-02-03/hour=23/a.json", {"disruptions": [prim("a", longer)]})  # 00:00 local
    put(layers, "dt=2025-02-04/hour=12/a.json", {"disruptions": [prim("a", shorter)]})
    assert active(layers)["end"].to_list() == [datetime(2025, 2, 4, 8, tzinfo=UTC)]


def test_the_snapshots_of_other_days_are_not_asked(layers: Layers) -> None:
    put(layers, "dt=2025-02-03/hour=22/a.json", {"disruptions": [prim("a")]})
    put(layers, "dt=2025-02-05/hour=00/a.json", {"disruptions": [prim("b")]})
    assert active(layers).height == 0
    assert layers.curated.parts("disruptions", DAY) == []


def test_bad_records_are_set_aside_with_their_place(layers: Layers) -> None:
    records = [
        prim(""),
        7,
        prim("a", period("soon", "20250204T100000")),
        prim("b", period("20250204T100000", "20250204T080000")),
        prim("c", period("20250204T100000", "later"), period("20250204T100000", "20250204T110000")),
        navitia("d", "NO_SERVICE", application_periods=[]),
    ]
    put(layers, "dt=2025-02-04/hour=08/a.json", {"disruptions": records, "lines": [{"mode": "Bus"}]})
    layers.put("api/traffic/dt=2025-02-04/hour=09/b.json", '{"disruptions": [')
    put(layers, "dt=2025-02-04/hour=09/c.json", {"message": "quota"})
    assert active(layers)["disruption"].to_list() == ["c"]
    (part,) = layers.curated.parts("disruptions", DAY)
    assert part.rejected == {
        disruptions.NO_ID: 2,
        "the record is no object": 1,
        disruptions.BAD_TIME: 2,
        disruptions.BACKWARDS: 1,
        disruptions.NO_PERIOD: 1,
        "the file is broken": 1,
        "the file holds no such records": 1,
    }
    columns = {item["column"] for item in part.examples}
    assert {
        "disruptions[2].applicationPeriods[0].begin",
        "disruptions[4].applicationPeriods[0].end",
    } <= columns


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Un</p><p>Deux<br/>trois</p>", "Un\nDeux\ntrois"),
        ("<script>alert(1)</script>ok<style>p{}</style>", "ok"),
        ("a&nbsp;&amp;&nbsp;b &lt;c&gt;", "a & b <c>"),
        ("<ul><li>x</li>\n <li> y  z</li></ul>", "x\ny z"),
        ("<b>bold</b>er <a href='javascript:x'>link</a>", "bolder link"),
        ("2 < 3", "2 < 3"),
        ("<p> </p>", None),
        (None, None),
    ],
)
def test_a_message_becomes_plain_readable_text(html: str | None, text: str | None) -> None:
    assert plain_text(html) == text


@given(st.text(alphabet="ab<>/&;p \n\t!-", max_size=60))
def test_plain_text_never_fails_and_holds_no_empty_line(html: str) -> None:
    text = plain_text(f"<p>{html}</p>")
    assert text is None or all(line == line.strip() and line for line in text.split("\n"))


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside this checkout")
@pytest.mark.nightly("2025-02-04", "2025-03-30")
@pytest.mark.parametrize("day", [date(2025, 2, 4), date(2025, 3, 30), date(2025, 10, 26)], ids=str)
def test_the_real_answer_gives_the_disruptions_whose_periods_touch_the_day(layers: Layers, day: date) -> None:
    folder = f"dt={day.isoformat()}/hour=08"
    for name in ("prim-disruptions.json", "prim-lines.json"):
        layers.put(f"api/traffic/{folder}/{name}", (REAL / name).read_bytes())
    facts = json.loads((REAL / "prim-disruptions.json").read_text())
    lines = json.loads((REAL / "prim-lines.json").read_text())
    expected = {
        (item["id"], line["id"], p["begin"])
        for item in facts
        for p in item["applicationPeriods"]
        for line in lines
        if any(item["id"] in thing["disruptionIds"] for thing in line["impactedObjects"])
        if p["begin"] < f"{day:%Y%m%d}T240000" and p["end"] > f"{day:%Y%m%d}T000000"
    }
    rows = active(layers, day).filter(pl.col("line").is_not_null())
    local = pl.col("begin").dt.convert_time_zone("Europe/Paris").dt.strftime("%Y%m%dT%H%M%S")
    assert set(rows.select("disruption", "line", local).rows()) == expected
    assert curate(layers, day).filter(pl.col("disruption").is_null()).height == 635


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not beside this checkout")
def test_the_real_disruption_of_navitia_is_read(layers: Layers) -> None:
    content = (REAL / "navitia-disruption-one.json").read_bytes()
    layers.put("api/traffic/dt=2024-09-23/hour=13/a.json", content)
    (row,) = active(layers, date(2024, 9, 23)).rows(named=True)
    assert (row["line_name"], row["mode"], row["severity"]) == ("6", "Metro", "disturbed")
    assert row["begin"] == datetime(2024, 9, 23, 12, 54, tzinfo=UTC)
    assert row["title"].startswith("Métro 6 : Bagage oublié")
