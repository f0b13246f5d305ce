"""Find a run that a person may see, or change: theirs, of an organisation of theirs, or shared with them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import sharing
from ecluse.catalog.tables import Run
from ecluse.errors import NotFound
from ecluse.sentences import _


def readable_run(transaction: Transaction, reader_id: str, run_id: str) -> Run:
    """Return a run that this person may see: theirs, of an organisation of theirs, or shared with them.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    run = transaction.scalar(select(Run).where(Run.id == run_id, sharing.visible_runs(reader_id)))
    if run is None:
        raise NotFound(_("No run %(name)s. See: ecluse runs list", name=run_id))
    return run


def readable_runs(transaction: Transaction, reader_id: str, run_ids: Sequence[str]) -> list[Run]:
    """Return several runs that this person may see, in the order asked for. Raises as `readable_run`."""
    return [readable_run(transaction, reader_id, run_id) for run_id in run_ids]


def run_to_change(transaction: Transaction, person_id: str, run_id: str) -> Run:
    """Return a run that this person may change: theirs, or of an organisation where they are owner or member.

    Raises:
        NotFound: there is none, or it is not for them.
        Forbidden: the person may read it, and not change it.
    """
    may = sharing.changeable(Run.user_id, person_id)
    run = transaction.scalar(select(Run).where(Run.id == run_id, may))
    if run is None:
        other = readable_run(transaction, person_id, run_id)
        raise sharing.refusal(transaction, other.user_id, other.name)
    return run
