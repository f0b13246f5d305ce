"""Note where else a run is known, such as at an MLflow server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import runs
from ecluse.catalog.tables import ModelAlias, Run, Work
from ecluse.errors import NotFound
from ecluse.run_values import TAKEN_FROM
from ecluse.sentences import _


@dataclass(frozen=True)
class Exported:
    """What is known of a run at one place it was exported to, and the aliases that point at its version now."""

    run_id: str
    user_id: str
    title: str
    what: dict[str, Any]
    aliases: tuple[str, ...] = ()

    @property
    def job_id(self) -> str | None:
        return self.what.get("job_id")

    @property
    def seen_aliases(self) -> tuple[str, ...]:
        """Return the aliases as they were exported."""
        return tuple(self.what.get("seen_aliases", ()))


def set_export(transaction: Transaction, run_id: str, where: str, what: Mapping[str, Any]) -> None:
    """Note where else a run is known, such as at an MLflow server."""
    if (run := runs.row_to_change(transaction, run_id)) is not None:
        run.exports = run.exports | {where: dict(what)}


def begin_export(transaction: Transaction, run_id: str, where: str, job_id: str, *, after: str | None) -> str:
    """Note the job that exports a run; the id of the one that does, which is another where `after` is not the last."""
    run = runs.row_to_change(transaction, run_id)
    if run is None:
        raise NotFound(_("No run %(name)s. See: ecluse runs list", name=run_id))
    held = run.exports.get(where, {})
    if held.get("job_id") != after:
        return str(held["job_id"])
    run.exports = run.exports | {where: held | {"state": "queued", "job_id": job_id}}
    return job_id


def exports_of(transaction: Transaction, run_id: str) -> dict[str, Any]:
    """Return where else a run is known. Whose it is was asked before."""
    return transaction.scalar(select(Run.exports).where(Run.id == run_id)) or {}


def exported(run: Run, where: str) -> Exported:
    return Exported(run.id, run.user_id, _title(run.name, run.version), dict(run.exports.get(where, {})))


def done_runs(transaction: Transaction, where: str) -> list[Exported]:
    """Return every run, of anyone, that is done, oldest first, with what is known of it at a place.

    Those that were taken over from there are left out: they would go round.
    """
    pointing: dict[tuple[str, str, str], list[str]] = {}
    for alias in transaction.scalars(select(ModelAlias)):
        pointing.setdefault((alias.user_id, alias.name, alias.version), []).append(alias.alias)
    columns = (Run.id, Run.user_id, Run.name, Run.version, Run.exports)
    done = select(*columns).join(Work, Work.id == Run.id).where(Work.status == "done")
    taken_from = Run.tags[TAKEN_FROM].as_string()
    done = done.where(taken_from.is_(None) | (taken_from != where))
    rows = transaction.execute(done.order_by(Work.finished_at))
    return [
        Exported(
            run_id,
            user_id,
            _title(name, version),
            dict(exports.get(where, {})),
            tuple(pointing.get((user_id, name, version or ""), ())),
        )
        for run_id, user_id, name, version, exports in rows
    ]


def _title(name: str, version: str | None) -> str:
    return f"{name} {version}" if version else name
