"""Show which environment was detected and why, and prove every part with a real round trip."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click

from ecluse.application import OURS, applications, failures, part, references
from ecluse.backups.schedule import standing
from ecluse.catalog import Catalog, users
from ecluse.cli.output import Record, progress, reports
from ecluse.cli.session import home_option
from ecluse.disks import look_at, what_is_wrong
from ecluse.documents import open_documents
from ecluse.errors import (
    ApplicationBroken,
    BackupError,
    DiskUnusable,
    DocumentError,
    EcluseError,
    StorageError,
)
from ecluse.jobs import Jobs
from ecluse.runtime import Runtime, living_workers, make_home
from ecluse.sentences import ngettext
from ecluse.settings import Settings
from ecluse.storage import open_store

#: The kind of the documents that are written to be read again.
_PROBES: Final = "doctor"
#: How errors that send people to this command end.
_HERE: Final = " See: ecluse doctor"


@dataclass(frozen=True)
class Proof:
    """What a check found. `none`: nothing is wrong, but there is nothing to prove either."""

    detail: str
    status: Literal["ok", "none"] = "ok"


@click.command()
@home_option
@reports
def doctor(home: Path | None) -> Record:
    """Show what was detected and why, then write, read, compare and delete in every part."""
    settings = Settings.from_environment(home=home)
    make_home(settings.home)
    checks = []
    with progress("Checking") as report:
        for number, (name, check) in enumerate(CHECKS.items()):
            report(number / len(CHECKS), f"Checking {name}")
            checks.append(_run(name, check, settings))
    failed = any(check["status"] == "failed" for check in checks)
    fields = {
        "status": "failed" if failed else "ok",
        "detected": [asdict(detection) for detection in settings.detected],
        "checks": checks,
    }
    return Record(fields, _text(fields), failed=failed)


def _check_disks(settings: Settings) -> Proof:
    disks = look_at(settings.local_places())
    for disk in disks:
        if disk.trouble is not None:
            raise DiskUnusable(disk.trouble)
    said = [f"{disk.free / 1e9:,.1f} GB free for {', '.join(disk.uses)} ({disk.folder})" for disk in disks]
    return Proof("; ".join(said))


def _check_store(settings: Settings) -> Proof:
    import secrets

    store, key = open_store(settings.store_url, settings.access), f".doctor/{secrets.token_hex(8)}"
    written = secrets.token_bytes(64 * 1024)
    store.put(key, written, create_only=True)
    try:
        if store.get(key) != written:
            raise StorageError(f"{store.url} gave back other bytes than were written. Use another store.")
        _check_create_only(store, key)
    finally:
        store.delete(key)
    return Proof("64 KiB written once, read, compared and deleted")


def _check_create_only(store: Any, key: str) -> None:
    from ecluse.errors import ObjectExists

    try:
        store.put(key, b"second", create_only=True)
    except ObjectExists:  # as it should be
        return
    raise StorageError(
        f"{store.url} lets a second writer overwrite a create-only object. Do not publish models there."
    )


def _check_catalog(settings: Settings) -> Proof:
    catalog = Catalog(settings.database_url)
    try:
        catalog.migrate()
        with catalog.read() as transaction:
            accounts = ngettext("%(count)s account", "%(count)s accounts", users.count_users(transaction))
            return Proof(f"version {catalog.version()}, {accounts}")
    finally:
        catalog.close()


def _check_jobs(settings: Settings) -> Proof:
    catalog = Catalog(settings.database_url)
    try:
        catalog.migrate()
        Jobs(catalog).prove()
    finally:
        catalog.close()
    return Proof("a job queued, read back and removed")


def _check_documents(settings: Settings) -> Proof:
    import secrets

    documents, key = open_documents(settings.documents), secrets.token_hex(8)
    written = {"half": 0.5, "count": 1, "none": None, "text": key}
    try:
        documents.put(_PROBES, key, written)
        try:
            bodies = [document.body for document in documents.all(_PROBES) if document.key == key]
            if documents.get(_PROBES, key) != written or bodies != [written]:
                raise DocumentError(f"{documents.place} gave back another document. Use another database.")
        finally:
            documents.delete(_PROBES, key)
    finally:
        documents.close()
    return Proof("a document written, read by its key and in its range, and deleted")


def _check_workers(settings: Settings) -> Proof:
    with Runtime.open(settings) as runtime:
        alive = len(living_workers(runtime))
    if alive:
        return Proof(f"{alive} running")
    return Proof("none is running; start one: ecluse worker (or ecluse up)", "none")


def _check_backups(settings: Settings) -> Proof:
    catalog = Catalog(settings.database_url)
    try:
        catalog.migrate()
        with catalog.read() as transaction:
            stands = standing(transaction)
    finally:
        catalog.close()
    if stands.is_trouble:
        raise BackupError(stands.words)
    if stands.newest is None:
        return Proof(stands.words, "none")
    return Proof(f"{stands.words} The newest ended {stands.newest.finished_at:%Y-%m-%d %H:%M} UTC")


def _check_applications(settings: Settings) -> Proof:
    from ecluse.work import kinds

    for application in applications():
        for name, reference in references(application):
            value = part(application, name, reference)
            if name == "api" and value is not None and application.distribution != OURS:
                from ecluse.web.routes import can_describe

                can_describe(application, value)  # what cannot be is noted, and listed below
    names = [application.name for application in applications()]
    numbers = f"{len(names)} applications ({', '.join(names)}), {len(kinds())} kinds of jobs"
    if broken := failures():
        reasons = "; ".join(f"{refused.name} ({refused.source}): {refused.reason}" for refused in broken)
        raise ApplicationBroken(f"{numbers}. Left out: {reasons}")
    return Proof(numbers)


CHECKS: Final[Mapping[str, Callable[[Settings], Proof]]] = {
    "disks": _check_disks,
    "store": _check_store,
    "catalog": _check_catalog,
    "jobs": _check_jobs,
    "documents": _check_documents,
    "workers": _check_workers,
    "backups": _check_backups,
    "applications": _check_applications,
}


def _run(name: str, check: Callable[[Settings], Proof], settings: Settings) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        proof: Mapping[str, str] = asdict(check(settings))
    except (EcluseError, OSError) as error:
        reason = str(error) if isinstance(error, EcluseError) else what_is_wrong(error)
        if reason is None:
            raise
        proof = {"status": "failed", "detail": reason.removesuffix(_HERE)}
    return {
        "part": name,
        "status": proof["status"],
        "detail": proof["detail"],
        "milliseconds": round((time.perf_counter() - began) * 1000, 1),
    }


def _text(fields: Mapping[str, Any]) -> str:
    lines = ["Detected"]
    lines += [f"  {d['name']:<9} {d['value']}  ({d['reason']})" for d in fields["detected"]]
    lines.append("Proved")
    first: dict[str, str] = {}
    for check in fields["checks"]:
        is_failed, part, detail = check["status"] == "failed", check["part"], check["detail"]
        said_of = first.setdefault(detail, part) if is_failed else part
        mark, words = (
            "FAILED" if is_failed else check["status"],
            detail if said_of == part else f"as {said_of}",
        )
        lines.append(f"  {part:<12} {mark:<6} {words} ({check['milliseconds']:.0f} ms)")
    return "\n".join(lines)
