"""Turn what MLflow says of a run into parameters, tags and points of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ecluse.client.backend import MOST_POINTS, Ending, Point
from ecluse.client.mlflow.names import labels
from ecluse.run_values import TAKEN_FROM

#: What a run holds of each: names, and letters of a value (`tracking.programs`, `run_values`).
MOST_NAMES, LONGEST = 500, 500
#: Values that are handed on at once.
_MOST_VALUES: Final = 10_000
_LAST_STEP: Final = 2**31 - 1
#: Tags that MLflow writes for itself, and that say nothing of a run here.
_OWN_TAGS: Final = ("mlflow.log-model.history", "mlflow.runColor", "mlflow.loggedArtifacts")
_ENDINGS: Final[Mapping[str, Ending]] = {"FINISHED": "done", "FAILED": "failed", "KILLED": "cancelled"}


@dataclass(frozen=True)
class Values:
    """What a run is begun with; `changes` say what could not stay as it was."""

    parameters: dict[str, Any]
    tags: dict[str, Any]
    changes: list[str] = field(default_factory=list)


def values_of(run: Mapping[str, Any], experiment: str) -> Values:
    """Return parameters and tags of a run; its own id and experiment are among the tags."""
    data, info, changes = run.get("data", {}), run["info"], list[str]()
    given = {str(each["key"]): str(each.get("value", "")) for each in data.get("params", [])}
    parameters = {name: number_of(value) for name, value in _fitting("parameter", given, changes).items()}
    written = {
        str(each["key"]): str(each.get("value", ""))
        for each in data.get("tags", [])
        if each["key"] not in _OWN_TAGS
    }
    own = {
        TAKEN_FROM: "mlflow",
        "mlflow.run_id": str(info["run_id"]),
        "mlflow.experiment": experiment[:LONGEST],
        "mlflow.status": str(info.get("status", "")),
    }
    written = {name: value for name, value in written.items() if name not in own and name != "checkpoint"}
    tags = _fitting("tag", written, changes, MOST_NAMES - len(own))
    return Values(parameters, tags | own, changes)


def _fitting(
    what: str, values: Mapping[str, str], changes: list[str], most: int = MOST_NAMES
) -> dict[str, str]:
    names = labels(values)
    changes += [f"{what} {name!r} is {new!r} here" for name, new in names.items() if new != name]
    changes += [
        f"{what} {name!r} is cut from {len(value)} to {LONGEST} letters"
        for name, value in values.items()
        if len(value) > LONGEST
    ]
    chosen = list(values)[:most]
    if len(values) > most:
        changes.append(f"{len(values) - most} of {len(values)} {what}s are left out; a run holds {most}")
    return {names[name]: values[name][:LONGEST] for name in chosen}


def number_of(text: str) -> str | int | float | bool:
    """Return the number or truth value of which Python writes exactly this text; else the text. MLflow keeps texts."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:  # it is a number of the next kind, or a word
            continue
        if repr(number) == text and number - number == 0:
            return number
    return text


def ending_of(run: Mapping[str, Any]) -> Ending | None:
    """Return how a run ended; None while it goes on."""
    return _ENDINGS.get(str(run["info"].get("status", "")))


def moment_of(milliseconds: object) -> datetime | None:
    """Return a moment that MLflow gives; None where it gives none."""
    if milliseconds is None or int(str(milliseconds)) <= 0:
        return None
    return datetime.fromtimestamp(int(str(milliseconds)) / 1000, UTC)


def points_of(curves: Mapping[str, Sequence[Mapping[str, Any]]], changes: list[str]) -> list[Point]:
    """Return the curves of a run, by step and the moment of each value.

    MLflow allows several values of one step, and steps that are no count: where every step is 0, or one is beyond what
    a step can be here, they are numbered in their order in time. Else the last of a step stays.
    """
    names = labels(curves)
    changes += [f"metric {name!r} is {new!r} here" for name, new in names.items() if new != name]
    kept = list(curves)[:MOST_NAMES]
    if len(curves) > MOST_NAMES:
        changes.append(f"{len(curves) - MOST_NAMES} of {len(curves)} metrics are left out")
    by_moment: dict[tuple[int, int], dict[str, float]] = {}
    for name in kept:
        for (step, at), value in _curve(name, curves[name], changes).items():
            by_moment.setdefault((step, at), {})[names[name]] = value
    return [
        Point(step, metrics, moment_of(at) or datetime.now(UTC))
        for (step, at), metrics in sorted(by_moment.items())
    ]


def _curve(
    name: str, logged: Sequence[Mapping[str, Any]], changes: list[str]
) -> dict[tuple[int, int], float]:
    each = [
        (int(point.get("step", 0)), int(point.get("timestamp", 0)), float(point["value"])) for point in logged
    ]
    steps = {step for step, _at, _value in each}
    if (len(each) > 1 and steps == {0}) or any(not 0 <= step <= _LAST_STEP for step in steps):
        in_time = sorted(set(each), key=lambda point: (point[1], point[0]))
        changes.append(f"the steps of metric {name!r} are numbered in their order in time")
        return {(number, at): value for number, (_step, at, value) in enumerate(in_time)}
    last = {step: (at, value) for step, at, value in sorted(each, key=lambda point: point[:2])}
    if len(last) < len(set(each)):
        changes.append(f"metric {name!r} has several values of one step; the last of each stays")
    return {(step, at): value for step, (at, value) in last.items()}


def batches(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Yield points as many at once as are taken."""
    batch, count = list[Point](), 0
    for point in points:
        if batch and (len(batch) >= MOST_POINTS or count + len(point.metrics) > _MOST_VALUES):
            yield batch
            batch, count = [], 0
        batch.append(point)
        count += len(point.metrics)
    if batch:
        yield batch
