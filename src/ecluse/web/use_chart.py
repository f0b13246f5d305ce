"""Draw what was used day by day."""

from __future__ import annotations

from collections.abc import Sequence

from ecluse.catalog.daily import UseOfDay
from ecluse.web.charts import Chart, area_band, axis, axis_labels, day_axis, frame, spread_out, tooltip
from ecluse.web.i18n import Words


def use_by_day(days: Sequence[UseOfDay], say: Words) -> Chart:
    """Draw the bytes that were stored at the end of each day; the table has jobs and predictions, too."""
    counted = [(each.day, each.stored_bytes) for each in days if each.stored_bytes is not None]
    jobs, predictions = sum(each.jobs for each in days), sum(each.predictions for each in days)
    series = (
        [
            area_band(
                say._("Stored"),
                "--c1",
                [day for day, _size in counted],
                [size for _day, size in counted],
                named=False,
            )
        ]
        if counted
        else []
    )
    return Chart(
        id="chart-use",
        title=say._("Use, day by day"),
        unit=say._("bytes stored at the end of each day (UTC)"),
        finding=say._(
            "%(jobs)s jobs begun and %(rows)s rows answered online from %(first)s to %(last)s.",
            jobs=say.num(jobs),
            rows=say.num(predictions),
            first=say.calendar_day(days[0].day),
            last=say.calendar_day(days[-1].day),
        ),
        option={
            **frame(),
            "grid": {"left": 6, "right": 14, "top": 14, "bottom": 8, "containLabel": True},
            "xAxis": day_axis(),
            "yAxis": {"type": "value", "min": 0, **axis("", line=False), "axisLabel": axis_labels("@bytes")},
            "tooltip": tooltip("@bytes"),
            "series": series,
        },
        headings=(
            say._("Day"),
            say._("Stored"),
            say._("Files"),
            say._("Jobs"),
            say._("Rows answered online"),
        ),
        rows=tuple(
            (
                say.calendar_day(each.day),
                "–" if each.stored_bytes is None else say.bytes(each.stored_bytes),
                "–" if each.files is None else say.num(each.files),
                say.num(each.jobs),
                say.num(each.predictions),
            )
            for each in spread_out(days)
        ),
    )
