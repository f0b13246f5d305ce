"""Give the metrics of a day as flat tables, and those as CSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal

from ecluse.apps.city.days import no_such_day
from ecluse.apps.city.pages.view import naming, read_day
from ecluse.documents import Body, Documents
from ecluse.errors import NotFound
from ecluse.formulas import neutralise_formulas
from ecluse.later import Later

if TYPE_CHECKING:
    import polars as pl

    from ecluse.apps.city.bottlenecks import Ranking
else:
    pl = Later("polars")

#: What documents say of their city, which each row says in columns of its own.
_OF_CITY: Final = ("city_name", "invented")
Format = Literal["csv", "parquet"]
Row = dict[str, Any]
#: What a row has beside the columns of its table, as text.
OTHER: Final = "other"
MEDIA_TYPES: Final[dict[str, str]] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


def table_of(documents: Documents, name: str, day: date, usual: str = "") -> tuple[pl.DataFrame, bool]:
    """Return one table of a day, and whether it is invented; each row is flat, its lists joined, and bears the city's
    name.

    `usual`: the name of the city in the settings, for days whose documents bear none.

    Raises:
        NotFound: no table has this name.
        NoSuchDay: the day has no such table.
    """
    from ecluse.apps.city.pages.columns import COLUMNS  # types of Polars, which a start does without

    if name not in TABLES:
        raise NotFound(f"No table {name[:40]!r} of a day; there are {', '.join(TABLES)}.")
    kind, rows_of = TABLES[name]
    bodies = read_day(documents, day, (kind,))
    body, names = bodies[kind], naming(documents, usual, bodies)
    if body is None:
        raise no_such_day(documents, day, f"metrics/{kind}")
    rows = [_without(_flat(row), *_OF_CITY) for row in rows_of(documents, day, body)]
    fixed = COLUMNS[name]
    columns = {column: _column([row.get(column) for row in rows], kind) for column, kind in fixed.items()}
    others = [
        {column: value for column, value in row.items() if column not in fixed and value is not None}
        for row in rows
    ]
    columns[OTHER] = pl.Series([_text(other) if other else None for other in others], dtype=pl.String)
    count = len(rows)
    of_day = (
        pl.Series("date", [day] * count, dtype=pl.Date),
        pl.Series("city", [names["city"]] * count, dtype=pl.String),
        pl.Series("invented", [names["invented"]] * count, dtype=pl.Boolean),
    )
    return pl.DataFrame(
        [*of_day, *(values.alias(column) for column, values in columns.items())]
    ), bodies.invented


def bottleneck_table(ranking: Ranking, names: Mapping[str, Any]) -> pl.DataFrame:
    """Return the bottlenecks of a period, one a row. `names`: the city's name, and whether it is invented."""
    from ecluse.apps.city.pages.columns import RANKED  # as above

    period = {
        "from": ranking.first,
        "to": ranking.last,
        **names,
        "days_of": ranking.kind,
        "days": ranking.days,
    }
    columns = {
        name: pl.Series([row.get(name) for row in ranking.items], dtype=kind) for name, kind in RANKED.items()
    }
    for name in ("arcs", "hours"):
        columns[name] = pl.Series(["; ".join(map(str, row[name])) for row in ranking.items], dtype=pl.String)
    frame = pl.DataFrame(columns)
    return frame.select(*(pl.lit(value).alias(name) for name, value in period.items()), pl.all())


def encode_table(frame: pl.DataFrame, form: Format) -> bytes:
    """Return a table as a file; text that a spreadsheet would run is made harmless in CSV."""
    buffer = BytesIO()
    if form == "csv":
        neutralise_formulas(frame).write_csv(buffer)
    else:
        frame.write_parquet(buffer)
    return buffer.getvalue()


def _hours(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    by_hour = dict(body.get("by_hour") or {})
    states = by_hour.pop("states", None) or {}
    columns = {**by_hour, **{f"arcs {state}": counts for state, counts in states.items()}}
    labels = body.get("hours") or [f"{hour:02d}:00" for hour in range(24)]
    for i, label in enumerate(labels):
        yield {"hour": label, **{name: values[i] for name, values in columns.items() if i < len(values)}}


def _arcs(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    for document in documents.all(f"metrics/arcs/{day}"):
        yield _without(document.body, "flow", "occupancy", "state", "usual")


def _arc_hours(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    labels = body.get("hours") or [f"{hour:02d}:00" for hour in range(24)]
    for document in documents.all(f"metrics/arcs/{day}"):
        arc = document.body
        for i, flow in enumerate(arc["flow"]):
            yield {
                "arc": arc["arc"],
                "hour": labels[i],
                "flow": flow,
                "occupancy": arc["occupancy"][i],
                "state": arc["state"][i],
            }


def _ranking(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    for list_name in ("by_flow", "by_lost_time", "zones"):
        for row in body.get(list_name) or ():
            yield {"list": list_name, **row}


def _bike_hours(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    labels = body.get("hours") or [f"{hour:02d}:00" for hour in range(24)]
    for counter in body.get("counters") or ():
        for i, count in enumerate(counter.get("by_hour") or ()):
            yield {"counter": counter["counter"], "hour": labels[i], "count": count}


def _bottlenecks(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    for kind, ranking in body["rankings"].items():
        for row in ranking["items"]:
            yield {"days_of": kind, "from": body["from"], "to": body["to"], **row}


def _list(name: str, *left_out: str) -> Callable[[Documents, date, Body], Iterable[Row]]:
    def rows(documents: Documents, day: date, body: Body) -> Iterable[Row]:
        return [_without(row, *left_out) for row in body.get(name) or ()]

    return rows


def _alerts(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    for alert in body.get("alerts") or ():
        yield {**alert, "why": _text(alert.get("why"))}


def _whole(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    return [_without(body, "hours", "effect")]


def _sources(documents: Documents, day: date, body: Body) -> Iterable[Row]:
    for table, source in (body.get("sources") or {}).items():
        row = _without(source or {}, "examples")
        rejected = "; ".join(
            f"{reason}: {count}" for reason, count in (row.pop("rejected", None) or {}).items()
        )
        yield {"table": table, **row, "rejected": rejected or None}


#: Table → the kind of metrics it is of, and its rows.
TABLES: Final[dict[str, tuple[str, Callable[[Documents, date, Body], Iterable[Row]]]]] = {
    "hours": ("traffic", _hours),
    "arcs": ("arcs", _arcs),
    "arc_hours": ("arcs", _arc_hours),
    "zones": ("zones", _list("zones", "worst")),
    "ranking": ("ranking", _ranking),
    "alerts": ("alerts", _alerts),
    "bottlenecks": ("bottlenecks", _bottlenecks),
    "sensors": ("sensors", _list("failing")),
    "bikes": ("bikes", _list("counters", "by_hour", "usual")),
    "bike_hours": ("bikes", _bike_hours),
    "lines": ("disruptions", _list("lines")),
    "disruptions": ("disruptions", _list("items")),
    "works": ("works", _list("items")),
    "weather": ("weather", _whole),
    "quality": ("quality", _sources),
}


def _without(row: Mapping[str, Any], *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def _flat(row: Mapping[str, Any]) -> Row:
    """Return a row whose parts of parts are columns of their own, and whose lists are text."""
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{part}": inner for part, inner in _flat(value).items()}
        elif isinstance(value, Sequence) and not isinstance(value, str):
            flat[name] = "; ".join(_text(item) for item in value)
        else:
            flat[name] = value
    return flat


def _text(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{name}={value}" for name, value in item.items() if value is not None)
    return "" if item is None else str(item)


def _column(values: list[Any], kind: pl.DataType) -> pl.Series:
    """Values of the type of their column."""
    if kind == pl.String():
        return pl.Series([None if value is None else str(value) for value in values], dtype=kind)
    return pl.Series(values, dtype=kind, strict=False)
