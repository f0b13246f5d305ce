"""Keep what the steps of a job returned, and what a part of one did."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import JobStep


def step(transaction: Transaction, job_id: str, name: str, position: int) -> str | None:
    """Return what a step returned, as JSON; None where it has not ended."""
    row = transaction.get(JobStep, (job_id, name, position))
    return None if row is None else row.result


def add_step(transaction: Transaction, job_id: str, name: str, position: int, result: str) -> None:
    row = {"job_id": job_id, "name": name, "position": position, "result": result}
    transaction.execute(insert(JobStep).values(row))
