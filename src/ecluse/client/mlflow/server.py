"""Ask an MLflow server by its REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

import httpx

from ecluse import __version__
from ecluse.client.backend import Progress
from ecluse.client.server import part_of, patiently
from ecluse.errors import InvalidInput, NotFound, NotSignedIn, ServerAway, ServerRefused
from ecluse.sentences import _

#: How long a connection, and an answer, may take (s): a server that proxies files may first fetch them itself.
_TIMEOUT: Final = httpx.Timeout(300, connect=10)
_API: Final = "api/2.0/mlflow/"
#: What is asked for at once.
_EXPERIMENTS, _MODELS, _VERSIONS, _RUNS, _POINTS = 1000, 100, 200, 100, 10_000
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True)
class Access:
    """The address of a server and what it lets in by; both secrets show themselves nowhere."""

    address: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def access_to(
    url: str, user: str | None = None, password: str | None = None, token: str | None = None
) -> Access:
    """Return how to reach the server at `url`; a name and password within it win over those given.

    Raises:
        InvalidInput: it is not the address of a server.
    """
    try:
        parts = urlsplit(url.strip())
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError as error:
        raise _no_address() from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _no_address()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
    return Access(address, user, password, token)


def _no_address() -> InvalidInput:
    return InvalidInput(
        _(
            "This is no address of an MLflow server. It looks like http://127.0.0.1:5000 or https://mlflow.example.org."
        )
    )


@dataclass(frozen=True)
class RemoteFile:
    """A file of a server: its path within what it belongs to, and its bytes where the server says them."""

    path: str
    size: int | None


@dataclass(frozen=True)
class Place:
    """Where files are listed and fetched. `listing` and `download` name the file by the parameter `name`."""

    listing: str
    download: str
    name: tuple[str, str]
    values: Mapping[str, str]
    root: str = ""
    #: Folders that do not belong to it.
    but: tuple[str, ...] = ()


def files_of_run(run: str, root: str = "", but: tuple[str, ...] = ()) -> Place:
    """Return where the files of a run are, or those below one of its folders."""
    return Place(f"{_API}artifacts/list", "get-artifact", ("path", "path"), {"run_id": run}, root, but)


def files_of_model(model: str) -> Place:
    """Return where the files of a model are that MLflow 3 keeps apart from its run."""
    files = f"{_API}logged-models/{part_of(model)}/artifacts/directories"
    fetched = f"ajax-api/2.0/mlflow/logged-models/{part_of(model)}/artifacts/files"
    return Place(files, fetched, ("artifact_directory_path", "artifact_file_path"), {})


def files_behind(root: str) -> Place:
    """Return where files are that the server proxies, below a path of its own."""
    files = "api/2.0/mlflow-artifacts/artifacts"
    return Place(files, files, ("path", ""), {}, root)


class MlflowServer:
    """A server and a connection to it. What is not answered is `ServerAway`, and is asked again for a minute."""

    def __init__(self, access: Access) -> None:
        self.address = access.address
        headers = {"user-agent": f"ecluse/{__version__}"}
        if access.token:
            headers["authorization"] = f"Bearer {access.token}"
        auth = (access.user, access.password or "") if access.user and not access.token else None
        self._http = httpx.Client(
            base_url=f"{access.address}/", headers=headers, auth=auth, timeout=_TIMEOUT, trust_env=False
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    # What it holds

    def experiments(self) -> list[dict[str, Any]]:
        """Return the experiments that were not deleted, oldest first."""
        body = {"max_results": _EXPERIMENTS, "view_type": "ACTIVE_ONLY"}
        pages = self._pages("POST", "experiments/search", body, "experiments")
        return sorted(pages, key=lambda each: int(each["experiment_id"]))

    def runs(self, experiment: str) -> Iterator[dict[str, Any]]:
        """Yield the runs of an experiment that were not deleted, oldest first."""
        body = {
            "experiment_ids": [experiment],
            "max_results": _RUNS,
            "order_by": ["attributes.start_time ASC"],
            "run_view_type": "ACTIVE_ONLY",
        }
        return self._pages("POST", "runs/search", body, "runs")

    def run(self, run: str) -> dict[str, Any] | None:
        """Return a run; None where it was deleted for good."""
        try:
            body: dict[str, Any] = self._json("GET", f"{_API}runs/get", {"run_id": run})["run"]
        except NotFound:
            return None
        return body

    def artifacts_of(self, run: str) -> str:
        """Return where the files of a run are; nothing where it was deleted for good."""
        body = self.run(run)
        return "" if body is None else str(body["info"].get("artifact_uri", ""))

    def points(self, run: str, metric: str) -> list[dict[str, Any]]:
        """Return every value that a run has logged of a metric."""
        body = {"run_id": run, "metric_key": metric, "max_results": _POINTS}
        return list(self._pages("GET", "metrics/get-history", body, "metrics"))

    def models(self) -> list[dict[str, Any]]:
        """Return the registered models, each with its aliases; those of experiments with prompts are none."""
        names = [
            each["name"]
            for each in self._pages(
                "GET", "registered-models/search", {"max_results": _MODELS}, "registered_models"
            )
        ]
        return [
            self._json("GET", f"{_API}registered-models/get", {"name": name})["registered_model"]
            for name in sorted(names)
        ]

    def versions(self, model: str) -> list[dict[str, Any]]:
        """Return the versions of a registered model, oldest first."""
        quote = '"' if "'" in model else "'"
        body = {"filter": f"name={quote}{model}{quote}", "max_results": _VERSIONS}
        pages = self._pages("GET", "model-versions/search", body, "model_versions")
        return sorted(
            (each for each in pages if each["name"] == model), key=lambda each: int(each["version"])
        )

    def download_uri(self, model: str, version: str) -> str:
        """Return where the files of a version are."""
        values = {"name": model, "version": version}
        body = self._json("GET", f"{_API}model-versions/get-download-uri", values)
        return str(body.get("artifact_uri", ""))

    # Files

    def files(self, place: Place) -> list[RemoteFile]:
        """List every file of a place, by its path below the root of that."""
        listed: list[RemoteFile] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            for entry in self._entries(place, folder):
                path = _below(folder, str(entry["path"]))
                if path in place.but:
                    continue
                if entry.get("is_dir"):
                    folders.append(path)
                else:
                    size = entry.get("file_size")
                    listed.append(RemoteFile(path, None if size is None else int(size)))
        return sorted(listed, key=lambda file: file.path)

    def fetch(self, place: Place, file: RemoteFile, target: Path, progress: Progress) -> None:
        """Write a file to `target`, which appears once all of its bytes are there.

        Raises:
            ServerAway: the server does not answer, or breaks off each time.
            ServerRefused: it gives another number of bytes than it has listed.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name[:200]}.part")
        patiently(lambda: self._fetch(place, file, unfinished, progress))
        unfinished.replace(target)

    def _fetch(self, place: Place, file: RemoteFile, target: Path, progress: Progress) -> None:
        url, values, received = *_request_for(place, _joined(place.root, file.path)), 0
        try:
            with (
                self._http.stream(
                    "GET", url, params=values, headers={"accept-encoding": "identity"}
                ) as response,
                target.open("wb") as opened,
            ):
                if not response.is_success:
                    response.read()
                    self._raise(response, url)
                for chunk in response.iter_bytes(_CHUNK):
                    opened.write(chunk)
                    received += len(chunk)
                    progress(len(chunk))
        except httpx.TransportError as error:
            progress(-received)
            raise self._away(error) from error
        if file.size is not None and received != file.size:
            progress(-received)
            raise ServerRefused(
                _(
                    "%(address)s lists %(file)s with %(count)s bytes and gives %(number)s. It was changed meanwhile: "
                    "begin again.",
                    address=self.address,
                    file=file.path,
                    count=file.size,
                    number=received,
                )
            )

    def _entries(self, place: Place, folder: str) -> list[dict[str, Any]]:
        path = _joined(place.root, folder)
        values = dict(place.values) | ({place.name[0]: path} if path else {})
        entries, token = [], None
        while True:
            body = self._json("GET", place.listing, values | ({"page_token": token} if token else {}))
            for entry in body.get("files", []):
                inside = str(entry["path"])
                prefix = f"{path}/"
                entries.append(entry | {"path": inside.removeprefix(prefix) if path else inside})
            token = body.get("next_page_token")
            if not token:
                return entries

    # Requests

    def _pages(self, method: str, path: str, body: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            answer = self._json(
                method, f"{_API}{path}", dict(body) | ({"page_token": token} if token else {})
            )
            yield from answer.get(key, [])
            token = answer.get("next_page_token")
            if not token:
                return

    def _json(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return patiently(lambda: self._ask(method, path, body))

    def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {"params": dict(body)} if method == "GET" else {"json": dict(body)}
        try:
            response = self._http.request(method, path, **given)
        except httpx.TransportError as error:
            raise self._away(error) from error
        if not response.is_success:
            self._raise(response, path)
        try:
            answer = response.json()
        except ValueError as error:
            raise self._strange(path, response.status_code) from error
        if not isinstance(answer, dict):
            raise self._strange(path, response.status_code)
        return answer

    def _raise(self, response: httpx.Response, path: str) -> NoReturn:
        status = response.status_code
        if status in (429, 502, 503, 504):
            raise ServerAway(
                _("%(address)s cannot answer now (%(value)s).", address=self.address, value=status)
            )
        if status in (401, 403):
            raise NotSignedIn(
                _(
                    "%(address)s wants a name and password, or a token, that may read (%(value)s). Set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
                    address=self.address,
                    value=status,
                )
            )
        message = _message_of(response)
        if message is None:
            raise self._strange(path, status)
        kind = NotFound if status == 404 else ServerRefused
        raise kind(
            _("%(address)s refuses %(path)s: %(reason)s", address=self.address, path=path, reason=message)
        )

    def _away(self, error: httpx.TransportError) -> ServerAway:
        return ServerAway(
            _(
                "%(address)s does not answer (%(reason)s). Is it running, and the address right?",
                address=self.address,
                reason=str(error) or type(error).__name__,
            )
        )

    def _strange(self, path: str, status: int) -> ServerRefused:
        return ServerRefused(
            _(
                "%(address)s does not answer %(path)s as MLflow does (%(value)s). Check the address.",
                address=self.address,
                path=f"/{path}",
                value=status,
            )
        )


def _message_of(response: httpx.Response) -> str | None:
    """Return what MLflow says of a refusal; None for an answer of something else."""
    try:
        return str(response.json()["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return None


def _request_for(place: Place, path: str) -> tuple[str, dict[str, str]]:
    """Return address and parameters of the download of a file."""
    if not place.name[1]:
        return f"{place.download}/{'/'.join(map(part_of, path.split('/')))}", dict(place.values)
    return place.download, dict(place.values) | {place.name[1]: path}


def _joined(root: str, path: str) -> str:
    return "/".join(part for part in (root, path) if part)


def _below(folder: str, path: str) -> str:
    """Return the path of an entry of a folder; some lists name it within the folder, some whole."""
    return path if not folder or path.startswith(f"{folder}/") else f"{folder}/{path}"
