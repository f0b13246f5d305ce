"""Bring one run to an MLflow server: `python -m ecluse.apps.mlflow.client`, a plan on standard input.

It is a process of its own, as MLflow's library takes address and token from the environment of the process and keeps
both. Standard output is JSON by line: {"fraction"} now and then, and at last {"result"} or {"error", "status"}.

Every part is looked for before it is made, so that a plan brought twice leaves what it left the first time.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ecluse.sentences import _

#: The tag by which a run of ours is found again, and that of a model's owner.
RUN, VERSION, OWNER, FILES = "ecluse.run", "ecluse.version", "ecluse.owner", "ecluse.files"
#: Of a run's artifacts, the folder with the files of its version.
FOLDER: Final = "model"
#: What MLflow takes in one request.
_METRICS, _VALUES = 1000, 100
_LONGEST_PARAMETER, _LONGEST_TAG = 6000, 8000
_BEAT: Final = 1.0
#: Aliases that MLflow takes; `latest` and v1, v2, … it keeps for itself.
_ALIAS: Final = re.compile(r"(?!latest$)(?![vV]\d+$)[\w-]+")

Tell = Callable[[float], None]


def export(plan: dict[str, Any], tell: Tell = lambda fraction: None) -> dict[str, Any]:
    """Bring a run, the files of its version and its aliases to the server; what they are called there."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = _experiment(client, plan["experiment"])
    run, is_new = _run(client, experiment, plan)
    run_id = run.info.run_id
    _log(client, run_id, plan, logged=set() if is_new else _logged_points(client, run_id, plan["metrics"]))
    tell(0.2)
    done: dict[str, Any] = {"run_id": run_id, "experiment_id": experiment, "aliases": []}
    model = plan["model"]
    if model is not None:
        if run.data.tags.get(FILES) != model["digest"]:
            _send_files(client, run_id, Path(model["folder"]), tell)
            client.set_tag(run_id, FILES, model["digest"])
        done |= _register(client, run_id, run.info.artifact_uri, model)
    client.set_terminated(run_id, plan["status"], plan["ended"])
    return done


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage != "active":
        raise MlflowException(
            _("The experiment %(name)s was deleted there. Restore it, or delete it for good.", name=name)
        )
    return str(experiment.experiment_id)


def _run(client: Any, experiment: str, plan: dict[str, Any]) -> tuple[Any, bool]:
    """Find the run at the server or make it; the second value says whether it was made now."""
    runs = client.search_runs([experiment], f"tags.`{RUN}` = '{plan['key']}'", max_results=1)
    if runs:
        return runs[0], False
    tags = {name: plan["tags"][name] for name in (RUN, "mlflow.user")}
    return client.create_run(experiment, plan["started"], tags, plan["name"]), True


def _logged_points(client: Any, run_id: str, metrics: list[list[Any]]) -> set[tuple[str, int, int]]:
    """List what the server has of the metrics: name, step and time of each point."""
    return {
        (point.key, point.step, point.timestamp)
        for name in {name for name, *_ in metrics}
        for point in client.get_metric_history(run_id, name)
    }


def _log(client: Any, run_id: str, plan: dict[str, Any], logged: set[tuple[str, int, int]]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    parameters = [Param(name, value[:_LONGEST_PARAMETER]) for name, value in plan["parameters"].items()]
    tags = [RunTag(name, value[:_LONGEST_TAG]) for name, value in plan["tags"].items()]
    metrics = [
        Metric(name, value, at, step)
        for name, value, at, step in plan["metrics"]
        if (name, step, at) not in logged
    ]
    for some in _portions(parameters, _VALUES):
        client.log_batch(run_id, params=some)
    for some in _portions(tags, _VALUES):
        client.log_batch(run_id, tags=some)
    for some in _portions(metrics, _METRICS):
        client.log_batch(run_id, metrics=some)


def _send_files(client: Any, run_id: str, folder: Path, tell: Tell) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    total, sent = sum(path.stat().st_size for path in files), 0
    for path in files:
        below = path.relative_to(folder).parent.as_posix()
        client.log_artifact(run_id, str(path), FOLDER if below == "." else f"{FOLDER}/{below}")
        sent += path.stat().st_size
        tell(0.2 + 0.7 * sent / max(total, 1))


def _register(client: Any, run_id: str, artifacts: str, model: dict[str, Any]) -> dict[str, Any]:
    """Make the version there and point its aliases at it; those that left it here leave it there."""
    name = _model_name(client, model)
    where = f"name = '{name}' and tags.`{VERSION}` = '{model['version']}'"
    registered = client.search_model_versions(where, max_results=1)
    made = registered[0] if registered else client.create_model_version(
        name, f"{artifacts}/{FOLDER}", run_id, tags={VERSION: model["version"], RUN: model["run"]}
    )  # fmt: skip
    number = str(made.version)
    held = {alias: str(at) for alias, at in client.get_registered_model(name).aliases.items()}
    aliases = [alias for alias in model["aliases"] if _ALIAS.fullmatch(alias)]
    for alias in aliases:
        if held.get(alias) != number:
            client.set_registered_model_alias(name, alias, number)
    for alias in set(model["aliases_before"]) - set(aliases):
        if held.get(alias) == number:
            client.delete_registered_model_alias(name, alias)
    return {"model": name, "model_version": number, "aliases": aliases}


def _model_name(client: Any, model: dict[str, Any]) -> str:
    """Return the first of the names that is free or this owner's; a free one is made."""
    from mlflow.exceptions import MlflowException

    for name in model["names"]:
        try:
            client.create_registered_model(name, tags={OWNER: model["owner"]})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            if client.get_registered_model(name).tags.get(OWNER) != model["owner"]:
                continue
        return str(name)
    raise MlflowException(
        _("The registered models %(values)s there are someone else's.", values=" and ".join(model["names"]))
    )


def _portions(values: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


class _Teller:
    """Writes lines of JSON, one each second at least: who reads them may stop this process in between.

    What libraries print goes to standard error. Where no one reads any more, this process ends.
    """

    def __init__(self) -> None:
        self._lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._fraction = 0.0
        threading.Thread(target=self._beat, daemon=True).start()

    def fraction(self, fraction: float) -> None:
        self._fraction = fraction
        self.tell(fraction=fraction)

    def tell(self, **what: Any) -> None:
        with self._lock:
            try:
                self._lines.write(json.dumps(what) + "\n")
                self._lines.flush()
            except BrokenPipeError:
                os._exit(1)

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT)
            self.tell(fraction=self._fraction)


def _main() -> int:
    """Do the plan of standard input."""
    teller, plan = _Teller(), json.load(sys.stdin)
    try:
        import requests
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        teller.tell(error=str(error), missing=True)
        return 1
    try:
        done = export(plan, teller.fraction)
    except (MlflowException, requests.RequestException) as error:
        teller.tell(error=_line(error), status=_status(error))
        return 1
    teller.tell(result=done)
    return 0


def _status(error: Exception) -> int | None:
    """Return the HTTP status that the server answered with; None where it did not answer."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    if "failed with error code " in str(
        error
    ):  # how the library says it where the answer is not its own JSON
        code = str(error).partition("failed with error code ")[2][:3]
        return int(code) if code.isdigit() else None
    is_answer = type(error).__name__ == "RestException"
    return int(error.get_http_status_code()) if is_answer else _inner(error)  # type: ignore[attr-defined]


def _inner(error: Exception) -> int | None:
    """None where a connection failed below the error; else 400, for what is wrong with the plan or the server."""
    import requests

    said: BaseException | None = error
    while said is not None:
        if isinstance(said, requests.RequestException):
            return None
        said = said.__cause__ or said.__context__
    return None if "API request to" in str(error) else 400


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    sys.exit(_main())
