import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.performance.reports import read_trained_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.web import charts
from ecluse.web.i18n import Words
from tests.web import invented

SAY = Words("en")


def every_chart() -> list[charts.Chart]:
    made = model_figures.model_charts(read_trained_report(invented.report()), SAY)
    return [*made, model_figures.score_histogram(invented.summary(), 0.62, SAY)]


@pytest.mark.parametrize("chart", every_chart(), ids=lambda chart: chart.id)
def test_every_chart_is_plain_json_with_a_table_and_a_finding(chart: charts.Chart) -> None:
    assert json.loads(json.dumps(chart.option)) == chart.option
    assert chart.rows
    assert {len(row) for row in chart.rows} == {len(chart.headings)}
    assert any(letter.isdigit() for letter in chart.finding)


@pytest.mark.parametrize("chart", every_chart(), ids=lambda chart: chart.id)
def test_tooltips_are_drawn_on_the_canvas_where_the_content_policy_allows_them(chart: charts.Chart) -> None:
    assert chart.option["tooltip"]["renderMode"] == "richText"


def test_a_report_without_curves_gives_the_charts_it_can() -> None:
    bare = TrainedReport(metrics={"average_precision": 0.5}, threshold=0.5)
    assert model_figures.model_charts(bare, SAY) == []


def test_the_threshold_is_marked_on_the_precision_recall_curve() -> None:
    chart = model_figures.pr_curve(read_trained_report(invented.report()), SAY)
    assert chart.option["series"][0]["markPoint"]["data"][0]["coord"] == [0.68, 0.79]
    assert "at 0.620: precision 79\u00a0%, recall 68\u00a0%" in chart.finding


def test_importances_are_ranked_and_the_first_is_the_finding() -> None:
    report = read_trained_report(invented.report())
    report = replace(report, importances=report.importances[::-1])
    chart = model_figures.importances(report, SAY)
    assert chart.option["series"][0]["data"] == sorted(chart.option["series"][0]["data"], reverse=True)
    assert chart.finding.startswith("Most of all amount / usual amount, 31")


def drawn(chart: charts.Chart) -> list[tuple[float, float]]:
    return sorted(tuple(point) for series in chart.option["series"] for point in series["data"])


def test_every_row_of_a_scoring_is_drawn_once_on_its_side_of_the_threshold() -> None:
    summary = invented.summary()
    chart = model_figures.score_histogram(summary, 0.62, SAY)
    assert sum(count for _, count in drawn(chart)) == sum(summary["histogram"])
    flagged = chart.option["series"][1]["data"]
    assert flagged
    assert all(score > 0.62 for score, _ in flagged)


def test_histogram_bins_may_be_counts_or_records() -> None:
    summary = invented.summary()
    records: list[dict[str, Any]] = [{"low": i / 20, "rows": n} for i, n in enumerate(summary["histogram"])]
    assert model_figures.score_histogram(
        summary | {"histogram": records}, 0.5, SAY
    ) == model_figures.score_histogram(summary, 0.5, SAY)


@given(st.lists(st.floats(0, 1e9), max_size=30))
def test_column_bars_stay_in_their_box_and_hide_no_value(counts: list[float]) -> None:
    bars = charts.column_bars(counts)
    assert len(bars) in (0, len(counts))
    for bar, count in zip(bars, counts, strict=False):
        assert 0 <= bar.x <= bar.x + bar.width <= 100.01
        assert bar.y + bar.height == pytest.approx(20)
        assert (bar.height > 0) == (count > 0)
