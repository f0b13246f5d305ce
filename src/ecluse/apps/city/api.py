"""Read a city's days: metrics, arcs, reports, forecasts; as JSON, CSV or Parquet."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ecluse.apps.city import shared_days
from ecluse.apps.city.days import MARK, known_days, no_such_day
from ecluse.apps.city.jobs import run_of, start_runs
from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.exports import MEDIA_TYPES, Format, bottleneck_table, encode_table, table_of
from ecluse.apps.city.provenance import is_invented_day
from ecluse.apps.city.settings import CitySettings
from ecluse.documents import Body, Documents
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _
from ecluse.shares import LINK_DAYS, MOST_DAYS
from ecluse.web.api.bodies import job_body
from ecluse.web.api.schemas import JobBody
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import Administrator, MayManage, MayRead, RuntimeDep, address_of

router = Declarations(prefix="/city", tags=["city"])
_DATE: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
ArcId = Annotated[int, Path(ge=0, le=2**53)]
First = Annotated[str | None, Query(alias="from", description="First date, such as 2025-10-01")]
Last = Annotated[str | None, Query(alias="to", description="Last date, itself included")]
KindOfDay = Annotated[
    Literal["working", "saturday", "sunday"], Query(description="Which days; public holidays are as Sundays")
]
Limit = Annotated[int, Query(ge=1, le=100, description="Days at most in one answer")]


class CityHealth(BaseModel):
    """Whether there is anything to show, and how new it is."""

    status: str
    latest: date | None
    #: Whether the latest day was computed from invented data.
    invented: bool


class CityStats(BaseModel):
    """What is known of the city in all."""

    city: str
    invented: bool
    zone: str
    days: int
    first: date | None
    latest: date | None
    arcs: int
    zones: int
    documents: dict[str, int]


class CityDays(BaseModel):
    """Dates with metrics, oldest first."""

    days: list[date]


class CityDay(BaseModel):
    """Every kind of metrics of a day; null where it has none."""

    date: date
    metrics: dict[str, dict[str, Any] | None]


class CityRange(BaseModel):
    """One kind of metrics over several days. `next`: give it as `from` for the days that follow."""

    kind: str
    items: list[dict[str, Any]]
    next: date | None


class CityBottlenecks(BaseModel):
    """The bottlenecks of a period, the costliest first, on days of one kind. `rests_on`: how many such days."""

    city: str
    invented: bool
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    days: str
    rests_on: int
    total: int
    items: list[dict[str, Any]]


class RunRequest(BaseModel):
    """Which days to compute, both ends included."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    first: date = Field(alias="from", examples=["2025-10-01"])
    last: date = Field(alias="to", examples=["2025-10-14"])
    again: bool = Field(False, description="Compute days that are up to date as well")


class RunAccepted(BaseModel):
    """A run that was queued. `run` is the job that prepares; each day then has a job of its own."""

    run: str


class CityRun(BaseModel):
    """How far a run is."""

    run: JobBody
    days: dict[date, JobBody]
    active: bool


class CityArc(BaseModel):
    """One arc and its metrics on each day of a range that has them."""

    arc: int
    label: str | None
    reference: dict[str, Any] | None
    items: list[dict[str, Any]]


class DayLinkRequest(BaseModel):
    """How long a link to a day's report lasts."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(LINK_DAYS, ge=1, le=MOST_DAYS)


class DayLinkBody(BaseModel):
    """A link by which a day's report is read without an account."""

    id: str
    day: date
    maker: str = Field(description="Handle of who made it")
    created_at: datetime
    expires_at: datetime


class NewDayLink(DayLinkBody):
    url: str = Field(description="The link, shown this once")


@router.get("/health")
def health(runtime: RuntimeDep) -> CityHealth:
    """Say whether the documents answer, and which day is the latest. Needs no token."""
    latest = runtime.documents.latest(MARK)
    return CityHealth(
        status="ok" if latest else "empty",
        latest=date.fromisoformat(latest.key) if latest else None,
        invented=latest is not None and is_invented_day(runtime.documents, latest.body),
    )


@router.get("/stats")
def stats(runtime: RuntimeDep, user: MayRead) -> CityStats:
    """Say how many days, arcs and documents of each kind there are."""
    documents, settings = runtime.documents, runtime.settings.of(CitySettings)
    days = known_days(documents)
    kinds = [f"metrics/{kind}" for kind in _kinds(documents)] + ["reports", "forecast/arcs", "forecast/bikes"]
    return CityStats(
        **city.naming(documents, settings.name),
        zone=settings.zone,
        days=len(days),
        first=days[0] if days else None,
        latest=days[-1] if days else None,
        arcs=len(city.all_arcs(documents)),
        zones=len(documents.keys("reference/zones")),
        documents={kind: len(documents.keys(kind)) for kind in kinds},
    )


@router.get("/days")
def list_days(runtime: RuntimeDep, user: MayRead, first: First = None, last: Last = None) -> CityDays:
    """List the days that have metrics."""
    start = city.date_of(first).isoformat() if first else None
    stop = city.day_after(city.date_of(last)) if last else None
    keys = runtime.documents.keys(MARK, start, stop)
    return CityDays(days=[date.fromisoformat(key) for key in keys])


@router.get("/metrics/{kind}/{day}", responses=answers(404))
def show_metrics(kind: str, day: str, runtime: RuntimeDep, user: MayRead) -> Response:
    """Return one kind of metrics of a day. An unknown date answers 404 with the nearest that are known."""
    return JSONResponse(_metrics(runtime.documents, kind, city.date_of(day)))


@router.get("/metrics/{kind_or_day}", responses=answers(404))
def list_metrics(
    kind_or_day: str,
    runtime: RuntimeDep,
    user: MayRead,
    first: First = None,
    last: Last = None,
    limit: Limit = 31,
) -> CityRange | CityDay:
    """Return every kind of metrics of a date, or one kind of metrics of each day of a range."""
    documents = runtime.documents
    if _DATE.fullmatch(kind_or_day):
        day = city.read_day(documents, city.date_of(kind_or_day))
        return CityDay(date=day.date, metrics=dict(day.metrics))
    kind = _known_kind(documents, kind_or_day)
    start, stop = _range(first, last)
    page = documents.range(
        f"metrics/{kind}",
        start.isoformat() if start else None,
        city.day_after(stop) if stop else None,
        limit=limit,
    )
    items = [{"date": document.key, **document.body} for document in page.items]
    behind = date.fromisoformat(page.items[-1].key) + timedelta(days=1) if page.next else None
    return CityRange(kind=kind, items=items, next=behind)


@router.get("/arcs/{arc}", responses=answers(404))
def show_arc(
    arc: ArcId, runtime: RuntimeDep, user: MayRead, first: First = None, last: Last = None
) -> CityArc:
    """Return one arc on each day of a range, of the last 31 known days without one."""
    documents = runtime.documents
    start, stop = _range(first, last)
    keys = documents.keys(MARK, start.isoformat() if start else None, city.day_after(stop) if stop else None)
    days = [date.fromisoformat(key) for key in keys]
    days = days if first or last else days[-31:]
    if len(days) > city.LONGEST_RANGE:
        raise InvalidInput(
            _(
                "That range has %(days)s days; ask for %(most)s at most.",
                days=len(days),
                most=city.LONGEST_RANGE,
            )
        )
    arc_days = city.arc_days(documents, arc, days)
    reference = next((arc_body for arc_body in city.all_arcs(documents) if arc_body["arc"] == arc), None)
    if not arc_days and reference is None:
        raise NotFound(f"No arc {arc} is known on these days. See: GET /api/city/export/arcs/DATE.csv")
    label = (arc_days[-1][1] if arc_days else reference or {}).get("label")
    items = [{"date": day.isoformat(), **body} for day, body in arc_days]
    return CityArc(arc=arc, label=label, reference=reference, items=items)


@router.get("/report/latest", responses=answers(404))
def latest_report(runtime: RuntimeDep, user: MayRead) -> dict[str, Any]:
    """Return the report of the latest day that has one."""
    report = runtime.documents.latest("reports")
    if report is None:
        raise NotFound("No report was written yet. Run a day: ecluse city run")
    return {"date": report.key, **report.body}


@router.get("/report/{day}", responses=answers(404))
def show_report(day: str, runtime: RuntimeDep, user: MayRead) -> dict[str, Any]:
    """Return the report of a day."""
    return _document_of(runtime.documents, "reports", city.date_of(day))


@router.get("/report/{day}/links", responses=answers(404))
def list_links(day: str, runtime: RuntimeDep, user: MayRead) -> list[DayLinkBody]:
    """List the links to a day's report that you made, the newest first; to an administrator everyone's."""
    listed = shared_days.links(runtime, user.user, city.date_of(day))
    return [DayLinkBody.model_validate(asdict(link)) for link in listed]


@router.post("/report/{day}/links", status_code=201, responses=answers(404))
def make_link(
    body: DayLinkRequest, day: str, request: Request, runtime: RuntimeDep, user: MayManage
) -> NewDayLink:
    """Make a link to a day's report: whoever has it reads the report without an account, and nothing else."""
    link, secret = shared_days.share(runtime, user.user, city.date_of(day), body.days)
    return NewDayLink(**asdict(link), url=f"{address_of(request)}/city/link/{secret}")


@router.delete("/report/{day}/links/{link}", status_code=204, responses=answers(404))
def end_link(day: str, link: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Take a link to a day's report back, from the next request on."""
    shared_days.unshare(runtime, user.user, city.date_of(day), link)


@router.get("/forecast/bikes/{counter}", responses=answers(404))
def show_bike_forecast(
    counter: Annotated[str, Path(pattern=r"^[\w.:-]{1,100}$")], runtime: RuntimeDep, user: MayRead
) -> dict[str, Any]:
    """Return what is expected of a bike counter on the day after the latest, by hour, with its interval."""
    return _forecast(runtime.documents, "forecast/bikes", counter)


@router.get("/forecast/{arc}", responses=answers(404))
def show_forecast(arc: ArcId, runtime: RuntimeDep, user: MayRead) -> dict[str, Any]:
    """Return what is expected of an arc on the day after the latest, by hour, with its interval."""
    return _forecast(runtime.documents, "forecast/arcs", str(arc))


def _forecast(documents: Documents, kind: str, key: str) -> Body:
    body = documents.get_many([(kind, key)]).get((kind, key))
    if body is None:
        raise NotFound(f"No forecast of {key}. Run the latest day: ecluse city run")
    return body


@router.get("/export/{table}/{day}.{form}", responses=answers(404), response_class=Response)
def export(table: str, day: str, form: Format, runtime: RuntimeDep, user: MayRead) -> Response:
    """Return a table of a day as a file: hours, arcs, arc_hours, zones, ranking, alerts, sensors, bikes and more."""
    usual = runtime.settings.of(CitySettings).name
    frame, invented = table_of(runtime.documents, table, city.date_of(day), usual)
    name = f"{'invented-' if invented else ''}{table}-{day}.{form}"
    return Response(
        encode_table(frame, form),
        media_type=MEDIA_TYPES[form],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@router.get("/bottlenecks", responses=answers(404))
def list_bottlenecks(
    runtime: RuntimeDep,
    user: MayRead,
    first: First = None,
    last: Last = None,
    days: KindOfDay = "working",
) -> CityBottlenecks:
    """Rank where there is a queue again and again: recurrence, hours, duration, length, time lost, by bottleneck.

    Without a period: the eight weeks up to the latest day.
    """
    ranking = city.bottlenecks(runtime, first, last, days)
    return CityBottlenecks(
        **city.naming(runtime.documents, runtime.settings.of(CitySettings).name),
        first=ranking.first,
        last=ranking.last,
        days=ranking.kind,
        rests_on=ranking.days,
        total=ranking.total,
        items=ranking.items,
    )


@router.get("/bottlenecks.{form}", responses=answers(404), response_class=Response)
def export_bottlenecks(
    form: Format,
    runtime: RuntimeDep,
    user: MayRead,
    first: First = None,
    last: Last = None,
    days: KindOfDay = "working",
) -> Response:
    """Return the bottlenecks of a period as a file."""
    ranking = city.bottlenecks(runtime, first, last, days)
    names = city.naming(runtime.documents, runtime.settings.of(CitySettings).name)
    name = f"{'invented-' if names['invented'] else ''}bottlenecks-{ranking.first}-{ranking.last}-{ranking.kind}.{form}"
    return Response(
        encode_table(bottleneck_table(ranking, names), form),
        media_type=MEDIA_TYPES[form],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@router.post("/runs", status_code=202, responses=answers(403))
def start_run(body: RunRequest, runtime: RuntimeDep, user: Administrator) -> RunAccepted:
    """Compute days as jobs on all workers; those that are up to date are left as they are. For administrators."""
    return RunAccepted(run=start_runs(runtime, user.user, body.first, body.last, again=body.again))


@router.get("/runs/{run}", responses=answers(404))
def show_run(run: str, runtime: RuntimeDep, user: Administrator) -> CityRun:
    """Say how far a run is, and each of its days. For administrators."""
    city_run = run_of(runtime, user.user.id, run)
    days = {day: job_body(job) for day, job in city_run.days.items()}
    return CityRun(run=job_body(city_run.prepare), days=days, active=city_run.active)


def _metrics(documents: Documents, kind: str, day: date) -> Body:
    return _document_of(documents, f"metrics/{_known_kind(documents, kind)}", day)


def _document_of(documents: Documents, kind: str, day: date) -> Body:
    """Return a day's document.

    Raises:
        NoSuchDay: there is none; carries the nearest dates that have one.
    """
    key = (kind, day.isoformat())
    body = documents.get_many([key]).get(key)
    if body is None:
        raise no_such_day(documents, day, kind)
    return {"date": day.isoformat(), **body}


def _kinds(documents: Documents) -> list[str]:
    """Return the kinds of metrics that the latest day has one document each of."""
    latest = documents.latest(MARK)
    return [] if latest is None else list(latest.body["kinds"])


def _known_kind(documents: Documents, kind: str) -> str:
    kinds = _kinds(documents)
    if kinds and kind not in kinds:
        raise NotFound(f"No kind of metrics {kind[:40]!r}; there are {', '.join(kinds)}.")
    return kind


def _range(first: str | None, last: str | None) -> tuple[date | None, date | None]:
    start = city.date_of(first) if first else None
    stop = city.date_of(last) if last else None
    if start and stop and stop < start:
        raise InvalidInput(
            _(
                "The range ends on %(last)s, before it begins on %(first)s. Exchange them.",
                last=stop,
                first=start,
            )
        )
    return start, stop
