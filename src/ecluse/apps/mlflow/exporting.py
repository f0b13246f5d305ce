"""Export a run to MLflow: its parameters, metrics, tags, the files of its version and the aliases that point at it.

An export may be repeated: it brings what is missing and changes what differs. What is known of it is in the run's row,
`exports["mlflow"]`: {"state": "queued" | "done" | "failed", "server", "job_id", "error", "attempts", "tried_at",
"run_id", "experiment_id", "url", "model", "model_version", "aliases", "seen_aliases"}.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ecluse import models, tracking
from ecluse.apps.mlflow.client import OWNER, RUN, VERSION
from ecluse.apps.mlflow.errors import MlflowError, MlflowMissing, MlflowUnavailable
from ecluse.apps.mlflow.settings import MlflowSettings
from ecluse.catalog import Transaction, exports, runs, users
from ecluse.catalog import models as version_rows
from ecluse.catalog.tables import ModelVersion, Run, now
from ecluse.errors import SettingsError
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import surrounding

#: Its name among a run's exports.
MLFLOW: Final = "mlflow"
#: How the variables begin that MLflow's library reads.
STEERING: Final = ("MLFLOW_", "_MLFLOW_")
_STATUS: Final = {"done": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
Progress = Callable[[float], None]
logger = logging.getLogger(__name__)


def export_run(
    runtime: Runtime, user_id: str, run_id: str, progress: Progress = lambda fraction: None
) -> dict[str, Any]:
    """Bring a run that has ended to the MLflow server of the settings, and note in its row what it is called there.

    Raises:
        NotFound: the user has no such run.
        SettingsError: no server is named.
        MlflowMissing: the library is not installed.
        MlflowUnavailable: the server does not answer, or refuses.
        MlflowError: it cannot take this run.
        DigestMismatch: a file of the version is not what was published.
    """
    server = checked_server(runtime)
    with runtime.catalog.read() as transaction:
        run = runs.run_of(transaction, user_id, run_id)
        plan = _plan(transaction, run)
        row = version_rows.find_version(transaction, user_id, run.name, run.version or "")
    seen = plan["aliases"] if row is not None else []
    with runtime.scratch() as folder:
        if row is not None:
            models.checkout(runtime, row, folder / "files")
            plan["model"] = _model(run, row, seen, folder / "files")
        said = _bring(server, plan, folder, progress)
    done = said | {
        "state": "done",
        "seen_aliases": seen,  # also those that MLflow does not take
        "server": server.url,
        "url": f"{server.url}/#/experiments/{said['experiment_id']}/runs/{said['run_id']}",
        "at": now().isoformat(),
    }
    with runtime.catalog.write() as transaction:
        held = runs.run_of(transaction, user_id, run_id).exports.get(MLFLOW, {})
        exports.set_export(transaction, run_id, MLFLOW, done | {"job_id": held.get("job_id")})
    return done


def checked_server(runtime: Runtime) -> MlflowSettings:
    """Return the server of the settings.

    Raises:
        SettingsError: none is named.
        MlflowMissing: the library is not installed.
    """
    server = runtime.settings.of(MlflowSettings)
    if server.url is None:
        raise SettingsError(
            _(
                "No MLflow server is named. Set ECLUSE_MLFLOW_URL, such as http://127.0.0.1:5000; to "
                "start one: ecluse mlflow serve"
            )
        )
    check_installed()
    return server


def check_installed() -> None:
    """`MlflowMissing` where MLflow's library is not installed."""
    if find_spec("mlflow") is None:
        raise MlflowMissing(_('MLflow is not installed. Install it: pip install "ecluse[mlflow]"'))


def _plan(transaction: Transaction, run: Run) -> dict[str, Any]:
    """Return what `client.export` needs of a run, without its version."""
    owner = users.user_by_id(transaction, run.user_id)
    ended = run.finished_at or run.created_at
    return {
        "key": run.id,
        "experiment": f"ecluse/{run.application or 'own'}",
        "name": f"{run.name} {run.version}" if run.version else run.name,
        "started": _milliseconds(run.started_at or run.created_at),
        "ended": _milliseconds(ended),
        "status": _STATUS.get(run.status, "RUNNING"),
        "parameters": {name: _text(value) for name, value in run.parameters.items() if value is not None},
        "tags": _tags(run, owner.name or "owner"),
        "metrics": _metrics(transaction, run, ended),
        "aliases": list(tracking.aliases_of(transaction, run)),
        "model": None,
    }


def _tags(run: Run, owner: str) -> dict[str, str]:
    """Return the run's own tags, and ours, which none of its own can stand for."""
    own = {
        name: _text(value)
        for name, value in run.tags.items()
        if name != runs.CHECKPOINT and not name.startswith(("mlflow.", "ecluse."))
    }
    said = {
        RUN: run.id,
        VERSION: run.version,
        OWNER: run.user_id,
        "ecluse.application": run.application,
        "ecluse.kind": run.kind,
        "ecluse.model": run.name,
        "ecluse.error": run.error,
        "mlflow.user": owner,
        "mlflow.source.name": "ecluse",
    }
    return own | {name: value for name, value in said.items() if value is not None}


def _metrics(transaction: Transaction, run: Run, ended: datetime) -> list[list[Any]]:
    """[name, value, milliseconds, step] of each point; a figure without steps is one at the end."""
    curves = runs.curves_of(transaction, run.id)
    points = [
        [name, point.value, _milliseconds(point.at), point.step]
        for name, curve in curves.items()
        for point in curve
    ]
    last = [
        [name, value, _milliseconds(ended), 0] for name, value in run.metrics.items() if name not in curves
    ]
    return points + last


def _model(run: Run, row: ModelVersion, aliases: list[str], folder: Path) -> dict[str, Any]:
    """Return what the client needs of a version. The second name is for where the first is another owner's model."""
    return {
        "run": run.id,
        "version": row.version,
        "digest": row.manifest_digest,
        "folder": str(folder),
        "owner": run.user_id,
        "names": [run.name, f"{run.name}.{run.user_id}"],
        "aliases": aliases,
        "aliases_before": run.exports.get(MLFLOW, {}).get("aliases", []),
    }


def _bring(server: MlflowSettings, plan: dict[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
    """Let a process with MLflow's library do the plan; what the run is called there."""
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    with (folder / "plan.json").open("rb") as plan_file, (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ecluse.apps.mlflow.client"],
            stdin=plan_file,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=folder,
            env=_environment(server),
        )
        try:
            last = _follow(process, progress)
            code = process.wait()
        finally:  # a job that is cancelled leaves here
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    if "result" in last:
        return dict(last["result"])
    raise _error(server, last, code, folder / "said")


def _follow(process: subprocess.Popen[str], progress: Progress) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for line in process.stdout or ():
        message = json.loads(line)
        if "fraction" in message:
            progress(float(message["fraction"]))
        else:
            last = message
    return last


def _environment(server: MlflowSettings) -> dict[str, str]:
    """Return this process's variables with the server's address and token, without others that steer the library."""
    environment = surrounding(without=STEERING) | {
        "MLFLOW_TRACKING_URI": server.url or "",
        "MLFLOW_REGISTRY_URI": server.url or "",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",  # the job is tried again anyway
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "PYTHONWARNINGS": "ignore",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    return environment if server.token is None else environment | {"MLFLOW_TRACKING_TOKEN": str(server.token)}


def _error(server: MlflowSettings, last: dict[str, Any], code: int, said: Path) -> MlflowError:
    if last.get("missing"):
        return MlflowMissing(_('MLflow is not installed. Install it: pip install "ecluse[mlflow]"'))
    if "error" not in last:
        logger.error(
            "The export to MLflow said: %s", said.read_text(encoding="utf-8", errors="replace")[-3000:]
        )
        return MlflowError(
            _("The export to MLflow ended with code %(number)s; the worker's log says more.", number=code)
        )
    status = last.get("status")
    if status in (401, 403):
        return MlflowUnavailable(
            _(
                "The MLflow server %(url)s refuses the token (%(number)s). Set ECLUSE_MLFLOW_TOKEN to "
                "one that it takes.",
                url=server.url,
                number=status,
            )
        )
    if status is None or status == 429 or status >= 500:
        return MlflowUnavailable(
            _(
                "The MLflow server %(url)s does not answer. Start it: ecluse mlflow serve. What is "
                "due is exported once it does.",
                url=server.url,
            )
        )
    return MlflowError(
        _("The MLflow server %(url)s cannot take this run: %(error)s", url=server.url, error=last["error"])
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
