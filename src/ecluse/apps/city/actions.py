"""Compute a day of a city and keep it: curate its raw files, run the processors, write the documents.

`run_day` is the whole of it for one date. The same inputs give the same documents in every database, so that a
day may be computed again at any time, by any number of processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from ecluse.apps.city import reference
from ecluse.apps.city.calendar import LAST_DAY, LocalDay, expect_days
from ecluse.apps.city.check import not_taken
from ecluse.apps.city.curated import Curated, Part
from ecluse.apps.city.days import MARK, latest_day
from ecluse.apps.city.doubts import doubts_of, said_of
from ecluse.apps.city.errors import BadRaw, NoRawData
from ecluse.apps.city.garbage import without_collecting
from ecluse.apps.city.inputs import HISTORY_DAYS, Inputs, Metrics, read_inputs
from ecluse.apps.city.printed import file_name, print_reports
from ecluse.apps.city.processors import PROCESSORS, QUALITY, compute_all, words_of
from ecluse.apps.city.progress import Report, part_of, unheard
from ecluse.apps.city.provenance import (
    NAME,
    SAMPLED,
    expect_one_kind,
    expect_unmixed_raw,
    invented_days,
    provenance_of,
)
from ecluse.apps.city.raw import Raw
from ecluse.apps.city.report import make_report, tidy_csv
from ecluse.apps.city.settings import CitySettings
from ecluse.apps.city.sources import Curating, curate_all, curated_tables
from ecluse.apps.city.thresholds import Thresholds
from ecluse.documents import Body, Document, Documents
from ecluse.runtime import Runtime
from ecluse.sentences import _, listing, num
from ecluse.settings import store_or_folder
from ecluse.storage import ObjectStore, join_key
from ecluse.web import i18n

if TYPE_CHECKING:
    from ecluse.apps.city.forecast import Heard, Learned, Recall
    from ecluse.checkpoints import Checkpoints

#: The kind of the document that says which day is forecast; the forecasts are `forecast/arcs` and `forecast/bikes`.
FORECAST: Final = "forecast"
FORECASTS: Final = ("forecast/arcs", "forecast/bikes")
#: Raised where the meaning of a kind of metrics changes, so that days computed before are computed again.
MEANING: Final = 2
#: The weeks of so many arcs are held in memory at once, in some gigabytes; Paris has 3,348.
MOST_ARCS: Final = 20_000
#: How many files and bad records the document on quality quotes.
QUOTED_FILES: Final = 100
QUOTED_RECORDS: Final = 20
#: Stands around the learning of a day's forecast, and hears what was learned.
Track = Callable[[date], AbstractContextManager["Heard"]]


@contextmanager
def untracked(day: date) -> Iterator[Heard]:
    """Yield where no run is kept of a forecast."""

    def heard(panel: str, learned: Learned) -> None:
        pass

    yield heard


@dataclass(frozen=True)
class City:
    """What a run needs: where it reads and writes, whose clocks count, and the numbers of the rules."""

    name: str
    #: Whether its raw data is that of an invented city, `ecluse.apps.city.provenance`.
    invented: bool
    zone: ZoneInfo
    thresholds: Thresholds
    raw: Raw
    curated: Curated
    documents: Documents
    reports: ObjectStore
    scratch: Path

    @property
    def raw_url(self) -> str:
        return self.raw.store.url

    def day(self, day: date) -> LocalDay:
        return LocalDay(day, self.zone)


@dataclass(frozen=True)
class ComputedDay:
    """A day's metrics, not written yet. `inputs`: a digest of all they were computed from."""

    day: LocalDay
    metrics: Mapping[str, Metrics]
    inputs: str
    #: Table → how many rows the day has of it.
    rows: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def open_city(runtime: Runtime, raw: str | None = None) -> Iterator[City]:
    """Yield the city of the settings. `raw`: a store address or a local folder to read instead of the settings' store.

    Each raw store has a curated layer of its own in the store of the data, and another one for an invented city there.

    Raises:
        SettingsError: an address cannot be used, or a threshold has no such name.
        MixedData: the raw store and its fallback are of different kinds.
    """
    settings = runtime.settings.of(CitySettings)
    usual = runtime.stores.area("raw")
    store = usual if raw is None else runtime.stores.open(store_or_folder("--raw", raw))
    fallback = settings.raw_fallback_url
    raw_layout = Raw(store, None if fallback is None else runtime.stores.open(fallback))
    invented = provenance_of(raw_layout)
    prefix = curated_prefix(store, usual, invented=invented)
    with runtime.scratch() as scratch:
        yield City(
            name=NAME if invented else settings.name,
            invented=invented,
            zone=ZoneInfo(settings.zone),
            thresholds=Thresholds.changed(settings.thresholds),
            raw=raw_layout,
            curated=Curated(runtime.data.scoped(prefix), runtime.cache, scratch, curated_tables()),
            documents=runtime.documents,
            reports=reports_of(runtime),
            scratch=scratch,
        )


def reports_of(runtime: Runtime) -> ObjectStore:
    """Return the store of the reports' files: a folder for each day."""
    return runtime.data.scoped(join_key("city", "reports"))


def curated_prefix(store: ObjectStore, usual: ObjectStore, *, invented: bool) -> str:
    """Return where the curated data of a raw store lies. That of invented data lies beside that of measured data."""
    place = store.url.rstrip("/")
    folder = "invented" if invented else "curated"
    if place == usual.url.rstrip("/"):
        return join_key("city", folder)
    return join_key("city", f"{folder}-{hashlib.sha256(place.encode()).hexdigest()[:8]}")


# Compute


def run_day(
    city: City, day: date, *, run: str, report: Report = unheard, again: bool = True
) -> ComputedDay | None:
    """Curate, compute and write one day; None where it is up to date and not wanted `again`. `run`: who asked.

    A source whose raw files are not what their names say is set aside, and named among the doubts of the day.

    Raises:
        NoRawData: nothing is known of the day.
        BadRaw: nothing is known of it, and a raw file is not what its name says.
    """
    prepare(city, day, day, part_of(report, 0.0, 0.5))
    if not again and is_up_to_date(city, day):
        return None
    return make_day(city, day, run=run, report=part_of(report, 0.5, 1.0))


def make_day(city: City, day: date, *, run: str, report: Report = unheard) -> ComputedDay:
    """Compute and write a day whose curated layer is up to date. Raises as `compute_day` does."""
    with without_collecting():
        computed = compute_day(city, day, part_of(report, 0.0, 0.8))
        write_day(city, computed, run=run, report=part_of(report, 0.8, 1.0))
    return computed


def prepare(
    city: City, first: date, last: date, report: Report = unheard, *, history_days: int = HISTORY_DAYS
) -> None:
    """Bring the curated layer up to date for these days and for the past that they are compared with.

    Raises:
        InvalidInput: no such days.
        BadRaw: measured data lies beside that of an invented city.
        MixedData: the days that are there are measured and these invented, or the other way round.
    """
    expect_days(first, last)
    expect_one_kind(city.documents, city.invented)
    if city.invented:
        expect_unmixed_raw(city.raw.store)
    since = first - timedelta(days=history_days)
    curate_all(city.raw, Curating(city.curated, since, last, city.zone, city.scratch, report))


def compute_day(city: City, day: date, report: Report = unheard) -> ComputedDay:
    """Return a day's metrics from the curated layer, each with the date, the time zone and the labels of the hours.

    Raises:
        NoRawData: nothing was measured on that day; the message names the nearest days that have data.
        BadRaw: there are more arcs than fit into memory.
    """
    local = city.day(day)
    report(0.0, _("reading"))
    digest = inputs_digest(city, day)
    inputs = read_inputs(city.curated, local, city.thresholds)
    rows = {table: sum(part.rows for part in parts) for table, parts in inputs.parts.items()}
    if not any(rows.get(name) for name, table in city.curated.tables.items() if table.is_measured):
        if failures := city.curated.failures():
            raise BadRaw(listing(failures.values(), "\n"))
        raise NoRawData(_nothing_known(city, day))
    if (arcs := len(inputs.network.ids)) > MOST_ARCS:
        raise BadRaw(
            _(
                "The raw data tells of %(count)s arcs, and a day is computed of %(most)s at most. "
                "Look at the reference of the arcs.",
                count=num(arcs, ","),
                most=num(MOST_ARCS, ","),
            )
        )
    computed = compute_all(inputs, part_of(report, 0.1, 1.0))
    computed[QUALITY] = Metrics(_quality(city, inputs))
    of_city = _of_city(city)
    of_day = {"date": day.isoformat(), **of_city, "zone": city.zone.key, "hours": list(local.labels)}
    metrics = {
        kind: Metrics(
            of_day | metrics_of_kind.body,
            {key: of_city | part for key, part in metrics_of_kind.parts.items()},
        )
        for kind, metrics_of_kind in computed.items()
    }
    return ComputedDay(local, metrics, digest, rows)


def _of_city(city: City) -> dict[str, Any]:
    """Return what every document says of where it is from."""
    return {"city_name": city.name, "invented": city.invented}


def write_day(city: City, computed: ComputedDay, *, run: str, report: Report = unheard) -> None:
    """Keep a day. Its mark is written last, and goes first where its inputs changed, so that no one reads half of it.

    What an earlier run of the day left and this one did not make is removed.
    """
    expect_one_kind(city.documents, city.invented)
    documents, key = city.documents, computed.day.date.isoformat()
    before = documents.get_many([(MARK, key)]).get((MARK, key))
    if before is not None and before["inputs"] != computed.inputs:
        documents.delete(MARK, key)
    removed_kinds = set(before["kinds"] if before else ()) - computed.metrics.keys()
    for kind in sorted(removed_kinds):
        documents.delete_kind(f"metrics/{kind}/{key}")
        documents.delete(f"metrics/{kind}", key)
    for n, (kind, metrics) in enumerate(computed.metrics.items()):
        report(n / len(computed.metrics), _("writing %(what)s", what=words_of(kind)))
        _write_parts(documents, f"metrics/{kind}/{key}", metrics.parts)
    reference.write_reference(documents, city.curated)
    report(0.9, _("writing the report"))
    _write_report(city, computed)
    documents.put_many(
        Document(f"metrics/{kind}", key, metrics.body) for kind, metrics in computed.metrics.items()
    )
    documents.put(MARK, key, _mark(city, computed, run))


def _write_report(city: City, computed: ComputedDay) -> None:
    """Keep the report as a document, and beside it as files: JSON, the tidy table, and a page for each language."""
    key = computed.day.date.isoformat()
    bodies = {kind: metrics.body for kind, metrics in computed.metrics.items()}
    report = make_report(city.name, computed.day, bodies, invented=city.invented)
    arcs = reference.read_arcs(city.documents, city.curated)
    lost_of_arcs = lost_times(computed.metrics)
    files = {
        "report.json": json.dumps(report, ensure_ascii=False, indent=1).encode(),
        "report.csv": tidy_csv(report).encode("utf-8-sig"),
    }
    for language, page in print_reports(report, arcs, lost_of_arcs, i18n.languages()).items():
        files[file_name(language)] = page.encode()
    for name, data in files.items():
        city.reports.put(join_key(key, name), data)
    city.documents.put("reports", key, report)


def remove_day(documents: Documents, reports: ObjectStore, day: date) -> None:
    """Remove what was computed of a day: metrics, report and its files; a forecast that follows no day then goes too.

    The mark goes first, so that no one reads half a day, and the report last: what was interrupted can be removed
    again. Raw files and curated tables stay.
    """
    key = day.isoformat()
    documents.delete(MARK, key)
    for kind in (*PROCESSORS, QUALITY):
        documents.delete_kind(f"metrics/{kind}/{key}")
        documents.delete(f"metrics/{kind}", key)
    reports.delete_prefix(key)
    latest = latest_day(documents)
    state = documents.get_many([(FORECAST, "state")]).get((FORECAST, "state"))
    following = None if latest is None else (latest + timedelta(days=1)).isoformat()
    if state is not None and state["date"] != following:
        for kind in FORECASTS:
            documents.delete_kind(kind)
        documents.delete(FORECAST, "state")
    documents.delete("reports", key)


def remove_sample(runtime: Runtime, store: ObjectStore, report: Report = unheard) -> list[date]:
    """Remove the invented city: its raw files in `store`, its curated tables, its days and what was made of them.

    Returns the days. What was interrupted can be removed again; measured data and their days stay.
    """
    from ecluse.apps.city.demo import remove_demo

    documents, days = runtime.documents, sorted(invented_days(runtime.documents))
    for n, day in enumerate(days):
        report(0.8 * n / len(days), day.isoformat())
        remove_day(documents, reports_of(runtime), day)
    report(0.8, _("raw data"))
    usual = runtime.stores.area("raw")
    runtime.data.delete_prefix(curated_prefix(store, usual, invented=True))
    if latest_day(documents) is None:
        reference.remove_reference(documents)
        # Of before the two were kept apart; what is measured is curated again from its raw data.
        runtime.data.delete_prefix(curated_prefix(store, usual, invented=False))
    remove_demo(store)
    return days


def removable_days(documents: Documents, first: date, last: date) -> list[date]:
    """Return the days from `first` to `last` of which something is kept: those that are there, or were removed in
    part.
    """
    span = (first.isoformat(), (min(last, LAST_DAY) + timedelta(days=1)).isoformat())
    days_stored = {*documents.keys(MARK, *span), *documents.keys("reports", *span)}
    return [date.fromisoformat(key) for key in sorted(days_stored)]


def lost_times(metrics: Mapping[str, Metrics]) -> dict[int, float]:
    """Return, by arc, the vehicle-hours lost on the day, of the arcs where that is known."""
    parts = metrics["arcs"].parts.values() if "arcs" in metrics else ()
    return {part["arc"]: part["lost_time"] for part in parts if part.get("lost_time") is not None}


def _write_parts(documents: Documents, kind: str, parts: Mapping[str, Body]) -> None:
    documents.put_many(Document(kind, key, body) for key, body in parts.items())
    for key in documents.keys(kind):
        if key not in parts:
            documents.delete(kind, key)


def _mark(city: City, computed: ComputedDay, run: str) -> Body:
    traffic = computed.metrics.get("traffic")
    return {
        "date": computed.day.date.isoformat(),
        **_of_city(city),
        "computed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": run,
        "kinds": sorted(computed.metrics),
        "raw": city.raw_url,
        "inputs": computed.inputs,
        "rows": dict(computed.rows),
        "coverage": traffic.body.get("coverage") if traffic else None,
    }


def update_forecast(
    city: City,
    report: Report = unheard,
    track: Track = untracked,
    checkpoints: Checkpoints | None = None,
) -> date | None:
    """Forecast the day after the last that was computed; which day that is, None before there is any.

    What is there for that day and from the same data stays. A later day that is computed meanwhile is seen. `track`
    stands around the learning, and hears of it; `checkpoints` keep each model that was learned.
    """
    done = None
    while (latest := latest_day(city.documents)) is not None and latest != done:
        _write_forecast(city, latest, report, track, checkpoints)
        done = latest
    return None if done is None else done + timedelta(days=1)


def _write_forecast(
    city: City, latest: date, report: Report, track: Track, checkpoints: Checkpoints | None
) -> None:
    from ecluse.apps.city.forecast import FORECAST_MEANING, LEARNING_DAYS, forecast_day

    documents = city.documents
    prepare(city, latest, latest, part_of(report, 0.0, 0.4), history_days=LEARNING_DAYS)
    digest = inputs_digest(city, latest, history_days=LEARNING_DAYS)
    decided_by = {"inputs": digest, "meaning": FORECAST_MEANING}
    state = {"date": (latest + timedelta(days=1)).isoformat(), **_of_city(city), **decided_by}
    if documents.get_many([(FORECAST, "state")]).get((FORECAST, "state")) == state:
        return
    report(0.4, _("reading"))
    inputs = read_inputs(city.curated, city.day(latest), city.thresholds, history_days=LEARNING_DAYS)
    report(0.5, _("learning"))
    with track(latest + timedelta(days=1)) as heard:
        forecast = forecast_day(inputs, learns=True, heard=heard, recall=_recalled(checkpoints, digest))
    report(0.9, _("writing the forecast"))
    for kind, bodies in forecast.items():
        _write_parts(documents, kind, {key: _of_city(city) | body for key, body in bodies.items()})
    documents.put(FORECAST, "state", state)


def _recalled(checkpoints: Checkpoints | None, inputs: str) -> Recall:
    """Models that were learned from these inputs, by this library, are taken from the checkpoints."""
    from importlib.metadata import version

    from ecluse.apps.city.forecast import FORECAST_MEANING, PARAMETERS, TREES, anew

    if checkpoints is None:
        return anew
    conditions = json.dumps(
        [inputs, FORECAST_MEANING, TREES, PARAMETERS, version("lightgbm")], sort_keys=True
    )
    conditions_digest = hashlib.sha256(conditions.encode()).hexdigest()

    def recall(name: str, make: Callable[[], str]) -> str:
        saved = checkpoints.load(f"forecast-{name}", of=conditions_digest)
        text = make() if saved is None else saved.decode()
        if saved is None:
            checkpoints.save(f"forecast-{name}", text.encode(), of=conditions_digest, force=True)
        return text

    return recall


# Look


def forecast_of(documents: Documents) -> date | None:
    """Return the day that is forecast; None before there is one."""
    state = documents.get_many([(FORECAST, "state")]).get((FORECAST, "state"))
    return None if state is None else date.fromisoformat(state["date"])


def is_up_to_date(city: City, day: date) -> bool:
    """Return whether a day is there and was computed from what would be read now, by the same rules."""
    key = day.isoformat()
    mark = city.documents.get_many([(MARK, key)]).get((MARK, key))
    return mark is not None and mark["inputs"] == inputs_digest(city, day)


def is_done_by(city: City, day: date, run: str) -> bool:
    """Return whether this very run has computed a day, from what would be read now: it needs not do so twice."""
    key = day.isoformat()
    mark = city.documents.get_many([(MARK, key)]).get((MARK, key))
    return mark is not None and mark["run"] == run and mark["inputs"] == inputs_digest(city, day)


def inputs_digest(city: City, day: date, *, history_days: int = HISTORY_DAYS) -> str:
    """Return a digest of all that decides a day's metrics: the curated rows, the zone, the thresholds, the rules."""
    since = day - timedelta(days=history_days)
    content: list[list[Any]] = [
        [name, "", part.sha256]
        for name in city.curated.kept_whole()
        if (part := city.curated.whole(name)) is not None
    ]
    for name in city.curated.daily():
        begin = since if city.curated.tables[name].has_history else day
        parts_of = city.curated.parts_between(name, begin, day)
        content += [
            [name, day_of_parts.isoformat(), [part.sha256 for part in parts]]
            for day_of_parts, parts in parts_of.items()
        ]
    content.append(["failures", "", city.curated.failures()])
    deciding = [MEANING, list(PROCESSORS), city.name, city.zone.key, asdict(city.thresholds), content]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:32]


def _nothing_known(city: City, day: date) -> str:
    known_days_ = sorted({*city.raw.days(), *_measured_days(city, day)})
    near = [
        max((other for other in known_days_ if other < day), default=None),
        next((other for other in known_days_ if other > day), None),
    ]
    nearest = [other.isoformat() for other in near if other is not None]
    if not nearest and (reason := said_of(not_taken(city.raw.store), city.raw_url)):
        return _(
            "There is no raw data for %(day)s in %(place)s, nor for any other day. %(reason)s",
            day=day,
            place=city.raw_url,
            reason=reason,
        )
    if not nearest:
        return _(
            "There is no raw data for %(day)s in %(place)s, nor for any other day. Get some: "
            "ecluse city fetch, or ecluse city demo",
            day=day,
            place=city.raw_url,
        )
    return _(
        "There is no raw data for %(day)s in %(place)s. The nearest with data: %(days)s.",
        day=day,
        place=city.raw_url,
        days=_listed(nearest),
    )


def _measured_days(city: City, day: date) -> Iterator[date]:
    """Yield days with rows of the roads; the nearest on either side are enough."""
    days = city.curated.days("roads")
    earlier, later = (
        [other for other in reversed(days) if other < day],
        [other for other in days if other > day],
    )
    for side in (earlier, later):
        for other in side:
            if any(part.rows for part in city.curated.parts("roads", other)):
                yield other
                break


def _listed(days: Sequence[str]) -> str:
    return ", ".join(days)


def _quality(city: City, inputs: Inputs) -> Body:
    """Return what each table of the day was made from, and what was set aside."""
    parts: dict[str, Sequence[Part]] = dict(inputs.parts)
    for name in city.curated.kept_whole():
        whole = city.curated.whole(name)
        parts[name] = [] if whole is None else [whole]
    sources = {table: _source(table_parts) if table_parts else None for table, table_parts in parts.items()}
    without_rows = [table for table, source in sources.items() if source is None or not source["rows"]]
    return {
        "sources": sources,
        "missing": [table for table in without_rows if not city.invented or table in SAMPLED],
        "doubts": doubts_of(city.raw, city.curated, inputs),
    }


def _source(parts: Sequence[Part]) -> Body:
    files = list(dict.fromkeys(file for part in parts for file in part.files))
    fallback = list(dict.fromkeys(file for part in parts for file in part.fallback))
    rejected: dict[str, int] = {}
    for part in parts:
        for reason, count in part.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    return {
        "files": files[:QUOTED_FILES],
        "files_total": len(files),
        "fallback": fallback[:QUOTED_FILES],
        "records": sum(part.records for part in parts),
        "rows": sum(part.rows for part in parts),
        "rejected": dict(sorted(rejected.items())),
        "examples": [dict(example) for part in parts for example in part.examples][:QUOTED_RECORDS],
    }
