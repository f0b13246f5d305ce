"""List, show, upload, download, share, hand over and delete tables, here or at a server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, reports, transfer
from ecluse.cli.remote import at_server, finish_there, local_option, with_dates
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.cli.sharing import add_sharing
from ecluse.client.fetching import fetch_table
from ecluse.client.server import part_of
from ecluse.errors import InvalidInput
from ecluse.sentences import _

SHOWN: Final = ("id", "name", "owner", "rows", "size_bytes", "model", "created_at")
#: Tables that a list shows.
MOST: Final = 1_000


@click.group(cls=Group)
def tables() -> None:
    """List, show, upload, download, share, hand over and delete tables."""


add_sharing(tables, "tables", "TABLE_ID")


@tables.command("list")
@click.option(
    "--others", is_flag=True, help="Those of your organisations and those that others share with you."
)
@local_option
@user_option
@home_option
@reports
def list_tables(others: bool, local: bool, email: str | None, home: Path | None) -> Rows:
    """List tables, the newest first: yours, or those of others."""
    with at_server(home, email, local) as server:
        if server is not None:
            there = server.list_tables("shared/tables" if others else "tables")
            return Rows([with_dates(row) for row in there], SHOWN, "No tables yet.")
    from ecluse import tables as kept
    from ecluse.catalog import sharing

    with acting(home, email, reads=True) as (runtime, user):
        if others:
            with runtime.catalog.read() as transaction:
                pairs, _total = sharing.tables_of_others(transaction, user.id, limit=MOST)
                making = sharing.makers_of(transaction, user.id)
            rows = [
                kept.described(row, may_change=owner.id in making) | {"owner": owner.handle}
                for row, owner in pairs
            ]
        else:
            own, _total = kept.list_tables(runtime, user.id, limit=MOST)
            rows = [kept.described(row) | {"owner": None} for row in own]
    return Rows(rows, SHOWN, "No tables yet.")


@tables.command("show")
@click.argument("table", metavar="TABLE_ID")
@local_option
@user_option
@home_option
@reports
def show(table: str, local: bool, email: str | None, home: Path | None) -> Record:
    """Show a table: its columns with their types, its rows, and what made it."""
    with at_server(home, email, local) as server:
        if server is not None:
            return _shown(with_dates(server.table(table)))
    from ecluse import tables as kept
    from ecluse.catalog import sharing

    with acting(home, email, reads=True) as (runtime, user):
        row = kept.table_of(runtime, user.id, table)
        with runtime.catalog.read() as transaction:
            may_change = row.user_id in sharing.makers_of(transaction, user.id)
        return _shown(kept.described(row, may_change=may_change))


@tables.command("upload")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it; default: the name of the file.")
@click.option("--owner", default="", help="Handle of an organisation whose it is to be; else it is yours.")
@local_option
@user_option
@home_option
@reports
def upload(
    file: Path, name: str | None, owner: str, local: bool, email: str | None, home: Path | None
) -> Record:
    """Keep FILE as a table for any model: delimited text, a workbook or Parquet."""
    named = name or file.name
    with at_server(home, email, local) as server:
        if server is not None:
            with transfer(f"Sending {file.name} to {server.address}", file.stat().st_size) as sent:
                made, _notes = server.upload(file, named, uuid.uuid4().hex, sent, owner)
            return Record({"id": made, "name": named}, f"{named} is table {made}.")
    from ecluse import tables as kept

    with acting(home, email) as (runtime, user):
        row = kept.upload(runtime, user.id, file, named, owner)
    return Record({"id": row.id, "name": row.name}, f"{row.name} is table {row.id}.")


@tables.command("download")
@click.argument("table", metavar="TABLE_ID")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@local_option
@user_option
@home_option
@reports
def download(table: str, output: Path, local: bool, email: str | None, home: Path | None) -> Record:
    """Write a table to OUTPUT: CSV if it ends in .csv, else Parquet; a file that is there stays."""
    if output.exists():
        raise InvalidInput(_("%(file)s is there already. Give another name, or remove it.", file=output))
    done = Record({"table": table, "file": output}, f"{output}: the table {table}.")
    kind = "csv" if output.suffix == ".csv" else "parquet"
    with at_server(home, email, local) as server:
        if server is not None:
            fetch_table(server.server, table, output, lambda size: None, kind)
            return done
    from ecluse import tables as kept

    with acting(home, email) as (runtime, user), runtime.scratch() as folder:
        made = folder / "table.parquet"
        kept.find(runtime, user.id, table).write(made)
        if kind == "csv":
            kept.write_csv(made, folder / "table.csv")
            made = folder / "table.csv"
        output.write_bytes(made.read_bytes())
    return done


@tables.command("hand-over")
@click.argument("table", metavar="TABLE_ID")
@click.option("--to", "owner", required=True, help="Handle of an organisation in which you make things.")
@local_option
@user_option
@home_option
@reports
def hand_over(table: str, owner: str, local: bool, email: str | None, home: Path | None) -> Record:
    """Give a table of yours to an organisation, with what it is shared by; it keeps its id."""
    handle = f"@{owner.removeprefix('@')}"
    done = Record({"table": table, "owner": handle}, f"The table {table} is {handle}'s.")
    with at_server(home, email, local) as server:
        if server is not None:
            place = f"tables/{part_of(table)}/hand-over"
            job = server.server.json("POST", place, json={"owner": owner})["job"]
            finish_there(server, job, f"Handing {table} over")
            return done
    from ecluse import handovers

    with acting(home, email) as (runtime, user):
        finish(runtime, user, handovers.start(runtime, user.id, table, owner), f"Handing {table} over")
    return done


@tables.command("delete")
@click.argument("table", metavar="TABLE_ID")
@local_option
@user_option
@home_option
@reports
def delete(table: str, local: bool, email: str | None, home: Path | None) -> Record:
    """Delete a table; what was made of it stays."""
    done = Record({"deleted": table}, f"The table {table} is deleted.")
    with at_server(home, email, local) as server:
        if server is not None:
            server.remove_table(table)
            return done
    from ecluse import tables as kept

    with acting(home, email) as (runtime, user):
        kept.remove(runtime, user.id, table)
    return done


def _shown(described: Mapping[str, Any]) -> Record:
    columns = ", ".join(f"{column['name']} ({column['type']})" for column in described["columns"])
    lines = [f"{described['name']}: {described['rows']} rows", f"Columns: {columns}"]
    if described["model"]:
        lines.append(f"Made by {described['model']}@{described['version']}.")
    return Record(described, "\n".join(lines))
