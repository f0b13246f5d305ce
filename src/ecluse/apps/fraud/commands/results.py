"""List and share tables and scored tables at the terminal, here or at a server."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ecluse import shares
from ecluse.apps.fraud.rows import datasets, predictions
from ecluse.apps.fraud.rows.datasets import TABLES
from ecluse.apps.fraud.rows.predictions import RESULTS
from ecluse.catalog.tables import User
from ecluse.cli.groups import Group
from ecluse.cli.output import Rows, reports
from ecluse.cli.session import acting, home_option, user_option
from ecluse.cli.sharing import add_sharing
from ecluse.runtime import Runtime

#: Scored tables that a list shows.
MOST: Final = 200


@click.group(cls=Group)
def results() -> None:
    """List and share scored tables."""


@click.group(cls=Group)
def tables() -> None:
    """List and share the tables that are analyzed, trained on and scored."""


add_sharing(results, RESULTS, "RESULT_ID")
add_sharing(tables, TABLES, "TABLE_ID")


@results.command("list")
@click.option("--others", is_flag=True, help="Those that others share with you.")
@user_option
@home_option
@reports
def list_results(others: bool, email: str | None, home: Path | None) -> Rows:
    """List scored tables of this machine, the newest first: yours, or those of others."""
    with acting(home, email, reads=True) as (runtime, user):
        if others:
            return _of_others(runtime, user, RESULTS)
        with runtime.catalog.read() as transaction:
            rows = predictions.list_predictions(transaction, user.id, limit=MOST)
            names = datasets.filenames(transaction, user.id, [row.dataset_id for row in rows])
    items = [
        {
            "id": row.id,
            "name": names.get(row.dataset_id or "", "a removed table"),
            "owner": None,
            "model": f"{row.model_name}@{row.version}",
            "status": row.status,
            "created_at": row.created_at,
        }
        for row in rows
    ]
    return Rows(items, ("id", "name", "model", "status", "created_at"), "Nothing scored yet.")


@tables.command("list")
@click.option("--others", is_flag=True, help="Those that others share with you.")
@user_option
@home_option
@reports
def list_tables(others: bool, email: str | None, home: Path | None) -> Rows:
    """List tables of this machine, the newest first: yours, or those of others."""
    with acting(home, email, reads=True) as (runtime, user):
        if others:
            return _of_others(runtime, user, TABLES)
        with runtime.catalog.read() as transaction:
            rows = datasets.list_datasets(transaction, user.id, limit=MOST)
    items = [
        {
            "id": row.id,
            "name": row.filename,
            "owner": None,
            "rows": row.rows,
            "state": row.state,
            "created_at": row.created_at,
        }
        for row in rows
    ]
    return Rows(items, ("id", "name", "rows", "state", "created_at"), "No tables yet.")


def _of_others(runtime: Runtime, user: User, kind: str) -> Rows:
    """List what of a kind others share with a person."""
    listed, _total = shares.of_others(runtime.catalog, user.id, kind, limit=MOST)
    items = [
        {"id": each.id, "name": each.called, "owner": each.owner, "created_at": each.created_at}
        for each in listed
    ]
    return Rows(items, ("id", "name", "owner", "created_at"), "Nothing is shared with you.")
