"""The report says what the metrics say, and can be read, printed and counted."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.drawing import draw_hours, draw_map
from ecluse.apps.city.printed import file_name, print_report, print_reports
from ecluse.apps.city.report import COLUMNS, make_report, tidy_csv, tidy_rows
from ecluse.web import i18n
from tests.apps.city.languages import translated

DAY = LocalDay(date(2022, 3, 27), ZoneInfo("Europe/Paris"))
FLOWS = [100.0 * (hour % 12) for hour in range(23)]
METRICS: dict[str, dict[str, Any]] = {
    "traffic": {
        "arcs_known": 3_348,
        "arcs_reporting": 2,
        "vehicles": 123_456,
        "lost_time": 41.5,
        "saturation_share": 0.125,
        "coverage": 0.9,
        "worst_hour": 17,
        "by_hour": {"saturation_share": [0.1, None, *[0.2] * 21]},
        "usual": {"saturation_share": {"median": [0.1] * 23, "low": [0.05] * 23, "high": [0.3] * 23}},
        "week_before": {
            "date": "2022-03-20",
            "vehicles": {"value": 100_000, "change": 0.23456},
            "lost_time": {"value": 50.0, "change": -0.17},
            "saturation_share": {"value": 0.1, "change": 0.25},
        },
    },
    "ranking": {
        "by_flow": [
            {
                "rank": 1,
                "arc": 4264,
                "label": "=cmd()",
                "zone": 8,
                "value": 9000,
                "unit": "vehicles",
                "coverage": 1.0,
                "persistence": 3,
            }
        ],
        "by_lost_time": [],
        "zones": [
            {"rank": 1, "zone": 8, "name": "Élysée", "value": 12.5, "unit": "vehicle-hours", "persistence": 2}
        ],
    },
    "zones": {
        "zones": [
            {
                "zone": 8,
                "name": "Élysée",
                "arcs": 2,
                "reporting": 2,
                "vehicles": 9000,
                "lost_time": 12.5,
                "saturation_share": 0.1,
                "coverage": 1.0,
                "worst": [],
            }
        ]
    },
    "alerts": {
        "alerts": [
            {
                "id": "a",
                "kind": "congestion",
                "severity": 2,
                "arc": 4264,
                "label": "<b>Avenue</b>",
                "zone": 8,
                "from": "17:00",
                "to": "19:00",
                "hours": [16, 17],
                "latitude": 48.0,
                "longitude": 2.0,
                "why": {"rule": "r", "threshold": 0.99, "times": 2.5},
                "lost_time_more": 4.5,
                "causes": [{"kind": "works"}, {"kind": "weather"}],
                "works": [],
            }
        ],
        "alerts_total": 31,
    },
    "sensors": {
        "known": 10,
        "reporting": 9,
        "availability": 0.9,
        "failing": [
            {"sensor": "arc:1", "kind": "road", "id": "1", "label": "Rue", "zone": None, "reason": "silent"}
        ],
    },
    "bikes": {
        "total": 5000,
        "reporting": 4,
        "counters_known": 5,
        "peak_at": "2025-06-03T08:00:00+02:00",
        "by_hour": FLOWS,
        "usual": None,
    },
    "quality": {
        "missing": ["works"],
        "sources": {
            "roads": {"records": 48, "rejected": {"no date": 2}, "fallback": ["file:///copy/a.csv"]},
            "works": None,
        },
    },
}
ARCS = [
    {
        "arc": 4264,
        "label": "=cmd()",
        "upstream": "Marne",
        "downstream": "Musee",
        "coordinates": [[2.30, 48.87], [2.31, 48.871]],
    },
    {"arc": 5671, "coordinates": [[2.29, 48.839], [2.295, 48.838]]},
    {"arc": 7, "coordinates": []},
]


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _read(html: str) -> _Texts:
    parser = _Texts()
    parser.feed(html)
    return parser


def test_the_five_headline_figures_are_those_of_the_metrics() -> None:
    report = make_report("Paris", DAY, METRICS)
    assert [(item["id"], item["value"]) for item in report["headlines"]] == [
        ("vehicles", 123_456),
        ("lost_time", 41.5),
        ("bikes", 5000),
        ("disruptions", None),
        ("availability", 0.9),
    ]
    assert report["alerts_total"] == 31
    json.dumps(report, allow_nan=False)


def test_what_is_missing_set_aside_or_from_the_copy_is_said() -> None:
    quality = make_report("Paris", DAY, METRICS)["quality"]
    assert quality["missing"] == ["works"]
    assert quality["rejected"] == {"roads": {"no date": 2}}
    assert quality["fallback"] == ["file:///copy/a.csv"]


def test_the_tidy_table_has_one_figure_per_row_and_runs_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(tidy_csv(make_report("Paris", DAY, METRICS)))))
    assert tuple(rows[0]) == COLUMNS
    assert {len(row) for row in rows} == {len(COLUMNS)}
    by_flow = [row for row in rows if row[0] == "by flow"]
    assert by_flow[0] == ["by flow", "1", "4264", "'=cmd()", "flow", "9000", "vehicles"]
    assert ["headlines", "", "vehicles", "", "vehicles", "123456", "vehicle passages"] in rows
    assert ["data quality", "", "roads", "no date", "set aside", "2", "records"] in rows


def test_no_cell_of_the_tidy_table_begins_a_formula_within_it_either() -> None:
    """Many spreadsheets begin a cell at a semicolon, and take the full-width signs for the plain ones."""
    row = {"rank": 1, "arc": 1, "zone": 8, "value": 1, "unit": "vehicles", "coverage": 1.0, "persistence": 3}
    hostile = ["Rue;=cmd()", "\uff1dcmd()", "-12.5"]
    result = {
        "ranking": {"by_flow": [row | {"label": label} for label in hostile], "by_lost_time": [], "zones": []}
    }
    names = [
        row[3]
        for row in csv.reader(io.StringIO(tidy_csv(make_report("Paris", DAY, result))))
        if row[0] == "by flow"
    ]
    assert list(dict.fromkeys(names)) == ["Rue;'=cmd()", "'\uff1dcmd()", "-12.5"]


def test_a_day_of_which_nothing_is_known_has_a_report_too() -> None:
    report = make_report("Paris", DAY, {})
    assert tidy_rows(report)
    for language in i18n.languages():
        assert "Paris" in print_report(report, [], {}, language)


@pytest.mark.parametrize("language", i18n.languages())
def test_the_printed_page_is_whole_needs_nothing_else_and_runs_no_text_of_the_data(language: Any) -> None:
    html = print_report(make_report("Paris", DAY, METRICS), ARCS, {4264: 12.5, 5671: 0.0}, language)
    read = _read(html)
    assert not {"script", "link", "img", "iframe", "b>"} & set(read.tags)
    assert not re.search(r"""(src|href)=""", html)
    assert "<b>Avenue</b>" in "".join(read.texts)
    assert read.tags.count("svg") >= 3
    assert "=cmd(), Marne → Musee" in "".join(read.texts)
    words = {"en": "2 of 3\u00a0348", "fr": "2 capteurs routiers sur 3\u00a0348"}
    assert words.get(language, "3") in "".join(read.texts)
    assert html.count('class="g4"') >= 2  # the key, and the arc where the most was lost


def test_the_page_of_a_language_is_the_same_beside_others_and_has_each_arc_on_its_map() -> None:
    report, lost = make_report("Paris", DAY, METRICS), {4264: 12.5, 5671: 0.0}
    pages = print_reports(report, ARCS, lost, ["fr", "en"])
    assert pages == {language: print_report(report, ARCS, lost, language) for language in ("fr", "en")}
    for page in pages.values():
        assert page.count('<polyline class="g') == sum(bool(arc.get("coordinates")) for arc in ARCS)


def test_counts_are_said_in_the_language() -> None:
    bottlenecks = {
        "from": "2022-02-01",
        "to": "2022-03-27",
        "kind_of_day": "sunday",
        "rankings": {"sunday": {"days": 8, "total": 0, "items": []}},
    }
    works = {"active": 1, "area": None, "items": []}
    report = make_report("Paris", DAY, {**METRICS, "bottlenecks": bottlenecks, "works": works})
    english, french = (print_report(report, ARCS, {}, language) for language in ("en", "fr"))
    assert "8 days" in english
    assert "1 site is active." in english
    assert "8 jours" in french
    assert "1 chantier est actif." in french


def test_a_third_language_is_one_folder_and_the_report_is_printed_in_it(tmp_path: Path) -> None:
    german = {
        "Report of the day": "Bericht des Tages",
        "Where time was lost": "Wo Zeit verloren ging",
        "Failing sensors": "Gestörte Sensoren",
        "Sensor": "Messstelle",
        "Tram": "Straßenbahn",
        "silent: no value all day": "stumm: den ganzen Tag kein Wert",
    }
    disruptions = {"most_affected": [{"line": "T3", "mode": "Tramway", "name": "T3", "blocked_hours": 1.5}]}
    report = make_report("Paris", DAY, {**METRICS, "disruptions": disruptions})
    assert file_name("de") == "report.de.html"
    with translated(tmp_path, "de", german):
        assert i18n.languages()["de"] == "Deutsch"
        html = print_report(report, ARCS, {4264: 12.5}, "de")
    assert '<html lang="de">' in html
    assert "Sonntag, 27. März 2022" in html
    for text in (*german.values(), "3.348", "12,5", "1,5"):
        assert text in html, text


def test_a_missing_hour_breaks_the_line_of_a_chart() -> None:
    drawn = draw_hours([1.0, 2.0, None, 4.0, 5.0], None, 1.0)
    assert drawn is not None
    assert [len(run.split()) for run in drawn.line] == [2, 2]
    assert drawn.ticks[0][0] == 0
    assert drawn.ticks[-1][0] >= 5
    assert draw_hours([None, None], None, 1.0) is None
    assert draw_hours(None, None, 1.0) is None


def test_north_is_up_and_the_worst_road_is_drawn_last() -> None:
    strokes = draw_map(ARCS, {4264: 12.5, 5671: 0.0})
    assert [stroke.grade for stroke in strokes] == [1, 4]
    south, north = (float(stroke.path.split()[0].split(",")[1]) for stroke in strokes)
    assert north < south
