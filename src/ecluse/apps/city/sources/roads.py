"""Curate the hours of the road sensors: files of any size become rows per local day, read once, as a stream.

Batch `comptages-routiers-permanents*` (and what else begins with `comptages`): CSV or Parquet with the columns of
`COLUMNS` in any order, among others. Several threads parse blocks of lines. What was read waits in `SortBuffers` until
the file is through, for it tells of its days in any order. Of two rows of one arc and hour the later one is taken.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.curated import Batch, Part
from ecluse.apps.city.download import Download
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.fetching import FetchWork, Stored
from ecluse.apps.city.progress import part_of
from ecluse.apps.city.raw import Raw, RawFile
from ecluse.apps.city.sources.curating import Curating, FileContents
from ecluse.apps.city.sources.exports import DailyExport, count_lines, fetch_days
from ecluse.apps.city.sources.feed import Rejections, is_current, newest, origin_of
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.road_files import RoadSource, open_roads
from ecluse.apps.city.sources.road_records import COLUMNS, STAMP, Block, Clock
from ecluse.apps.city.sources.sort_buffers import HELD, MISSING, SortBuffers
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.tables import MOMENT, ROADS, Table
from ecluse.sentences import N_, _, listing

T = TypeVar("T")
R = TypeVar("R")

BATCH: Final = "comptages"
FORMS: Final = (
    Form(
        source="roads",
        title="Road sensors (comptages routiers permanents)",
        places=("batch/comptages*.csv", "batch/comptages*.csv.gz", "batch/comptages*.parquet"),
        style="csv",
        columns=(
            Column(COLUMNS["arc"], "number of the arc", example=4264, needed=True),
            Column(
                COLUMNS["at"],
                "hour of the count",
                example="2022-01-01T11:00:00+01:00",
                needed=True,
                stamp=STAMP,
            ),
            Column(
                COLUMNS["flow"],
                "vehicles counted in the hour",
                "vehicles per hour",
                "524.0",
                needed=True,
            ),
            Column(
                COLUMNS["occupancy"],
                "share of the hour in which the sensor was occupied",
                "%",
                "8.85667",
                needed=True,
            ),
            Column(
                COLUMNS["state"],
                "Inconnu, Fluide, Pré-saturé (from 15 %), Saturé (from 30 %) or Bloqué (from 50 %)",
                example="Fluide",
                needed=True,
            ),
            Column(COLUMNS["arc_state"], "Ouvert, Barré or Invalide", example="Ouvert", needed=True),
        ),
        address="https://opendata.paris.fr/explore/dataset/comptages-routiers-permanents/information",
    ),
)
#: Of the time a file takes, about so much goes by before its first day is written.
_READING: Final = 0.8
_PARSING: Final = 3
#: A day that is written waits for the disk, or the network, most of its time.
_WRITING: Final = 8
#: Someone who waits hears so often, in seconds, even while nothing gets done.
_SILENCE: Final = 0.5
_EPOCH: Final = date(1970, 1, 1)
_MINUTE: Final = 60_000_000
_SMALL_ARC: Final = 1 << 16


def curate(raw: Raw, work: Curating) -> None:
    """Bring `roads` up to date: every file that changed since, whole, whatever days are wanted.

    Raises:
        BadRaw: a file is no table of road counts; the others are read first.
    """
    files = raw.batch(BATCH)
    bad: list[str] = []
    for n, file in enumerate(files):
        facts = _FileFacts(
            file, hashlib.sha256(f"{file.fingerprint} {work.zone.key}".encode()).hexdigest()[:16]
        )
        batch = work.curated.batch("roads", facts.origin)
        if batch is None or batch.fingerprint != facts.fingerprint:
            report = part_of(work.report, n / len(files), (n + 1) / len(files))
            try:
                _curate_file(facts, batch, replace(work, report=report))
            except BadRaw as error:
                bad.append(str(error))
    if bad:
        raise BadRaw(listing(bad, "\n"))


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Read a file of road counts to its end and keep nothing of it."""
    rejected: Counter[str] = Counter()
    rows, first, last = 0, None, None
    with open_roads(file, Clock(work.zone), work.scratch) as source:
        for block in _whole_blocks(source, lambda: work.report(min(1.0, source.done()), file.key)):
            days = block.rows["day"]
            rejected.update(record.reason for record in block.rejected)
            if len(days):
                rows += len(days)
                low, high = (_EPOCH + timedelta(days=int(day)) for day in (days.min(), days.max()))
                first, last = min(first or low, low), max(last or high, high)
    return FileContents(rows, first, last, dict(rejected))


@dataclass
class _FileFacts:
    """What a file turns out to say beside its good rows."""

    file: RawFile
    fingerprint: str
    records: int = 0
    #: Whether an arc was told of; those of higher numbers are in `others`.
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(_SMALL_ARC, np.bool_))
    others: set[int] = field(default_factory=set)
    #: By day since 1970; None: the day cannot be told.
    rejections: dict[int | None, Rejections] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return origin_of(self.file)

    @property
    def arcs(self) -> tuple[int, ...]:
        return tuple(sorted(self.others.union(np.flatnonzero(self.seen).tolist())))

    def add(self, block: Block, line: int) -> None:
        """Take note of a block that begins behind `line`."""
        arcs = block.rows["arc"]
        if int(arcs.max(initial=0)) < len(self.seen):
            self.seen[arcs] = True
        else:
            self.others.update(np.unique(arcs).tolist())
        self.records += len(block.rows["day"]) + len(block.rejected)
        for record in block.rejected:
            self.rejections.setdefault(record.day, Rejections()).add(
                self.file.url,
                record.reason,
                line=line + record.line,
                column=record.column,
                value=record.value,
            )

    def of_day(self, day: int) -> Rejections:
        """Return a record whose time cannot be read may be of any day, so each day tells of it."""
        rejected = Rejections()
        for key in (day, None):
            if key in self.rejections:
                rejected.extend(self.rejections[key])
        return rejected

    def of_all(self) -> Rejections:
        rejected = Rejections()
        for rejected_of_day in self.rejections.values():
            rejected.extend(rejected_of_day)
        return rejected


def _curate_file(facts: _FileFacts, batch: Batch | None, work: Curating) -> None:
    name = facts.file.key.rpartition("/")[2]
    with SortBuffers(work.scratch, HELD) as buffers:
        _read(facts, buffers, work, name)
        days = sorted({*buffers.finish(), *(day for day in facts.rejections if day is not None)})
        dates = [_EPOCH + timedelta(days=day) for day in days]
        before = batch.days if batch else ()
        begun = Batch(facts.origin, facts.file.url, days=tuple(sorted({*before, *map(str, dates)})))
        work.curated.note_batch("roads", begun)
        resumed = batch is not None and not batch.fingerprint

        def write(day: int) -> None:
            at = _EPOCH + timedelta(days=day)
            if not (resumed and is_current(work.curated, "roads", at, facts.origin, facts.fingerprint)):
                _write_day(facts, at, buffers.take(day), facts.of_day(day), work)

        def tell(done: int) -> None:
            work.report(_READING + (1 - _READING) * done / len(days), _("writing %(what)s", what=name))

        done = 0
        with closing(in_order(write, days, _WRITING, lambda: tell(done))) as written:
            for done, _rest in enumerate(written, start=1):
                tell(done)
        for stale_day in sorted({*begun.days} - {*map(str, dates)}):
            work.curated.remove("roads", date.fromisoformat(stale_day), facts.origin)
        rejected = facts.of_all()
        work.curated.note_batch(
            "roads",
            replace(
                begun,
                fingerprint=facts.fingerprint,
                days=tuple(map(str, dates)),
                arcs=facts.arcs,
                records=facts.records,
                rejected=dict(rejected.counts),
                examples=tuple(vars(example) for example in rejected.examples),
            ),
        )


def _read(file_facts: _FileFacts, buffers: SortBuffers, work: Curating, name: str) -> None:
    """Put every good row of the file into the sort buffers.

    Raises:
        BadRaw: it is no such table, or none of its records is good.
    """
    line = 0
    rows = 0
    with open_roads(file_facts.file, Clock(work.zone), work.scratch) as source:
        line = source.header_lines

        def tell() -> None:
            work.report(_READING * min(1.0, source.done()), _("reading %(what)s", what=name))

        for block in _whole_blocks(source, tell):
            file_facts.add(block, line)
            buffers.add(block.rows)
            rows += len(block.rows["day"])
            line += block.lines
            tell()
    if file_facts.records and not rows:
        first = file_facts.of_all().examples[0]
        facts = {
            "file": file_facts.file.url,
            "number": first.line,
            "reason": first.reason,
            "value": repr(first.value),
        }
        raise BadRaw(
            _(
                "%(file)s, line %(number)s, column %(column)s: %(reason)s (%(value)s), and no record of the file "
                "is good. Fetch it again.",
                column=first.column,
                **facts,
            )
            if first.column
            else _(
                "%(file)s, line %(number)s: %(reason)s (%(value)s), and no record of the file is "
                "good. Fetch it again.",
                **facts,
            )
        )


def _whole_blocks(source: RoadSource, tell: Callable[[], None]) -> Iterator[Block]:
    rest = b""
    with closing(in_order(lambda parse: parse(), source.blocks, _PARSING, tell)) as blocks:
        for block in blocks:
            block_ = source.anew(rest + block.text, False) if rest else block
            rest = block_.rest
            yield block_
    if rest:
        yield source.anew(rest, True)


def _write_day(
    facts: _FileFacts, day: date, rows: dict[str, NDArray[Any]], rejected: Rejections, work: Curating
) -> Part:
    return work.curated.write(
        "roads",
        day,
        facts.origin,
        _table(rows),
        fingerprint=facts.fingerprint,
        modified=newest([facts.file]),
        records=len(rows["arc"]) + rejected.counts.total(),
        files=[facts.file.url],
        fallback=[facts.file.url] if facts.file.is_fallback else [],
        rejected=dict(rejected.counts),
        examples=rejected.examples,
        in_order=True,
    )


def _table(rows: dict[str, NDArray[Any]]) -> pl.DataFrame:
    """Return the rows of a day in the order of arcs and hours; of equal ones the last."""
    order = _by_arc_and_hour(rows["arc"], rows["at"])
    arc, at = rows["arc"][order], rows["at"][order]
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = (arc[1:] != arc[:-1]) | (at[1:] != at[:-1])
    if not is_last.all():
        order, arc, at = order[is_last], arc[is_last], at[is_last]
    return pl.DataFrame(
        {
            "arc": arc,
            "at": pl.Series(at.astype(np.int64) * _MINUTE).cast(MOMENT),
            **{name: pl.Series(rows[name][order], nan_to_null=True) for name in ("flow", "occupancy")},
            **{name: _states(rows[name][order], ROADS[name]) for name in ("state", "arc_state")},
        }
    )


def _states(codes: NDArray[np.uint8], kind: pl.DataType) -> pl.Series:
    states = pl.Series(codes)
    if codes.max(initial=0) == MISSING:
        states = states.set(states == MISSING, None)
    return states.cat.to(kind)


def _by_arc_and_hour(arc: NDArray[np.int32], at: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the stable order. Of 16 bits each, which days and cities fit, numpy sorts by radix: ten times as fast."""
    if not len(arc):
        return np.empty(0, np.intp)
    minute = at - at.min()
    by_hour = np.argsort(minute.astype(np.uint16) if minute.max() < 2**16 else minute, kind="stable")
    arcs = arc[by_hour]
    by_arc = np.argsort(arcs.astype(np.uint16) if arc.max() < 2**16 else arcs, kind="stable")
    return by_hour[by_arc]


def in_order(
    work: Callable[[T], R], items: Iterable[T], threads: int, waiting: Callable[[], None]
) -> Generator[R, None, None]:
    """`work` of each item in their order, several at a time; few are taken from `items` ahead.

    `waiting` is called twice a second while the next one is not done; what it raises ends the work.
    """
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="roads") as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) > threads:
                    yield _result(running.popleft(), waiting)
            while running:
                yield _result(running.popleft(), waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[R], waiting: Callable[[], None]) -> R:
    while not wait([future], timeout=_SILENCE).done:
        waiting()
    return future.result()


def _store_export(work: FetchWork, day: LocalDay, download: Download) -> Stored:
    key = f"batch/comptages-routiers-permanents-{day.date.isoformat()}.csv"
    records = count_lines(download, ("Identifiant arc", "iu_ac"))
    if records:
        work.raw.upload(download.path, key)
    return records, (key,)


_EXPORT: Final = DailyExport(
    source="roads",
    dataset="comptages-routiers-permanents",
    style="csv",
    column="t_1h",
    stamp=STAMP,
    store=_store_export,
)
SOURCE: Final = Source(
    name="roads",
    title=N_("Road sensors"),
    words=N_("roads"),
    table=Table(ROADS, ("arc", "at"), has_history=True, is_measured=True),
    forms=FORMS,
    curate=curate,
    inspect=inspect,
    lacks="no flow, congestion, lost time or alerts",
    fetch=partial(fetch_days, _EXPORT),
)
