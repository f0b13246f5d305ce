"""Take over what another system holds: `ecluse import mlflow URI`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, counted, progress, reports, say
from ecluse.cli.remote import at_server, local_option
from ecluse.cli.session import home_option, user_option
from ecluse.client.backend import Backend
from ecluse.client.mlflow import Import, MlflowServer, Outcome, access_to, import_from

#: How often progress is said (s).
_BEAT: Final = 1.0


@click.group("import", cls=Group)
def imports() -> None:
    """Take over what another system holds."""


@imports.command("mlflow")
@click.argument("url", metavar="URI")
@click.option(
    "--experiment", "experiments", multiple=True, help="This experiment alone, with its models; repeatable."
)
@click.option(
    "--username",
    envvar="MLFLOW_TRACKING_USERNAME",
    help="Name to sign in with. Default: MLFLOW_TRACKING_USERNAME.",
)
@local_option
@user_option
@home_option
@reports
@click.pass_context
def mlflow(
    context: click.Context,
    url: str,
    experiments: tuple[str, ...],
    username: str | None,
    local: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Take over runs, curves, files, versions and aliases of the MLflow server at URI, such as http://127.0.0.1:5000.

    To the server that was signed in to (ecluse login URL), else to the folder of this machine. Begun again it goes on,
    and what is here is not brought twice. The password is that of MLFLOW_TRACKING_PASSWORD; MLFLOW_TRACKING_TOKEN is
    sent instead of both.
    """
    access = access_to(url, username, _secret(context, "PASSWORD"), _secret(context, "TOKEN"))
    server = MlflowServer(access)
    try:
        with _target(home, email, local) as backend, progress(f"Taking over {access.address}") as show:
            done = import_from(server, backend, experiments=experiments, report=_beating(show))
            target = backend.address
    except KeyboardInterrupt:
        say("Stopped. What was taken over stays; the same command goes on from there.")
        raise
    finally:
        server.close()
    fields = {"source": access.address, "target": target, "bytes": done.bytes}
    outcomes = [asdict(each) for each in done.outcomes]
    return Record(fields | {"outcomes": outcomes}, _text(done, target), failed=bool(done.failed))


def _secret(context: click.Context, name: str) -> str | None:
    """Return a secret of the environment, under the name that MLflow gives it; none is an option, which others see."""
    option = click.Option([f"--{name.lower()}"], envvar=f"MLFLOW_TRACKING_{name}")
    return option.resolve_envvar_value(context)


@contextmanager
def _target(home: Path | None, email: str | None, local: bool) -> Iterator[Backend]:
    with at_server(home, email, local) as server:
        if server is not None:
            yield server
            return
        from ecluse.client.local import LocalBackend

        backend = LocalBackend(home, email)
        say(f"In {backend.address} of this machine.")
        try:
            yield backend
        finally:
            backend.close()


def _beating(show: Callable[[float, str], None]) -> Callable[[Import], None]:
    """Return a report that says how far an import is, once a second at most."""
    last = float("-inf")

    def report(done: Import) -> None:
        nonlocal last
        if time.monotonic() - last < _BEAT:
            return
        last = time.monotonic()
        runs, versions = sum(done.counts("run").values()), sum(done.counts("version").values())
        show(
            done.share,
            f"{done.doing}: {counted(runs, 'run')}, {counted(versions, 'version')}, {done.bytes / 1e6:.1f} MB",
        )

    return report


def _text(done: Import, target: str) -> str:
    """Write what an import did as people read it: counts, then what is otherwise than there."""
    lines = [f"Taken over to {target}:"]
    titles = {"run": "runs", "run files": "run files", "version": "versions", "alias": "aliases"}
    for what, title in titles.items():
        counts = done.counts(what)
        named = {"new": "new", "files": "kept as files; cannot be served", "open": "still going on there",
                 "unchanged": "here already", "failed": "failed"}  # fmt: skip
        said = [f"{counts[outcome]} {text}" for outcome, text in named.items() if counts[outcome]]
        lines.append(f"  {title:<9} {', '.join(said) or 'none'}")
    kept = [each for each in done.outcomes if each.what == "version" and each.outcome == "files"]
    lines += _listed("Kept as files; cannot be served:", kept)
    noted = [each for each in done.outcomes if each.notes and each.outcome not in ("files", "failed")]
    lines += _listed("Otherwise here than there:", noted)
    lines += _listed("Failed; begun again, the same command tries them again:", done.failed)
    return "\n".join(lines)


def _listed(title: str, outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return []
    return [title, *(f"  {each.what} {each.name}: {'; '.join(map(str, each.notes))}" for each in outcomes)]
