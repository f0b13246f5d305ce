"""List, read and compare runs: the trainings of every application, and of programs of people, which begin them here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ecluse import tables, tracking
from ecluse.catalog import Transaction, runs, sharing
from ecluse.catalog.reach import readable_run
from ecluse.catalog.runs import Curves, RunFilter
from ecluse.catalog.tables import Run
from ecluse.errors import CannotRepeat, InvalidInput
from ecluse.registry import split_owner
from ecluse.run_values import Direction
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.tracking import programs
from ecluse.tracking.kinds import expect_ours, tracked_runs
from ecluse.web.api.schemas import Accepted
from ecluse.web.api.tables import owner_of
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayPublish, MayRead, RuntimeDep

router = Declarations(tags=["runs"])
Status = Literal["queued", "running", "done", "failed", "cancelled"]


class ArtifactBody(BaseModel):
    """A file a run has left, where it lies."""

    name: str
    url: str
    sha256: str
    size: int


class PointBody(BaseModel):
    """A metric at a step (an epoch, a trial), and when it was written."""

    step: int
    value: float
    at: datetime


class RunBody(BaseModel):
    """One training. `metrics` are the last figures; `main_metric` names the one it is judged by."""

    id: str
    application: str
    kind: str
    name: str
    status: Status
    main_metric: str | None
    metrics: dict[str, float]
    parameters: dict[str, Any]
    tags: dict[str, Any]
    artifacts: list[ArtifactBody]
    subject: dict[str, Any]
    exports: dict[str, Any]
    job: str | None
    version: str | None
    url: str | None
    parent_version: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    owner: str | None = Field(None, description="Handle of whose it is, where it is not yours")


class RunDetails(RunBody):
    aliases: list[str] = Field(description="Aliases that point at its version")


class RunPage(BaseModel):
    items: list[RunBody]
    total: int | None = Field(description="How many there are in all; null behind `after`")
    page: int
    per_page: int


class SettingsBody(BaseModel):
    """A parameter or metric of each run compared, in their order; null where one has it not."""

    name: str
    values: list[Any]
    differs: bool


class ComparedRuns(BaseModel):
    """Runs beside each other: parameters that differ first; curves by metric and run."""

    runs: list[RunBody]
    parameters: list[SettingsBody]
    metrics: list[SettingsBody]
    curves: dict[str, dict[str, list[PointBody]]]


class NewRunBody(BaseModel):
    """A run of a program of yours. The same `nonce` sent again is answered with the same run."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100, description="The model it is to make", examples=["churn"])
    kind: str = Field(
        "own", pattern=r"^\w[\w.\-]{0,31}$", description="A word for what kind of training it is"
    )
    parameters: dict[str, Any] = Field({}, description="Nested ones get flat names, such as goal.kind")
    tags: dict[str, Any] = {}
    nonce: str = Field(
        min_length=1, max_length=200, description="Of your own making, such as a UUID; one for each run"
    )
    started_at: AwareDatetime | None = Field(
        None, description="When it began, for one that is taken over; else now"
    )


class LoggedBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    step: int = Field(ge=0, lt=2**31)
    metrics: dict[str, float] = Field(description='Numbers; "nan" and "inf" as text')
    at: AwareDatetime | None = Field(None, description="When it was measured; else now")


class PointsBody(BaseModel):
    """Metrics of several steps; a name and step that is sent again replaces its value."""

    model_config = ConfigDict(extra="forbid")

    points: list[LoggedBody] = Field(max_length=programs.MOST_POINTS)


class RunNotesBody(BaseModel):
    """Parameters and tags to note beside those that there are; a tag that is null goes."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[str, Any] = {}
    tags: dict[str, Any] = {}


class RunEndBody(BaseModel):
    """How a run ended, with its last figures, and why it failed."""

    model_config = ConfigDict(extra="forbid")

    status: programs.Ending
    metrics: dict[str, float] = {}
    error: str | None = Field(None, max_length=5_000)
    finished_at: AwareDatetime | None = Field(
        None, description="When it ended, for one that is taken over; else now"
    )


class RunsQuery(BaseModel):
    """Which runs are listed, in which order, and which page of them."""

    application: str | None = None
    name: str | None = None
    kind: str | None = None
    status: Status | None = None
    tag: str = Field("", description="NAME=VALUE")
    parameter: str = Field("", description="NAME=VALUE")
    sort: str = Field("created", description="A column (created, name, duration …) or a metric")
    direction: Direction = "descending"
    page: int = Field(1, ge=1, le=1_000_000)
    per_page: int = Field(20, ge=1, le=200)
    after: str | None = Field(
        None, max_length=100, description="Id of the last run of the page before, by time alone"
    )

    def filter(self) -> RunFilter:
        """Raise InvalidInput for a condition that is not NAME=VALUE."""
        return RunFilter(
            self.application,
            self.name,
            self.kind,
            self.status,
            condition_of(self.tag),
            condition_of(self.parameter),
        )


@router.get("/runs")
def list_runs(runtime: RuntimeDep, user: MayRead, query: Annotated[RunsQuery, Query()]) -> RunPage:
    """Your runs, newest first unless sorted otherwise; those without the metric sorted by come last."""
    if query.after is not None:
        return _runs_behind(runtime, user.user.id, query.after, query)
    with runtime.catalog.look() as transaction:
        rows, total = runs.list_runs(
            transaction,
            user.user.id,
            query.filter(),
            sort=query.sort,
            direction=query.direction,
            limit=query.per_page,
            offset=(query.page - 1) * query.per_page,
        )
    return RunPage(
        items=[run_body(row) for row in rows], total=total, page=query.page, per_page=query.per_page
    )


def _runs_behind(runtime: Runtime, user_id: str, after: str, query: RunsQuery) -> RunPage:
    if (query.sort, query.direction) != ("created", "descending"):
        raise InvalidInput(
            _("`after` goes on in the order of time alone. Leave `sort` out, or name a `page`.")
        )
    with runtime.catalog.look() as transaction:
        rows = runs.runs_behind(transaction, user_id, after, query.filter(), limit=query.per_page)
    return RunPage(
        items=[run_body(row) for row in rows], total=None, page=query.page, per_page=query.per_page
    )


@router.post("/runs", status_code=201, responses=answers(409))
def begin_run(request: NewRunBody, runtime: RuntimeDep, user: MayPublish) -> RunBody:
    """Begin a run that your program writes: it logs metrics, publishes a version under its name, and ends it.

    @ORGANISATION/NAME begins one of an organisation in which you are owner or member.
    """
    new_run = programs.NewRun(
        name=request.name,
        kind=request.kind,
        nonce=request.nonce,
        parameters=request.parameters,
        tags=request.tags,
        started_at=request.started_at,
    )
    handle, name = split_owner(request.name)
    maker = tables.maker_called(runtime, user.user.id, handle)
    row = programs.begin(runtime.catalog, maker, replace(new_run, name=name))
    return run_body(row, handle.removeprefix("@") if maker != user.user.id else None)


@router.post("/runs/{run}/metrics", status_code=204, responses=answers(404, 409))
def log_metrics(run: str, request: PointsBody, runtime: RuntimeDep, user: MayPublish) -> None:
    """Log metrics of up to 1,000 steps of a run of your program. The same points again change nothing."""
    points = [runs.Logged(point.step, point.metrics, point.at) for point in request.points]
    programs.log(runtime.catalog, user.user.id, run, points)


@router.patch("/runs/{run}", responses=answers(404, 409))
def note_run(run: str, request: RunNotesBody, runtime: RuntimeDep, user: MayPublish) -> RunBody:
    """Note parameters and tags of a run of your program."""
    row = programs.note(runtime.catalog, user.user.id, run, request.parameters, request.tags)
    return run_body(row, owner_of(runtime, user.user.id, row.user_id))


@router.post("/runs/{run}/end", responses=answers(404, 409))
def end_run(run: str, request: RunEndBody, runtime: RuntimeDep, user: MayPublish) -> RunBody:
    """End a run of your program. Ended so already, it is answered as it is."""
    ending = programs.RunEnd(request.status, request.metrics, request.error, request.finished_at)
    row = programs.end(runtime.catalog, user.user.id, run, ending)
    return run_body(row, owner_of(runtime, user.user.id, row.user_id))


@router.get("/runs/compare", responses=answers(404))
def compare(
    runtime: RuntimeDep,
    user: MayRead,
    ids: Annotated[list[str], Query(description="Up to five ids: repeated, or with commas between them")],
) -> ComparedRuns:
    """Several runs beside each other."""
    with runtime.catalog.read() as transaction:
        compared = tracking.compare(transaction, user.user.id, ids_of(ids))
        bodies = [_readable_body(transaction, user.user.id, row) for row in compared.runs]
    return ComparedRuns(
        runs=bodies,
        parameters=[_settings(setting) for setting in compared.parameters],
        metrics=[_settings(setting) for setting in compared.metrics],
        curves={name: _points(dict(by_run)) for name, by_run in compared.curves.items()},
    )


@router.get("/runs/{run}", responses=answers(404))
def show(run: str, runtime: RuntimeDep, user: MayRead) -> RunDetails:
    """One run: what it was told, how it went, and what it left."""
    with runtime.catalog.read() as transaction:
        row = readable_run(transaction, user.user.id, run)
        aliases = tracking.aliases_of(transaction, row)
        if row.user_id not in sharing.makers_of(transaction, user.user.id):
            aliases = ()
        body = _readable_body(transaction, user.user.id, row)
    return RunDetails(**body.model_dump(), aliases=list(aliases))


@router.post("/runs/{run}/repeat", status_code=202, responses=answers(404, 422))
def repeat(run: str, runtime: RuntimeDep, user: MayPublish) -> Accepted:
    """Train again what a run trained, by its record; its application says what comes out the same."""
    made = start_repeat(runtime, user.user.id, run)
    return Accepted(job=made.job_id or "", status_url=f"/api/status/{made.job_id}", training=made.id)


@router.get("/runs/{run}/metrics", responses=answers(404))
def metrics(run: str, runtime: RuntimeDep, user: MayRead) -> dict[str, list[PointBody]]:
    """Show the metrics of a run by name, each by step."""
    with runtime.catalog.read() as transaction:
        row = readable_run(transaction, user.user.id, run)
        return _points(runs.curves_of(transaction, row.id))


def start_repeat(runtime: Runtime, user_id: str, run_id: str) -> Any:
    """Queue a training that makes again what a run made; the new run, with its `id` and `job_id`.

    Raises:
        NotFound: the user has no such run.
        CannotRepeat: it cannot be made again.
    """
    with runtime.catalog.read() as transaction:
        run = runs.run_of(transaction, user_id, run_id)
    expect_ours(run)
    repeat_run = tracked_runs(run.application).repeat
    if repeat_run is None:
        raise CannotRepeat(_("Runs of %(application)s are not repeated.", application=run.application))
    return repeat_run(runtime, user_id, run_id)


def condition_of(text: str) -> dict[str, str]:
    """`NAME=VALUE` as a mapping; nothing for an empty text.

    Raises:
        InvalidInput: it has another form.
    """
    if not text:
        return {}
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidInput(_("%(value)s is no condition. Write a name and a value: seed=0", value=repr(text)))
    return {name.strip(): value.strip()}


def ids_of(given: list[str] | None) -> list[str]:
    """List the ids of an address that repeats `ids`, or has several with commas between them."""
    return [run_id for text in given or () for run_id in text.split(",") if run_id]


def run_body(row: Run, owner: str | None = None, *, may_change: bool = True) -> RunBody:
    """Describe a run to a program.

    `owner`: the handle of its owner, where that is not who asks. To who may not change it, it is not said where its
    files lie, nor what it was made from.
    """
    main = tracking.main_metric(row)
    apart = ("job", "main_metric", "owner")
    values = {name: getattr(row, name) for name in RunBody.model_fields if name not in apart}
    values |= {"job": row.job_id, "main_metric": main.name if main else None, "owner": owner}
    if not may_change:
        files = [{**file, "url": ""} for file in row.artifacts or ()]
        values |= {"job": None, "url": None, "subject": {}, "exports": {}, "artifacts": files}
        tags = {name: value for name, value in row.tags.items() if name != runs.CHECKPOINT}
        values |= {"parent_version": None, "tags": tags}
    return RunBody.model_validate(values)


def _readable_body(transaction: Transaction, reader_id: str, row: Run) -> RunBody:
    """Describe a run to who may see it."""
    if row.user_id == reader_id:
        return run_body(row)
    may_change = row.user_id in sharing.makers_of(transaction, reader_id)
    return run_body(row, sharing.handle_of(transaction, row.user_id), may_change=may_change)


def _points(curves: Curves) -> dict[str, list[PointBody]]:
    return {
        name: [PointBody(step=point.step, value=point.value, at=point.at) for point in points]
        for name, points in curves.items()
    }


def _settings(setting: tracking.Setting) -> SettingsBody:
    return SettingsBody(name=setting.name, values=list(setting.values), differs=setting.differs)
