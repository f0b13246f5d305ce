"""Run `ecluse COMMAND`. Each group is a file, imported when one of its commands is asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from ecluse import __version__
from ecluse.application import leave_out, look_in, ours_first
from ecluse.cli.groups import LazyGroup, Table, is_server_installed, needs_server
from ecluse.cli.output import say
from ecluse.errors import DiskUnusable, EcluseError

#: Command or group of the shell → module, attribute, and the line `ecluse --help` shows for it. Those of applications
#: stand where APPLICATIONS_AFTER says.
SHELL: Final[Table] = {
    "up": ("ecluse.cli.serve", "up", "Start the pages, the API and a worker."),
    "web": ("ecluse.cli.serve", "web", "Start the pages and the API alone."),
    "worker": ("ecluse.cli.serve", "worker", "Start a worker that runs the jobs."),
    "servers": (
        "ecluse.cli.servers",
        "servers",
        "Start SeaweedFS and PostgreSQL on this machine, or stop them.",
    ),
    "doctor": (
        "ecluse.cli.doctor",
        "doctor",
        "Show what was detected and prove every part with a round trip.",
    ),
    "models": ("ecluse.cli.models", "models", "Publish, find, verify, alias, import and sign models."),
    "import": ("ecluse.cli.imports", "imports", "Take over runs and models of an MLflow server."),
    "migrate": ("ecluse.cli.migrate", "migrate", "Move what is stored to another place, and back."),
    "move": ("ecluse.cli.move", "move", "Move everything to another database and other stores, and back."),
    "backup": ("ecluse.cli.backup", "backup", "Back everything up while it is in use, and restore it."),
    "upgrade": (
        "ecluse.cli.upgrade",
        "upgrade",
        "Say what a release would do to the catalog, and upgrade it.",
    ),
    "cache": ("ecluse.cli.cache", "cache", "Show, verify and clear the local cache of what was downloaded."),
    "storage": (
        "ecluse.cli.storage",
        "storage",
        "List, copy, remove, sign, price and verify what is stored.",
    ),
    "documents": ("ecluse.cli.documents", "documents", "Make, list, show and copy documents."),
    "tables": (
        "ecluse.cli.tables",
        "tables",
        "List, show, upload, download, share, hand over and delete tables.",
    ),
    "runs": ("ecluse.cli.runs", "runs", "List, show and compare trainings of every application."),
    "login": ("ecluse.cli.login", "login", "Sign in to a server with a token, for programs of yours."),
    "logout": ("ecluse.cli.login", "logout", "Forget the token of a server."),
    "token": ("ecluse.cli.token", "token", "Make a token for programs of yours, and print it, this once."),
    "secret-key": (
        "ecluse.cli.secret_key",
        "secret_key",
        "Make a key of secrets, or encrypt them with a new one.",
    ),
    "jobs": ("ecluse.cli.jobs", "jobs", "List, show and cancel jobs."),
    "plans": ("ecluse.cli.plans", "plans", "List plans, and change what they allow."),
    "account": ("ecluse.cli.account", "account", "Take along everything that is kept of your account."),
    "users": ("ecluse.cli.users", "users", "List, add, change and remove accounts; read who signed in."),
    "orgs": ("ecluse.cli.orgs", "orgs", "Make organisations, invite people, leave, hand over and end them."),
}


APPLICATIONS_AFTER: Final = "doctor"


def commands() -> Table:
    """List the commands of the shell and of the applications that are installed; none is imported."""
    table: dict[str, tuple[str, str, str]] = {}
    for name, command in SHELL.items():
        table[name] = command
        if name == APPLICATIONS_AFTER:
            table |= _commands_of_applications()
    return table


def _commands_of_applications() -> Table:
    table: dict[str, tuple[str, str, str]] = {}
    for application in ours_first():
        for name, command in application.commands.items():
            if name in SHELL or name in table:
                leave_out(
                    application, f"command {name}", f'There is a command "{name}" already. Call it otherwise.'
                )
                continue
            module, _, attribute = command.reference.partition(":")
            table[name] = (module, attribute, command.line)
    return table


@click.group(cls=LazyGroup, table=commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ecluse")
def cli() -> None:
    """Machine-learning applications that run on a laptop and, unchanged, in the cloud."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process: 0 done, 1 expected failure, 2 wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        look_in(_home(given) / "apps")
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
        from ecluse.settings import shows_traces  # most commands need it, and `--help` does not

        if shows_traces():
            raise
        from ecluse.disks import what_is_wrong

        if (reason := what_is_wrong(error)) is not None:
            _show(DiskUnusable(reason), as_json="--json" in given)
            sys.exit(1)
        if isinstance(error, ModuleNotFoundError) and not is_server_installed():
            _show(needs_server(given[0], error), as_json="--json" in given)
            sys.exit(1)
        say(f"Error: a fault of ours stopped this ({type(error).__name__}: {error}).")
        click.echo("Set ECLUSE_TRACE=1 and run it again to see where, and report it.", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _home(given: list[str]) -> Path:
    """Return the folder of everything local, whose applications have commands; the settings are not read for
    `--help`.
    """
    for number, argument in enumerate(given):
        name, equals, value = argument.partition("=")
        if name == "--home" and (equals or number + 1 < len(given)):
            return Path(value if equals else given[number + 1])
    # click reads the variable, as nothing but the settings looks into the environment.
    option = click.Option(["--home"], envvar="ECLUSE_HOME")
    return Path(option.resolve_envvar_value(click.Context(cli)) or ".ecluse").absolute()


def _show(error: EcluseError, *, as_json: bool) -> None:
    if as_json:
        detail = {"code": error.code, "message": str(error)} | (
            {"command": error.command} if error.command else {}
        )
        click.echo(json.dumps({"error": detail}, ensure_ascii=False))
    say(f"Error: {error}" + (f" Run: {error.command}" if error.command else ""))
