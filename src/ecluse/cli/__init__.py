"""Run `ecluse COMMAND`. Each group is a file, imported when one of its commands is asked for."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any, Final

import click

from ecluse import __version__
from ecluse.cli.output import say
from ecluse.errors import EcluseError
from ecluse.settings import shows_traces

#: Command or group → module, attribute, and the line `ecluse --help` shows for it.
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "up": ("serve", "up", "Start the pages, the API and a worker."),
    "web": ("serve", "web", "Start the pages and the API alone."),
    "worker": ("serve", "worker", "Start a worker that runs the jobs."),
    "servers": ("servers", "servers", "Start SeaweedFS and PostgreSQL on this machine, or stop them."),
    "doctor": ("doctor", "doctor", "Show what was detected and prove every part with a round trip."),
    "fraud": ("fraud", "fraud", "Analyze, train on and score tables of transactions."),
    "city": ("city", "city", "Compute a city's daily indicators, forecasts, alerts and reports."),
    "plants": ("plants", "plants", "Import, audit and learn from labelled images."),
    "models": ("models", "models", "Publish, find, verify, alias, import and sign models."),
    "migrate": ("migrate", "migrate", "Move what is stored to another place, and back."),
    "cache": ("cache", "cache", "Show, verify and clear the local cache of what was downloaded."),
    "storage": ("storage", "storage", "List, copy, remove, sign, price and verify what is stored."),
    "documents": ("documents", "documents", "Make, list, show and copy the documents of a city."),
    "runs": ("runs", "runs", "List, show and compare trainings of every application."),
    "mlflow": ("mlflow", "mlflow", "Show trainings in MLflow, and serve it behind the sign-in."),
    "jobs": ("jobs", "jobs", "List, show and cancel jobs."),
    "users": ("users", "users", "List and add accounts, and make sign-in links."),
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is run and knows its help line before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"ecluse.cli.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 (the table above says so)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ecluse")
def cli() -> None:
    """Machine-learning applications that run on a laptop and, unchanged, in the cloud."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process: 0 done, 1 expected failure, 2 wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = cli.main(args=given, prog_name="ecluse", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        code = 130
    except EcluseError as error:
        _show(error, as_json="--json" in given)
        code = 1
    except Exception as error:
        if shows_traces():
            raise
        say(f"Error: a fault of ours stopped this ({type(error).__name__}: {error}).")
        click.echo("Set ECLUSE_TRACE=1 and run it again to see where, and report it.", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: EcluseError, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": {"code": error.code, "message": str(error)}}, ensure_ascii=False))
    say(f"Error: {error}")
