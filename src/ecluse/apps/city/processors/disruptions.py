"""Tell the day's disruptions of public transport: by mode and line, their hours, and the reliability they leave.

Hours are of the day, as the union of the periods of a line: two disruptions at once count once. A line is blocked
while a disruption that blocks concerns the whole of it or its whole network; one that blocks a part of it, such as
some of its stops, disturbs it. Hours that are blocked are not also disturbed.

Reliability is 1 − blocked line-hours / scheduled line-hours, over the lines that the feed names on the day; of a
line not more hours count as blocked than it runs (`service_hours`). A feed that names lines only where something is
wrong, as PRIM's does, gives a lower figure than all lines would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from ecluse.apps.city.bounded import first_that_fit
from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.inputs import Inputs, Metrics
from ecluse.apps.city.names import MODES
from ecluse.apps.city.numbers import rounded
from ecluse.apps.city.processors.processor import Processor, some
from ecluse.apps.city.sections import Column, ReportTable, Section
from ecluse.documents import Body
from ecluse.sentences import N_

#: How many disruptions are told in full, the worst ones; `items_total` has all.
LISTED: Final = 200
#: How many lines are listed, the worst ones; `lines_total` has all.
LINES_LISTED: Final = 300
#: Of each list at most so many bytes, so that the document fits into every database.
ITEMS_SIZE, LINES_SIZE = 140_000, 60_000
MOST_AFFECTED: Final = 10
#: Of the names of a disruption's lines, and of its texts, at most so much.
NAMES_LISTED: Final = 20
TITLE: Final = 160
MESSAGE: Final = 300
_RANK: Final = {"blocked": 0, "disturbed": 1, "information": 2}
Span = tuple[datetime, datetime]


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return the disruptions active on the day; figures are null where nothing was read of them."""
    rows, day = inputs.disruptions, inputs.day
    if not rows.height and not inputs.parts.get("disruptions"):
        return Metrics(_nothing())
    active = rows.filter(pl.col("disruption").is_not_null())
    items = _items(active, day)
    lines = _lines(rows, day, inputs.thresholds.service_hours)
    affected = [line for line in lines if line["disruptions"]]
    scheduled = len(lines) * min(inputs.thresholds.service_hours, day.hours)
    blocked = sum(_in_service(line["blocked_hours"], inputs.thresholds.service_hours) for line in lines)
    body = {
        "active": len(items),
        "open": sum(item["open"] for item in items),
        "by_mode": _by_mode(active, lines),
        "lines": first_that_fit(affected, LINES_LISTED, LINES_SIZE),
        "lines_total": len(affected),
        "lines_known": len(lines),
        "most_affected": affected[:MOST_AFFECTED],
        "reliability": rounded(1 - blocked / scheduled) if scheduled else None,
        "scheduled_line_hours": rounded(scheduled),
        "blocked_line_hours": rounded(blocked),
        "items": first_that_fit(items, LISTED, ITEMS_SIZE),
        "items_total": len(items),
    }
    return Metrics(body)


def hours_of(spans: Iterable[Span]) -> float:
    """Return how many hours the union of some spans of time lasts."""
    seconds = 0.0
    reached: datetime | None = None
    for begin, end in sorted(spans):
        begin = begin if reached is None else max(begin, reached)
        if end > begin:
            seconds += (end - begin).total_seconds()
            reached = end
    return seconds / 3600


def _nothing() -> dict[str, Any]:
    figures = (
        "active",
        "open",
        "lines_total",
        "lines_known",
        "reliability",
        "scheduled_line_hours",
        "blocked_line_hours",
        "items_total",
    )
    return {"by_mode": [], "lines": [], "most_affected": [], "items": []} | dict.fromkeys(figures)


def _lines(rows: pl.DataFrame, day: LocalDay, service_hours: float) -> list[dict[str, Any]]:
    """Return every line that a row names, the most affected first."""
    lines = []
    named = rows.filter(pl.col("line").is_not_null()).partition_by("line", maintain_order=True)
    for of_line in named:
        first = of_line.select(pl.col("line", "line_name", "mode", "network").drop_nulls().first())
        active = of_line.filter(pl.col("disruption").is_not_null())
        blocks = active.filter(_blocks())
        disturbs = active.filter(~_blocks() & pl.col("severity").is_in(["blocked", "disturbed"]))
        blocked = hours_of(_spans(blocks, day))
        either = hours_of([*_spans(blocks, day), *_spans(disturbs, day)])
        line, name, mode, network = first.row(0)
        lines.append(
            {
                "line": line,
                "name": name,
                "mode": mode,
                "network": network,
                "disruptions": active["disruption"].n_unique(),
                "blocked_hours": rounded(blocked),
                "disturbed_hours": rounded(either - blocked),
                "reliability": rounded(
                    1 - _in_service(blocked, service_hours) / min(service_hours, day.hours)
                ),
            }
        )
    return sorted(lines, key=_how_affected)


def _how_affected(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return (-line["blocked_hours"], -line["disturbed_hours"], -line["disruptions"], line["line"])


def _in_service(hours: float, service_hours: float) -> float:
    return min(hours, service_hours)


def _blocks() -> pl.Expr:
    return (pl.col("severity") == "blocked") & pl.col("scope").is_in(["line", "network"])


def _spans(rows: pl.DataFrame, day: LocalDay) -> list[Span]:
    """Return the periods of rows within the day; without an end they go on through it."""
    return [
        (max(begin, day.begin), day.end if end is None else min(end, day.end))
        for begin, end in rows.select("begin", "end").rows()
    ]


def _by_mode(active: pl.DataFrame, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each mode of a disruption; that of disruptions without a line is null."""
    counts = dict(active.group_by("mode").agg(pl.col("disruption").n_unique()).rows())
    modes = [
        {
            "mode": mode,
            "active": count,
            "blocked_hours": rounded(sum(line["blocked_hours"] for line in lines if line["mode"] == mode)),
            "disturbed_hours": rounded(
                sum(line["disturbed_hours"] for line in lines if line["mode"] == mode)
            ),
        }
        for mode, count in counts.items()
    ]
    return sorted(modes, key=lambda mode_: (-mode_["blocked_hours"], -mode_["active"], mode_["mode"] or ""))


def _items(active: pl.DataFrame, day: LocalDay) -> list[dict[str, Any]]:
    """Return one entry per disruption, the worst first: by severity, then by hours of the day."""
    ranked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for rows in active.partition_by("disruption", maintain_order=True):
        first = rows.row(0, named=True)
        begin = rows["begin"].min()
        last = None if rows["end"].null_count() else rows["end"].max()
        names = rows.select(pl.coalesce("line_name", "line").drop_nulls().unique().sort()).to_series()
        item = {
            "id": first["disruption"],
            "title": _short(first["title"], TITLE),
            "message": _short(first["message"], MESSAGE),
            "cause": first["cause"],
            "severity": first["severity"],
            "effect": first["effect"],
            "scope": first["scope"],
            "lines": names.head(NAMES_LISTED).to_list(),
            "lines_total": len(names),
            "begin": _local(begin, day),
            "end": _local(last, day),
            "open": last is None or bool(last >= day.end),  # type: ignore[operator]
        }
        worst = not rows.filter(_blocks()).height
        hours = hours_of(_spans(rows, day))
        ranked.append(((_RANK[first["severity"]], worst, -hours, first["disruption"]), item))
    return [item for _, item in sorted(ranked, key=lambda ranked_item: ranked_item[0])]


def _local(moment: Any, day: LocalDay) -> str | None:
    return None if moment is None else moment.astimezone(day.zone).isoformat(timespec="minutes")


def _short(text: str | None, most: int) -> str | None:
    return text if text is None or len(text) <= most else text[: most - 1].rstrip() + "…"


# The report


def _summary(body: Body | None) -> Body:
    if body is None:
        return {"disruptions": None}
    lines = body.get("most_affected", [])[:LISTED_IN_REPORT]
    return {"disruptions": {**(some(body, _REPORTED) or {}), "most_affected": lines}}


#: How many lines the report has, and what else of these metrics.
LISTED_IN_REPORT: Final = 10
_REPORTED: Final = ("active", "open", "reliability", "blocked_line_hours", "by_mode")
_TABLE: Final = ReportTable(
    name="disruptions",
    caption=N_("Lines most affected"),
    rows=lambda report: (report["disruptions"] or {}).get("most_affected", ()),
    id="line",
    label=lambda row: f"{row.get('mode') or ''} {row.get('name') or ''}".strip(),
    is_ranked=True,
    columns=(
        Column(N_("Mode"), "mode", names=MODES),
        Column(N_("Line"), "name"),
        Column(N_("Hours blocked"), "blocked_hours", "number", 1, unit="hours", metric="blocked"),
        Column(N_("Hours disturbed"), "disturbed_hours", "number", 1, unit="hours", metric="disturbed"),
        Column(N_("Reliability"), "reliability", "share", 1, unit="share"),
    ),
)
PROCESSOR: Final = Processor(
    name="disruptions",
    words=N_("disruptions"),
    compute=compute,
    summarise=_summary,
    section=Section(
        N_("Transit disruptions"), order=60, lead="_disruptions.html", tables=(_TABLE,), has_own_part=True
    ),
)
