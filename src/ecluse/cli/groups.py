"""Make groups of commands whose help shows whole lines, and one that imports a command when it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import click

from ecluse.application import load
from ecluse.cli.starting import uncollected
from ecluse.errors import ApplicationBroken

#: Command or group → module, attribute, and the line that the help shows for it.
Table = Mapping[str, tuple[str, str, str]]


class Group(click.Group):
    """A group whose help shows the first sentence of each command whole: `@click.group(cls=Group)`."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        lines = [
            (name, command.get_short_help_str(limit=10_000))
            for name, command in commands.items()
            if command is not None and not command.hidden
        ]
        if lines:
            with formatter.section("Commands"):
                formatter.write_dl(lines)


def is_server_installed() -> bool:
    """Return whether all of Écluse is here, and not the client alone."""
    return find_spec("sqlalchemy") is not None


def needs_server(command: str, missing: ModuleNotFoundError) -> ApplicationBroken:
    """Return the error that says what a command lacks where the client alone is installed, and the way out."""
    return ApplicationBroken(
        f"ecluse {command} works in the folder of this machine with all of Écluse, of which {missing.name} is not "
        'installed: pip install "ecluse[server]". The commands models and runs work at a server too: ecluse login URL'
    )


class LazyGroup(Group):
    """A group of the commands of a table: `@click.group(cls=LazyGroup, table=COMMANDS)`.

    A function in place of the table is asked each time: which commands there are may change.
    """

    def __init__(self, *args: Any, table: Table | Callable[[], Table], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given = table

    @property
    def _table(self) -> Table:
        return self._given() if callable(self._given) else self._given

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        try:
            with uncollected():
                command = load(f"{module}:{attribute}")
        except ApplicationBroken as broken:
            missing = broken.__cause__
            if not isinstance(missing, ModuleNotFoundError) or not module.startswith("ecluse."):
                raise
            raise needs_server(cmd_name, missing) from broken
        if not isinstance(command, click.Command):
            raise ApplicationBroken(f"{module}:{attribute} is a {type(command).__name__} and no command.")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self._table.items()])
