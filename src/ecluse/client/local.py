"""Keep runs and versions in the folder of this machine (`.ecluse`), without a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ecluse import models, tables
from ecluse.catalog import audit, sharing
from ecluse.catalog import models as model_rows
from ecluse.catalog import runs as run_rows
from ecluse.catalog.runs import Logged, RunFilter
from ecluse.catalog.shared_models import list_shared_models
from ecluse.catalog.tables import ModelVersion, Run, User
from ecluse.client.backend import (
    KIND,
    MOST_LISTED,
    MOST_RUNS,
    Beginning,
    End,
    JobState,
    KeptTable,
    Point,
    Progress,
    Publication,
    TrackedRun,
    Version,
)
from ecluse.registry import split_owner
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.tracking import programs
from ecluse.work import result_of


class LocalBackend:
    """What the commands work on as well: the settings of the environment and the folder `.ecluse`, or `home`."""

    is_remote = False

    def __init__(self, home: Path | None = None, email: str | None = None) -> None:
        """Open the folder for the person with this e-mail address: else ECLUSE_USER, or the first administrator."""
        self._runtime = Runtime.open(Settings.from_environment(home=home))
        self._user = self._acting(email)

    def _acting(self, email: str | None) -> User:
        accounts, email = self._runtime.accounts, email or self._runtime.settings.user
        return accounts.by_email(email) if email else accounts.local_administrator()

    @property
    def address(self) -> str:
        return str(self._runtime.settings.home)

    def close(self) -> None:
        self._runtime.close()

    # Runs

    def begin_run(self, beginning: Beginning) -> str:
        handle, name = split_owner(beginning.name)
        maker = tables.maker_called(self._runtime, self._user.id, handle)
        request = programs.NewRun(
            name,
            KIND,
            beginning.nonce,
            dict(beginning.parameters),
            dict(beginning.tags),
            _moment(beginning.began),
        )
        return programs.begin(self._runtime.catalog, maker, request).id

    def add_points(self, run: str, points: Sequence[Point]) -> None:
        logged = [Logged(point.step, point.metrics, point.at) for point in points]
        programs.log(self._runtime.catalog, self._user.id, run, logged)

    def change_run(self, run: str, parameters: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        programs.note(self._runtime.catalog, self._user.id, run, parameters, tags)

    def end_run(self, run: str, end: End) -> None:
        ending = programs.RunEnd(end.status, end.metrics, end.error, _moment(end.ended))
        programs.end(self._runtime.catalog, self._user.id, run, ending)

    def runs(self, name: str | None, status: str | None) -> list[TrackedRun]:
        conditions = RunFilter(name=name, status=status)
        with self._runtime.catalog.read() as transaction:
            rows, _total = run_rows.list_runs(transaction, self._user.id, conditions, limit=MOST_RUNS)
            return [_tracked(row) for row in rows]

    def tagged_runs(self, tag: str, value: str) -> Iterator[TrackedRun]:
        conditions, seen = RunFilter(tags={tag: value}), 0
        while True:
            with self._runtime.catalog.read() as transaction:
                rows, total = run_rows.list_runs(
                    transaction, self._user.id, conditions, limit=MOST_RUNS, offset=seen
                )
                runs = [_tracked(row) for row in rows]
            yield from runs
            seen += len(runs)
            if not runs or seen >= total:
                return

    def has_run(self, run: str) -> bool:
        with self._runtime.catalog.read() as transaction:
            row = run_rows.find_run(transaction, run)
            return row is not None and row.user_id == self._user.id

    def job(self, job: str) -> JobState:
        row = self._runtime.jobs.get(self._user.id, job)
        return JobState(
            id=row.id,
            kind=row.kind,
            status=row.status,
            title=row.title,
            fraction=row.fraction,
            message=row.message,
            error=row.error,
            result=result_of(self._runtime, row),
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    # Tables

    def upload(
        self, file: Path, name: str, nonce: str, progress: Progress, owner: str = ""
    ) -> tuple[str, Sequence[str]]:
        row = tables.upload(self._runtime, self._user.id, file, name, owner, tables.Origin(nonce=nonce))
        progress(file.stat().st_size)
        return row.id, tables.notes_of(row)

    def tables(self) -> list[KeptTable]:
        own, _total = tables.list_tables(self._runtime, self._user.id, limit=MOST_LISTED)
        with self._runtime.catalog.read() as transaction:
            others, _total = sharing.tables_of_others(transaction, self._user.id, limit=MOST_LISTED)
            making = sharing.makers_of(transaction, self._user.id)
        named = [(row, row.name) for row in own]
        named += [(row, f"@{owner.handle}/{row.name}") for row, owner in others]
        return [
            KeptTable(
                id=row.id,
                name=name,
                rows=row.rows,
                columns=len(row.columns),
                size_bytes=row.size_bytes,
                created_at=row.created_at,
                model=row.model if row.user_id in making else None,
                version=row.version if row.user_id in making else None,
            )
            for row, name in named
        ]

    def fetch_table(self, table: str, file: Path, progress: Progress) -> None:
        tables.find(self._runtime, self._user.id, table).write(file)
        progress(file.stat().st_size)

    # Versions

    def publish(self, publication: Publication, progress: Progress) -> Version:
        place = models.place_to_make(self._runtime, self._user.id, publication.name)
        owner, name = place.owner_id, place.name
        with audit.done_by(self._user.id):
            row = models.publish(
                self._runtime,
                owner,
                name,
                publication.paths,
                metadata=models.own_metadata(publication.metadata),
                origin=models.Origin(nonce=publication.nonce),
                progress=progress,
            )
            if publication.run is not None:
                files = models.artifacts_of(models.manifest_of(self._runtime, row).files)
                with self._runtime.catalog.write() as transaction:
                    run = run_rows.run_to_write(transaction, owner, publication.run)
                    run_rows.link_version(transaction, run.id, row.version, row.url, files)
            if publication.alias is not None:
                models.set_alias(self._runtime, owner, name, publication.alias, row.version)
        return self._described([row])[0]

    def set_alias(self, name: str, alias: str, version: str) -> None:
        place = models.place_to_change(self._runtime, self._user.id, name)
        with audit.done_by(self._user.id):
            models.set_alias(self._runtime, place.owner_id, place.name, alias, version)

    def version(self, reference: str) -> Version:
        return self._described([models.resolve_readable(self._runtime, self._user.id, reference)])[0]

    def fetch(self, version: Version, folder: Path, progress: Progress) -> None:
        row = models.resolve_readable(self._runtime, self._user.id, version.reference)
        models.download(self._runtime, row, folder, progress)

    def answers(self, version: Version, rows: Sequence[Any]) -> None:
        return None

    def models(self, where: Sequence[str], name: str | None) -> list[Version]:
        conditions = [models.parse_condition(text) for text in where]
        if name is not None and name.startswith("@"):
            with self._runtime.catalog.read() as transaction:
                place = models.place_of(transaction, self._user.id, name)
            return self._described(models.search(self._runtime, place.owner_id, conditions, place.name))
        if conditions or name is not None:
            return self._described(models.search(self._runtime, self._user.id, conditions, name))
        with self._runtime.catalog.read() as transaction:
            rows = list(model_rows.list_latest(transaction, self._user.id))
            shared, _total = list_shared_models(transaction, self._user.id, limit=MOST_LISTED)
        return self._described([*rows, *(row for row, _owner in shared)])

    def _described(self, rows: Sequence[ModelVersion]) -> list[Version]:
        """Describe versions that the person may see, by the names that they have for the person."""
        pointing: dict[tuple[str, str, str], list[str]] = {}
        for owner in {row.user_id for row in rows}:
            for alias in models.aliases(self._runtime, owner):
                pointing.setdefault((owner, alias.name, alias.version), []).append(alias.alias)
        return [
            replace(
                _version(row, pointing.get((row.user_id, row.name, row.version), [])),
                name=models.address_of(self._runtime, self._user.id, row),
            )
            for row in rows
        ]


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _version(row: ModelVersion, aliases: Sequence[str]) -> Version:
    measured = row.report.get("metrics") or row.details.get("metrics") or {}
    kind = row.details.get("kind")
    return Version(
        name=row.name,
        version=row.version,
        kind=kind if isinstance(kind, str) else None,
        aliases=tuple(sorted(aliases)),
        metrics={
            name: value
            for name, value in measured.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        },
        metadata=row.details,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        application=row.application,
        digest=row.manifest_digest,
    )


def _tracked(row: Run) -> TrackedRun:
    return TrackedRun(
        id=row.id,
        name=row.name,
        application=row.application,
        kind=row.kind,
        status=row.status,
        parameters=row.parameters,
        tags=row.tags,
        metrics=row.metrics,
        version=row.version,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
