"""Let a program of a person begin a run, write to it and end it. What it repeats for want of an answer changes nothing.

Such a run has no job and belongs to no application (`application` is empty); it knows its program by a nonce. Runs that
code of ours writes are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from ecluse.catalog import Catalog, quotas, runs
from ecluse.catalog.reach import run_to_change
from ecluse.catalog.runs import Logged
from ecluse.catalog.tables import Run, now
from ecluse.errors import InvalidInput, NonceTaken, NotFound
from ecluse.moments import checked_moment
from ecluse.registry import checked_metadata, checked_name
from ecluse.run_values import checked_values, flat_values
from ecluse.sentences import _, num

#: Limits of what a run of a program may hold: points of one request and their values, names of metrics, parameters and
#: tags.
MOST_POINTS: Final = 1_000
MOST_VALUES: Final = 10_000
MOST_NAMES: Final = 500
#: How far the clock of a program may be ahead of ours.
CLOCKS_DIFFER: Final = timedelta(hours=1)
Ending = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True)
class NewRun:
    """What a run is begun with; `name` is that of the model it is to make.

    `started_at`: when it began, where it is taken over from elsewhere; None: now.
    """

    name: str
    kind: str
    nonce: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, with its last figures, and why it failed; `finished_at`: when, where that was not now."""

    status: Ending
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    finished_at: datetime | None = None


def begin(catalog: Catalog, user_id: str, request: NewRun) -> Run:
    """Begin a run; the one that this nonce has begun already, where it has.

    Raises:
        InvalidInput: a name or a value cannot be kept.
        NonceTaken: the nonce has begun a run of another name or kind.
        PlanEnded: the plan of the person is over; a run that had begun goes on.
    """
    began = {} if request.started_at is None else _times(_past(request.started_at))
    run = Run(
        user_id=user_id,
        application="",
        kind=request.kind,
        name=checked_name(request.name),
        parameters=_checked(request.parameters),
        tags=_checked_tags(request.tags),
        nonce=request.nonce,
        **began,
    )
    with catalog.read() as transaction:
        first = runs.run_by_nonce(transaction, user_id, request.nonce)
    if first is None:
        with catalog.write() as transaction:
            quotas.expect_not_ended(transaction, user_id)
            runs.begin_by_nonce(transaction, run)
        with catalog.read() as transaction:
            first = runs.run_by_nonce(transaction, user_id, request.nonce)
    if first is None:
        raise NotFound(_("The account of this run is gone."))
    if (first.name, first.kind) != (request.name, request.kind):
        raise NonceTaken(
            _(
                "The nonce %(value)s has begun run %(name)s, of another name or kind. Take a new one, such as a UUID.",
                value=repr(request.nonce),
                name=first.id,
            )
        )
    return first


def log(catalog: Catalog, user_id: str, run_id: str, points: Sequence[Logged]) -> None:
    """Keep metrics of several steps; see `catalog.runs.log_points`.

    Raises:
        NotFound: the user has no such run.
        RunClosed: it has ended, or code of ours writes it.
        InvalidInput: they are too many at once or in all, or one cannot be kept.
    """
    count = sum(len(point.metrics) for point in points)
    if len(points) > MOST_POINTS or count > MOST_VALUES:
        raise InvalidInput(
            _(
                "%(count)s points with %(number)s values are too many for one request. Send at most %(most)s with "
                "%(values)s.",
                count=num(len(points), ","),
                number=num(count, ","),
                most=num(MOST_POINTS, ","),
                values=num(MOST_VALUES, ","),
            )
        )
    dated = [point if point.at is None else replace(point, at=checked_moment(point.at)) for point in points]
    with catalog.write() as transaction:
        run = runs.expect_active(runs.run_to_write(transaction, user_id, run_id))
        runs.log_points(transaction, run.id, dated)
        _expect_few(run.metrics)


def note(
    catalog: Catalog, user_id: str, run_id: str, parameters: Mapping[str, Any], tags: Mapping[str, Any]
) -> Run:
    """Note parameters and tags; one that is named again is replaced, and a tag that is None goes. Raises as `log`."""
    with catalog.write() as transaction:
        run = runs.expect_active(runs.run_to_write(transaction, user_id, run_id))
        runs.set_parameters(transaction, run.id, _checked(parameters))
        gone = {name: None for name, value in tags.items() if value is None}
        runs.set_tags(transaction, run.id, gone | _checked_tags(tags))
        _expect_few(run.parameters)
        _expect_few(run.tags)
    return _read(catalog, user_id, run_id)


def end(catalog: Catalog, user_id: str, run_id: str, ending: RunEnd) -> Run:
    """Record how a run ended. Raises as `log`; not where it has ended so already."""
    at = None if ending.finished_at is None else _past(ending.finished_at)
    with catalog.write() as transaction:
        run = runs.run_to_write(transaction, user_id, run_id)
        if run.status != ending.status:
            _expect_after(run, at)
            runs.end_by_program(
                transaction, runs.expect_active(run), ending.status, ending.metrics, ending.error, at
            )
            _expect_few(run.metrics)
    return _read(catalog, user_id, run_id)


def _times(moment: datetime) -> dict[str, datetime]:
    return {"created_at": moment, "started_at": moment}


def _past(moment: datetime) -> datetime:
    """Return a moment in UTC.

    Raises:
        InvalidInput: it is yet to come, by more than clocks differ, or as `checked_moment`.
    """
    past = checked_moment(moment)
    if past > now() + CLOCKS_DIFFER:
        raise InvalidInput(
            _("%(value)s is yet to come. Say when it was, or leave it out.", value=moment.isoformat())
        )
    return past


def _expect_after(run: Run, ended: datetime | None) -> None:
    if ended is not None and run.started_at is not None and ended < run.started_at:
        raise InvalidInput(
            _(
                "Run %(name)s cannot have ended at %(value)s: it began at %(first)s.",
                name=run.id,
                value=ended.isoformat(),
                first=run.started_at.isoformat(),
            )
        )


def _read(catalog: Catalog, user_id: str, run_id: str) -> Run:
    with catalog.read() as transaction:
        return run_to_change(transaction, user_id, run_id)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = checked_values(flat_values(checked_metadata(values)))
    _expect_few(checked)
    return checked


def _checked_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tags that are set.

    Raises:
        InvalidInput: one is what code of ours takes for a key of the store.
    """
    if runs.CHECKPOINT in tags:
        raise InvalidInput(
            _(
                "The tag %(name)s is kept for trainings of applications. Call it otherwise.",
                name=runs.CHECKPOINT,
            )
        )
    return _checked({name: value for name, value in tags.items() if value is not None})


def _expect_few(values: Mapping[str, Any]) -> None:
    if len(values) > MOST_NAMES:
        raise InvalidInput(
            _(
                "A run holds at most %(most)s parameters, tags and metrics each; here are %(count)s. Keep the rest "
                "in a file of the version.",
                most=num(MOST_NAMES, ","),
                count=num(len(values), ","),
            )
        )
