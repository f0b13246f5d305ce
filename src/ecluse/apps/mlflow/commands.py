"""Export trainings to MLflow, and serve MLflow behind Écluse's sign-in."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import click

from ecluse.catalog import exports, runs
from ecluse.cli.groups import Group
from ecluse.cli.output import Rows, reports, say
from ecluse.cli.serve import listen, say_if_exposed
from ecluse.cli.session import acting, finish_all, home_option, opened, user_option
from ecluse.errors import InvalidInput, JobFailed


@click.group(cls=Group)
def mlflow() -> None:
    """Show trainings in MLflow, and serve it behind the sign-in. Needs the extra: pip install "ecluse[mlflow]"."""


@mlflow.command("serve")
@home_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(0, 65535))
def serve(home: Path | None, host: str, port: int) -> None:
    """Serve MLflow until Ctrl-C, with the database and the store of the settings behind it.

    Administrators alone are let in, members too with ECLUSE_MLFLOW_MEMBERS=true: in a browser by the session of the
    pages, in a program by MLFLOW_TRACKING_TOKEN, which holds an API token.
    """
    from ecluse.apps.mlflow.exporting import check_installed
    from ecluse.apps.mlflow.serving import serve

    check_installed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container is stopped as a person stops it
    with contextlib.suppress(KeyboardInterrupt), opened(home) as runtime, listen(host, port) as listener:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (read, not bound)
        address = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"
        say_if_exposed(runtime, listener)
        say("MLflow is being started; that takes some seconds.")
        serve(
            runtime,
            listener,
            lambda: say(f"MLflow is at {address}. Export to it: ECLUSE_MLFLOW_URL={address}"),
        )
    say("Stopped.")


@mlflow.command("export")
@click.argument("run_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every run of the user that has ended.")
@user_option
@home_option
@reports
def export(run_ids: tuple[str, ...], everything: bool, email: str | None, home: Path | None) -> Rows:
    """Bring runs to the MLflow server that ECLUSE_MLFLOW_URL names; what is there already stays as it is.

    Trainings that are done bring themselves. This is for those from before, and for runs that failed.
    """
    from ecluse.apps.mlflow.exporting import MLFLOW
    from ecluse.apps.mlflow.jobs import start_export

    if everything == bool(run_ids):
        raise InvalidInput("Name runs, or --all for every run that has ended. See: ecluse runs list")
    with acting(home, email) as (runtime, user):
        with runtime.catalog.read() as transaction:
            chosen = list(run_ids) or runs.ended_runs(transaction, user.id)
        jobs = finish_all(runtime, user, start_export(runtime, user.id, chosen), "Exporting to MLflow")
        failed = [job for job in jobs if job.status != "done"]
        if failed:
            raise JobFailed(failed[0].error or f"The export was {failed[0].status}. See: ecluse jobs list")
        with runtime.catalog.read() as transaction:
            rows = [(run_id, exports.exports_of(transaction, run_id).get(MLFLOW, {})) for run_id in chosen]
    items: list[dict[str, Any]] = [{"run": run_id} | what for run_id, what in rows]
    return Rows(items, ("run", "state", "model", "model_version", "aliases", "url"), "No run has ended yet.")
