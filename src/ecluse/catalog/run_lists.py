"""Say which runs a list shows, and what they are sorted by, as conditions of SQL."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, String, Text, cast, extract, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute

from ecluse.catalog.tables import Run
from ecluse.run_values import SORTED_BY, checked_name

#: Characters of a text that may be meant as a number.
_LONGEST_NUMBER: Final = 100


@dataclass(frozen=True)
class RunFilter:
    """Which runs a list shows. `tags` and `parameters` hold for runs that have each name with this value.

    A value is written as text: "0.001" finds the number and the word, "true" the truth value too.
    """

    application: str | None = None
    name: str | None = None
    kind: str | None = None
    status: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def matching(user_id: str, conditions: RunFilter) -> Select[Run]:
    """Query the runs of a person that a filter lets through."""
    query = select(Run).where(Run.user_id == user_id)
    for column in ("application", "name", "kind", "status"):
        value = getattr(conditions, column)
        if value is not None:
            query = query.where(getattr(Run, column) == value)
    for values, required in ((Run.tags, conditions.tags), (Run.parameters, conditions.parameters)):
        for name, value in required.items():
            query = query.where(_as_written(values, checked_name(name)).in_(_writings(value)))
    return query


def _as_written(values: InstrumentedAttribute[dict[str, Any]], name: str) -> ColumnElement[str]:
    """Return a value of a JSON column as its JSON text, which both databases keep as it was written."""
    value = values.op("->", return_type=Text())(literal(name, String()))
    return cast(value, Text)


def _writings(value: str) -> list[str]:
    """Return every JSON text that a text may mean: the text itself, and the number or truth value it names."""
    writings = {json.dumps(value), json.dumps(value, ensure_ascii=False)}
    if len(value) > _LONGEST_NUMBER:
        return sorted(writings)
    try:
        named = json.loads(value)
    except ValueError:  # no JSON, so it means no number and no truth value
        return sorted(writings)
    if isinstance(named, bool):
        writings.add(json.dumps(named))
    elif isinstance(named, int | float) and math.isfinite(named):
        writings |= {json.dumps(named), json.dumps(float(named))}
        if float(named).is_integer():
            writings.add(json.dumps(int(named)))
    return sorted(writings)


def sorted_by(sort: str) -> ColumnElement[Any]:
    """Return what runs are sorted by: one of `SORTED_BY`, or the last value of the metric of this name."""
    columns: dict[str, ColumnElement[Any]] = {
        "name": Run.name.expression,
        "application": Run.application.expression,
        "kind": Run.kind.expression,
        "status": Run.status.expression,
        "version": Run.version.expression,
        "created": Run.created_at.expression,
        "started": Run.started_at.expression,
        "duration": extract("epoch", Run.finished_at) - extract("epoch", Run.started_at),
    }
    return columns[sort] if sort in SORTED_BY else Run.metrics[checked_name(sort)].as_float()


def distinct(column: InstrumentedAttribute[str], *conditions: ColumnElement[bool]) -> Select[str]:
    """Query each value of a column once, in order, by one look into an index for each and not one for each row.

    Neither database skips from value to value for `SELECT DISTINCT`: https://wiki.postgresql.org/wiki/Loose_indexscan.
    """
    first = select(func.min(column).label("value")).where(*conditions)
    values = first.cte("each_value", recursive=True)
    after = select(func.min(column)).where(*conditions, column > values.c.value).scalar_subquery()
    values = values.union_all(select(after).where(values.c.value.is_not(None)))
    return select(values.c.value).where(values.c.value.is_not(None))
