"""Fill a home with something of everything, name the place it moves to, and say how two homes differ."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, Date, DateTime, Float, Integer, LargeBinary, Table

from ecluse.apps.city.rows import Schedule
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog import Catalog, rows
from ecluse.catalog.tables import Run, SentenceText, UtcDateTime
from ecluse.jobs import JobKind, JobRunner, Task
from ecluse.runtime import Runtime
from ecluse.sentences import _, to_json
from ecluse.settings import AREAS, Settings, read_variables
from tests.migrating import Sizes, contents, fill, publish, write_files
from tests.support.jobs import ended_job

#: In no area of any home, so that a row which says so keeps it.
ELSEWHERE = "s3://elsewhere/kept"
JSON_TEXT = json.dumps({"b": 1.0, "a": [None, "é", 1e-7, 123456789012345678], "big": 2**60})


@dataclass(frozen=True)
class Made:
    """What somebody has of a home: the secrets that let them in, and a job that has ended."""

    user_id: str
    session: str
    token: str
    link: str
    job: str


#: A sentence as the database keeps it.
SENTENCE = json.dumps(to_json(_("%(name)s holds %(count)s rows.", name="é", count=2)), ensure_ascii=False)


def fill_home(runtime: Runtime, folder: Path, sizes: Sizes | None = None) -> Made:
    """Put something of everything into a home, without training."""
    accounts = runtime.accounts
    user_id = fill(runtime, sizes or Sizes())
    published = publish(runtime, user_id, "cards", _files(folder))
    data = b"an image"
    with runtime.catalog.write() as transaction:
        kept = runtime.stores.area("images").put(f"user_data/{user_id}/images/set1/a.png", data)
        transaction.add(
            ImageSet(id="set1", user_id=user_id, name="meadow", staged_url=runtime.data.url_of("up/x"))
        )
        transaction.flush()
        transaction.add(
            Image(
                id="image1", set_id="set1", user_id=user_id, sha256=kept.sha256, size_bytes=kept.size, label="a",
                url=runtime.stores.area("images").url_of(kept.key), imported_label="a", origin="a.png",
            )
        )  # fmt: skip
        file = {"name": "parts/a", "url": f"{published.url}/parts/a", "sha256": "0", "size": 1}
        transaction.add(
            Run(
                user_id=user_id,
                application="fraud",
                kind="search",
                name="cards",
                url=published.url,
                artifacts=[file],
            )
        )
        transaction.add(Schedule(name="city", user_id=user_id, at="05:00", since=date(2025, 10, 1)))
    runtime.stores.area("raw").put("api/roads/dt=2025-10-14/a.json", b"{}")
    runtime.data.put("city/reports/2025-10-14/report.html", b"<p>")
    for day in range(1, 29):
        runtime.documents.put(
            "metrics/zones", f"2025-10-{day:02}", {"day": day, "share": 1 / day, "nom": "é"}
        )
    runtime.documents.put("reports", "2025-10-14", {"title": "Paris"})
    fill_every_table(runtime.catalog)
    return Made(
        user_id=user_id,
        session=accounts.open_session(user_id),
        token=accounts.create_token(user_id, "a program")[0],
        link=accounts.sign_in_link(user_id),
        job=end_a_job(runtime, user_id),
    )


def fill_every_table(catalog: Catalog) -> None:
    """Two rows in each table of a home, with a value in every column, and with none where there may be none."""
    made: dict[str, list[dict[str, Any]]] = {}
    with catalog.write() as transaction:
        connection = transaction.connection()
        for table in rows.tables():
            made[table.name] = [_invented(table, number, made) for number in range(2)]
            rows.write(connection, table, made[table.name])


def _invented(table: Table, number: int, made: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        parent = next(iter(column.foreign_keys), None)
        if parent is not None:
            row[column.name] = made[parent.column.table.name][number][parent.column.name]
        elif column.name == "move_id" or (column.nullable and number):
            row[column.name] = None
        else:
            row[column.name] = _value(column, number)
    return row


def _value(column: Column[Any], number: int) -> Any:
    kind = column.type
    if isinstance(kind, JSON):
        if column.name in ("artifacts", "seen_again", "columns", "sketches", "last_key"):
            return "[]"
        return "null" if column.nullable else JSON_TEXT
    if isinstance(kind, SentenceText):
        return SENTENCE
    if isinstance(kind, UtcDateTime | DateTime):
        return datetime(2025, 3, 30, 1, 30, number, 123456, UTC)
    if isinstance(kind, LargeBinary):
        return bytes(range(256))
    if isinstance(kind, Date):
        return date(2024, 2, 29)
    if isinstance(kind, Boolean):
        return not number
    if isinstance(kind, Float):
        return 0.1 + 0.2
    if isinstance(kind, BigInteger):
        return 2**40 + number
    if isinstance(kind, Integer):
        return number
    if column.name == "url":
        return f"{ELSEWHERE}/{number}"
    if column.name == "state" and column.table.name == "migrations":
        return "done"
    # Both cases and what is no ASCII: two databases sort these in orders of their own.
    return f"{'aZ'[number]}é{column.name}{number}"[: getattr(kind, "length", None) or 60]


def end_a_job(runtime: Runtime, user_id: str) -> str:
    """The id of a job that has run and ended, with what it said last."""

    def work(context: Any, task: Task, **_: Any) -> None:
        task.step("work", lambda: {"found": 1})
        task.report("work", 1.0, "all was done")

    kinds = {
        "work": JobKind(run=work, failed=lambda *_, **__: None, queue="profile", stages={"work": "Work"})
    }
    runner = JobRunner(runtime.catalog, "tests", kinds, None)
    runner.start()
    try:
        job_id = runtime.jobs.enqueue("work", "profile", user_id, "A table", {"n": 1})
        ended_job(runtime, user_id, job_id)
    finally:
        runner.close()
    return job_id


def place(file: Path, **variables: str) -> Path:
    """A file with the settings of a place."""
    file.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
    return file


def settings_of(file: Path, home: Path | None = None) -> Settings:
    return Settings.from_environment(read_variables(file), home=home)


def objects_of(runtime: Runtime) -> dict[str, str]:
    """Area and key → digest, of everything that is stored."""
    objects = {}
    for area in AREAS:
        for key, digest in contents(runtime.stores.area(area)).items():
            objects[key if area != "raw" else f"raw/{key}"] = digest
    return objects


def _files(folder: Path) -> Path:
    write_files(folder / "cards", 2, 2_000, random.Random(3))
    return folder / "cards"
