"""Commands that only read make no home where there is none: they say what to do instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner

from ecluse.cli import cli
from ecluse.errors import NotFound

#: What commands that only read are called. Those of moves, backups, caches, documents and installed applications read
#: other places than a catalog.
READING: Final = {
    "list",
    "show",
    "log",
    "everyone",
    "failures",
    "invitations",
    "services",
    "shares",
    "compare",
}
OTHER_PLACES: Final = {"apps", "backup", "cache", "documents", "move"}
#: It scores rows with two versions, and keeps what it found.
WRITES: Final = ("fraud", "compare")


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command that only reads, with a value for each argument that it needs."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command, words = group.get_command(context, name), (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, words)
        elif command is not None and _reads(command, words):
            arguments = [
                each for each in command.params if isinstance(each, click.Argument) and each.required
            ]
            yield words + tuple(
                _value(each) for each in arguments for _n in range(2 if each.nargs < 0 else 1)
            )


def _reads(command: click.Command, words: tuple[str, ...]) -> bool:
    if words == WRITES or words[-1] not in READING or OTHER_PLACES & set(words):
        return False
    return any(parameter.name == "home" for parameter in command.params)


def _value(argument: click.Argument) -> str:
    return "2025-10-14" if argument.name == "day" else "any"


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_command_that_only_reads_makes_no_home(tmp_path: Path, words: tuple[str, ...]) -> None:
    home = tmp_path / "home"
    answer = CliRunner(env={"ECLUSE_URL": "", "XDG_CONFIG_HOME": str(tmp_path)}).invoke(
        cli, [*words, "--home", str(home)]
    )
    assert not home.exists()
    assert isinstance(answer.exception, NotFound), answer.output
    assert "ecluse up" in str(answer.exception)
    assert str(home) in str(answer.exception)


def test_reading_commands_are_looked_at() -> None:
    assert {("orgs", "list"), ("models", "list"), ("users", "log"), ("jobs", "everyone")} <= set(commands())
