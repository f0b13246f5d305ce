"""Make a group of commands that imports one when it is run, and knows the help lines of all before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ecluse.application import load
from ecluse.errors import ApplicationBroken

#: Command or group → module, attribute, and the line that the help shows for it.
Table = Mapping[str, tuple[str, str, str]]


class LazyGroup(click.Group):
    """A group of the commands of a table: `@click.group(cls=LazyGroup, table=COMMANDS)`."""

    def __init__(self, *args: Any, table: Table, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        command = load(f"{module}:{attribute}")
        if not isinstance(command, click.Command):
            raise ApplicationBroken(f"{module}:{attribute} is a {type(command).__name__} and no command.")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._table.items()])
