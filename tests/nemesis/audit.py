"""Compare what is there with what people were promised, past everything that Écluse says of itself."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from sqlalchemy import select

from ecluse import backups
from ecluse.backups.addresses import Areas
from ecluse.catalog import files, rows
from ecluse.catalog.of_work import Work
from ecluse.catalog.tables import JobCheckpoints, JobRow, ModelVersion, ObjectNote, Run, User, UserTable
from ecluse.errors import EcluseError
from ecluse.registry import Registry
from ecluse.registry.manifest import CLAIM
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.homes import objects_of
from tests.nemesis.people import Ledger, Person, Promise, TimeIsUp

#: How a job may go from one state to the next; anything else is a fault.
STEPS = {
    (None, "queued"),
    ("queued", "running"),
    ("queued", "queued"),
    ("running", "running"),
    ("running", "queued"),
    ("running", "done"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("queued", "cancelled"),
}
ENDED = ("done", "failed", "cancelled")
#: What a job is blamed with when workers died of it; no job of ours kills any.
GIVEN_UP = "worker processes in a row"


def wait_for_quiet(runtime: Runtime, seconds: float) -> list[str]:
    """Wait until no job waits or runs, with nobody's help; return what still does."""
    deadline = time.monotonic() + seconds
    while True:
        with runtime.catalog.read() as transaction:
            query = select(JobRow).where(JobRow.status.in_(("queued", "running")))
            left = [
                f"{job.kind} {job.id} is still {job.status} ({job.message or 'no word'}) by {job.worker}"
                for job in transaction.scalars(query)
            ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1)


def audit(
    runtime: Runtime, database_url: str, ledger: Ledger, people: Sequence[Person], *, struck: bool
) -> Iterator[str]:
    """Say everything that is wrong. Where nothing was `struck`, no job has a reason to change hands either."""
    yield from ledger.findings
    yield from check_history(database_url, struck=struck)
    yield from check_promises(runtime, ledger)
    yield from check_made_by_jobs(runtime, ledger)
    yield from check_rows_and_objects(runtime)
    yield from check_facts(ledger, people)


def check_history(database_url: str, *, struck: bool) -> Iterator[str]:
    """Check that each job went from state to state as it may, and ended once."""
    ended = dict[str, str]()
    fences = dict[str, int]()
    with psycopg.connect(database_url) as connection:
        query = """SELECT job, kind, before, after, fence_before, fence_after, ended_anew
            FROM nemesis.history ORDER BY number"""
        for job, kind, before, after, fence_before, fence_after, ended_anew in connection.execute(query):
            if before in ENDED:
                if ended_anew:
                    yield f"{kind} {job} ended twice: {before}, {after}"
                elif (before, after) != (ended.get(job), ended.get(job)):
                    yield f"{kind} {job} had ended as {before} and became {after}"
                continue
            if (before, after) not in STEPS:
                yield f"{kind} {job} went from {before} to {after}"
            if after in ENDED:
                if job in ended:
                    yield f"{kind} {job} ended twice: {ended[job]}, {after}"
                ended[job] = after
            if not struck and (before, after) == ("running", "queued"):
                yield f"{kind} {job} changed hands, and nothing was struck"
            if (before, after) == ("queued", "running") and fence_after <= fence_before:
                yield f"{kind} {job} was claimed without a new fence"
            if (before, after) == ("running", "running") and fence_after != fence_before:
                yield f"{kind} {job} was claimed while it ran"
            if fence_after < fences.get(job, 0):
                yield f"{kind} {job}: its fence went back"
            fences[job] = fence_after


def check_promises(runtime: Runtime, ledger: Ledger) -> Iterator[str]:
    """Check that each accepted job has ended as it had to, with a true reason, and that no other was made."""
    with runtime.catalog.read() as transaction:
        by_id = {row.id: row for row in transaction.scalars(select(JobRow))}
        names = {user.id: user.email.partition("@")[0] for user in transaction.scalars(select(User))}
        accepted = dict[str, Promise]()
        for promise in ledger.promises:
            if promise.job in accepted:
                yield f"{promise.kind} {promise.job} was promised twice"
            accepted[promise.job] = promise
            row = by_id.get(promise.job)
            if row is None:
                yield f"{promise.kind} {promise.job} was accepted, and is not there"
            elif names.get(row.user_id) != promise.person:
                yield f"{promise.kind} {promise.job} of {promise.person} is {names.get(row.user_id)}'s"
            elif row.status not in promise.ends:
                yield f"{promise.kind} {promise.job} ended as {row.status}, not {promise.ends}: {row.error}"
            elif row.status == "failed" and promise.error not in (row.error or ""):
                yield f"{promise.kind} {promise.job} failed with {row.error!r}, not for {promise.error!r}"
        unsure = Counter(person for person, _ in ledger.unsure)
        others = Counter[str]()
        for row in by_id.values():
            if row.status == "failed" and GIVEN_UP in (row.error or ""):
                yield f"{row.kind} {row.id} was blamed for its workers: {row.error}"
            if row.status == "failed" and row.id not in accepted:
                yield f"{row.kind} {row.id}, of which nobody knew, failed: {row.error}"
            if row.id not in accepted and not row.part and row.user_id in names:
                others[names[row.user_id]] += 1
    for person, number in others.items():
        if number > unsure[person]:
            yield f"{person} has {number} jobs that were never accepted, and {unsure[person]} whose answer was lost"


def check_made_by_jobs(runtime: Runtime, ledger: Ledger) -> Iterator[str]:
    """Check that each version and each table was promised once, and that work and runs stand as their jobs do."""
    with runtime.catalog.read() as transaction:
        addresses = Counter(version.url for version in transaction.scalars(select(ModelVersion)))
        yield from (
            f"{number} rows point at the version {url}" for url, number in addresses.items() if number > 1
        )
        works = select(Work.status, Work.started_at, JobRow.status, JobRow.kind, JobRow.id).join(
            JobRow, JobRow.id == Work.job_id
        )
        for work, begun, job, kind, job_id in transaction.execute(works):
            if job in ENDED and work != job:
                yield f"{kind} {job_id} is {job}, and its work {work}"
            if job == "done" and begun is None:
                yield f"{kind} {job_id} is done, and its work never began"
        for run in transaction.scalars(select(Run).where(Run.status.in_(("queued", "running")))):
            yield f"run {run.id} of {run.name} still goes on, and no job does"
        others = [
            table.id for table in transaction.scalars(select(UserTable)) if table.id not in ledger.tables
        ]
        unsure = sum(kind == "score_table" for _, kind in ledger.unsure)
        if len(others) > unsure:
            yield f"{len(others)} tables that nobody was promised, and {unsure} whose answer was lost"


def check_rows_and_objects(runtime: Runtime) -> Iterator[str]:
    """Check that each row has its object with its bytes, and each object its row."""
    areas = Areas.of_stores(runtime.stores)
    there = dict[str, int]()
    for store in runtime.stores.distinct():
        there |= {store.url_of(info.key): info.size for info in store.list()}
    pointed, folders = set[str](), set[str]()
    with runtime.catalog.read() as transaction:
        pointing = list(files.files(transaction))
        checkpoints = set(transaction.scalars(select(JobCheckpoints.job_id)))
        noted = set(transaction.scalars(select(ObjectNote.url)))
    for row in pointing:
        url = row.url.rstrip("/")
        where = areas.split(url)
        if where is None:
            continue
        store = runtime.stores.area(where[0])
        name = f"{row.table_name} {row.row_id} {row.name}".strip()
        if row.form == "object":
            pointed.add(url)
            if url not in there:
                if row.owned:
                    yield f"{name} points at {url}, which is not there"
            elif row.sha256 and hashlib.sha256(store.get(where[1])).hexdigest() != row.sha256:
                yield f"{name} points at {url}, which has other bytes"
        else:
            folders.add(url)
            if row.form == "version" and row.owned:
                yield from check_version(runtime, name, url, where[1], row.sha256)
    for url in there:
        where = areas.split(url)
        if (
            url in pointed
            or where is None
            or where[0] == "raw"
            or any(url.startswith(f"{folder}/") for folder in folders)
        ):
            continue
        if url not in noted and not is_explained(where[1], checkpoints):
            yield f"{url} ({there[url]} bytes) has no row"


def check_version(runtime: Runtime, name: str, url: str, key: str, digest: str | None) -> Iterator[str]:
    prefix, model, version = key.rsplit("/", 2)
    registry: Registry = runtime.registry_in(prefix)
    try:
        registry.verify(model, version, digest=digest)
    except EcluseError as error:
        yield f"{name} at {url}: {error}"


def is_explained(key: str, checkpoints: set[str]) -> bool:
    """Tell whether an object belongs to an area in which no row points at one by one."""
    if key.startswith(("city/", "raw/", "curated/", "reports/")) or key == ".ready":
        return True
    if key.endswith(f"/{CLAIM}"):  # the name of a version that was deleted stays taken
        return True
    return any(f"/{job}/" in f"/{key}/" for job in checkpoints)


def check_facts(ledger: Ledger, people: Sequence[Person]) -> Iterator[str]:
    """Check that what was promised reads as it did, to whom it was promised, and to nobody else."""
    by_name = {person.name: person for person in people}
    for number, (name, path, fact) in enumerate(ledger.facts):
        try:
            yield from fact(by_name[name])
        except Exception as error:  # noqa: BLE001 (what was promised cannot be read)
            yield f"{name}, {path}: {type(error).__name__}: {error}"
        if path:
            other = people[(number + 1) % len(people)]
            if other.name == name:
                other = people[(number + 2) % len(people)]
            yield from check_hidden(other, name, path)

    for number, promise in enumerate(ledger.promises):
        other = [person for person in people if person.name != promise.person][number % (len(people) - 1)]
        yield from check_hidden(other, promise.person, f"/api/status/{promise.job}")


def check_hidden(other: Person, owner: str, path: str) -> Iterator[str]:
    """Check that another person is told that there is nothing."""
    try:
        answer = other.ask("GET", path)
    except TimeIsUp:
        yield f"{other.name} gets no answer for {path} of {owner}"
        return
    if answer.status_code == 404 or (path.endswith("/versions") and answer.json() == []):
        return
    yield f"{other.name} is answered {answer.status_code} for {path} of {owner}"


def check_restored(runtime: Runtime, folder: Path) -> Iterator[str]:
    """Check that a backup of all of it, restored elsewhere, is equal: every row, every object, every document."""
    url = (folder / "backup").as_uri()
    with backups.open_place(runtime, url, None, make=True) as place:
        backups.create(runtime, place, contents=True)
    elsewhere = Settings.from_environment({}, home=folder / "elsewhere")
    with (
        Runtime.open(elsewhere, moves=True) as other,
        backups.open_place(other, url, None) as place,
    ):
        backups.restore(other, place, place.open("latest"))
    with Runtime.open(elsewhere) as other:
        ours, theirs = Areas.of_stores(runtime.stores), Areas.of_stores(other.stores)

        def as_there(table: str, row: rows.Row) -> rows.Row:
            return ours.row_there(theirs, table, row)

        for table in rows.tables():
            compared = rows.compare(runtime.catalog.engine, other.catalog.engine, table, as_there)
            yield from (f"not restored: {each}" for each in compared.named)
        before, after = objects_of(runtime), objects_of(other)
        yield from (f"not restored: {key}" for key in sorted(before) if after.get(key) != before[key])
        for kind in runtime.documents.kinds():
            if list(runtime.documents.all(kind)) != list(other.documents.all(kind)):
                yield f"not restored: documents of {kind}"


def stack_traces(folder: Path) -> Iterator[str]:
    """Say which lines with a stack trace processes wrote, and how often: notes, not findings."""
    faults: dict[str, int] = defaultdict(int)
    for log in sorted(folder.glob("*.log")):
        for text in log.read_text(errors="replace").splitlines():
            if "Traceback (most recent call last)" in text:
                faults[f"{log.stem}: {text[:300]}"] += 1
    for text, number in faults.items():
        yield f"{number} x {text}"
