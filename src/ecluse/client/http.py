"""Keep runs and versions at a server, with a token alone: no key of its store, none of its database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from ecluse.client.backend import (
    KIND,
    MOST_LISTED,
    MOST_RUNS,
    Beginning,
    End,
    JobState,
    KeptTable,
    Point,
    Progress,
    Publication,
    TrackedRun,
    Version,
)
from ecluse.client.credentials import Credentials
from ecluse.client.server import Server, as_json, model_part, part_of, split_reference
from ecluse.errors import InvalidInput, ModelNotFound, NotFound
from ecluse.registry import is_version
from ecluse.sentences import _

_PER_PAGE: Final = 200
#: How long a server may read the files of a version, or store a table (s).
_READING_SECONDS: Final = 3600.0


class HttpBackend:
    """A server, asked by its API."""

    is_remote = True

    def __init__(self, credentials: Credentials) -> None:
        self._server = Server(credentials)

    @property
    def address(self) -> str:
        return self._server.address

    def close(self) -> None:
        self._server.close()

    def me(self) -> Mapping[str, Any]:
        """Return whose token this is."""
        try:
            body = self._server.json("GET", "me")
        except NotFound as error:  # an address below that of a server, or another service
            raise self._server.strange("me", 404) from error
        if not isinstance(body, dict) or not isinstance(body.get("email"), str):
            raise self._server.strange("me")
        return body

    # Runs

    def begin_run(self, beginning: Beginning) -> str:
        body = self._server.json(
            "POST",
            "runs",
            json={
                "name": beginning.name,
                "kind": KIND,
                "parameters": dict(beginning.parameters),
                "tags": dict(beginning.tags),
                "nonce": beginning.nonce,
            }
            | ({} if beginning.began is None else {"started_at": beginning.began}),
        )
        return str(body["id"])

    def add_points(self, run: str, points: Sequence[Point]) -> None:
        bodies = [
            {
                "step": point.step,
                "metrics": {name: as_json(value) for name, value in point.metrics.items()},
                "at": point.at.isoformat(),
            }
            for point in points
        ]
        self._server.call("POST", f"runs/{part_of(run)}/metrics", json={"points": bodies})

    def change_run(self, run: str, parameters: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        self._server.call(
            "PATCH", f"runs/{part_of(run)}", json={"parameters": dict(parameters), "tags": dict(tags)}
        )

    def end_run(self, run: str, end: End) -> None:
        metrics = {name: as_json(value) for name, value in end.metrics.items()}
        self._server.call(
            "POST",
            f"runs/{part_of(run)}/end",
            json={"status": end.status, "metrics": metrics, "error": end.error}
            | ({} if end.ended is None else {"finished_at": end.ended}),
        )

    def runs(self, name: str | None, status: str | None) -> list[TrackedRun]:
        conditions = {key: value for key, value in (("name", name), ("status", status)) if value is not None}
        items, _total = self.list_runs(conditions, MOST_RUNS)
        return [_tracked(item) for item in items]

    def list_runs(self, conditions: Mapping[str, str], limit: int) -> tuple[list[dict[str, Any]], int]:
        """Return runs as the API describes them, the first `limit`, and how many there are."""
        items: list[dict[str, Any]] = []
        per_page = min(limit, _PER_PAGE)
        for page in range(1, -(-limit // per_page) + 1):
            where = dict(conditions) | {"page": str(page), "per_page": str(per_page)}
            body = self._server.json("GET", "runs", params=where)
            items += body["items"]
            if len(items) >= body["total"]:
                break
        return items[:limit], body["total"]

    def tagged_runs(self, tag: str, value: str) -> Iterator[TrackedRun]:
        where, seen = {"tag": f"{tag}={value}", "per_page": str(_PER_PAGE)}, 0
        for page in count(1):
            body = self._server.send_json("GET", "runs", params=where | {"page": str(page)})
            yield from map(_tracked, body["items"])
            seen += len(body["items"])
            if not body["items"] or seen >= body["total"]:
                return

    def has_run(self, run: str) -> bool:
        try:
            self._server.call("GET", f"runs/{part_of(run)}")
        except NotFound:
            return False
        return True

    def job(self, job: str) -> JobState:
        body = self._server.send_json("GET", f"status/{part_of(job)}")
        names = ("id", "kind", "status", "title", "fraction", "message", "error", "result")
        finished = body["finished_at"]
        return JobState(
            **{name: body[name] for name in names},
            created_at=datetime.fromisoformat(body["created_at"]),
            finished_at=None if finished is None else datetime.fromisoformat(finished),
        )

    @property
    def server(self) -> Server:
        """Return the server itself, for what an application offers at addresses of its own."""
        return self._server

    def export_account(self, target: Path, report: Progress) -> int:
        """Write everything that the server keeps of this account to a file; its bytes. Told the bytes that came."""
        from ecluse.client.fetching import fetch_archive

        return fetch_archive(self._server, "account/export", target, report)

    def cancel(self, job: str) -> None:
        """Stop a job. One that has ended stays as it is."""
        self._server.send("POST", f"jobs/{part_of(job)}/cancel")

    def run_of(self, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a run as the API describes it, and its metrics by name, each by step."""
        place = f"runs/{part_of(run)}"
        return dict(self._server.json("GET", place)), dict(self._server.json("GET", f"{place}/metrics"))

    def compared_runs(self, runs: Sequence[str]) -> dict[str, Any]:
        """Return runs beside each other, as the API describes them."""
        return dict(self._server.json("GET", "runs/compare", params={"ids": list(runs)}))

    # Tables

    def upload(
        self, file: Path, name: str, nonce: str, progress: Progress, owner: str = ""
    ) -> tuple[str, Sequence[str]]:
        from ecluse.client.sending import send_table

        body = send_table(self._server, file, name, nonce, progress, owner)
        return str(body["id"]), [str(note) for note in body["notes"]]

    def fetch_table(self, table: str, file: Path, progress: Progress) -> None:
        from ecluse.client.fetching import fetch_table

        fetch_table(self._server, table, file, progress)

    def tables(self) -> list[KeptTable]:
        return [table_from(item) for place in ("tables", "shared/tables") for item in self.list_tables(place)]

    def list_tables(self, place: str) -> list[dict[str, Any]]:
        """Return tables as the API describes them: those of `tables`, one's own, or of `shared/tables`."""
        return self._pages(place)

    def table(self, table: str) -> dict[str, Any]:
        """Return a table as the API describes it."""
        return dict(self._server.json("GET", f"tables/{part_of(table)}"))

    def _pages(self, place: str) -> list[dict[str, Any]]:
        """Return what a list of pages has, the first `MOST_LISTED`."""
        items: list[dict[str, Any]] = []
        while True:
            asked = {"page": len(items) // _PER_PAGE + 1, "per_page": _PER_PAGE}
            body = self._server.json("GET", place, params=asked)
            items += body["items"]
            if len(body["items"]) < _PER_PAGE or len(items) >= min(body["total"], MOST_LISTED):
                return items[:MOST_LISTED]

    def remove_table(self, table: str) -> None:
        """Remove a table."""
        self._server.send("DELETE", f"tables/{part_of(table)}")

    def score(self, reference: str, table: str) -> str:
        """Begin to score a table by a version, and return the id of the job."""
        place = f"models/{model_part(reference)}/score"
        return str(self._server.json("POST", place, json={"table": table})["job"])

    # Versions

    def described(self, reference: str) -> dict[str, Any]:
        """Return a version as the API describes it, with its files."""
        return dict(self._server.json("GET", _place(self.version(reference))))

    def list_models(self, where: Sequence[str], name: str | None) -> list[dict[str, Any]]:
        """Return versions as the API describes them; see `models`."""
        if name is None:
            return list(self._server.json("GET", "models", params={"where": list(where)}))
        versions: list[dict[str, Any]] = self._server.json("GET", f"models/{model_part(name)}/versions")
        if not where:
            return versions
        fulfilling = self._server.json("GET", "models", params={"where": list(where)})
        keys = {(item["name"], item["version"]) for item in fulfilling}
        return [each for each in versions if (each["name"], each["version"]) in keys]

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version, from wherever it pointed."""
        place = f"models/{model_part(name)}/aliases/{part_of(alias)}"
        self._server.call("PUT", place, json={"version": version})

    def remove_alias(self, name: str, alias: str) -> None:
        """Forget an alias; the version it pointed at stays."""
        self._server.call("DELETE", f"models/{model_part(name)}/aliases/{part_of(alias)}")

    def verify(self, version: Version) -> list[dict[str, Any]]:
        """Let the server read every file of a version again and compare it with its digest; return the files."""
        place = f"{_place(version)}/verify"
        return list(self._server.json("POST", place, timeout=_READING_SECONDS))

    def delete(self, version: Version) -> None:
        """Delete a version; what was made with it stays."""
        self._server.call("DELETE", _place(version))

    def publish(self, publication: Publication, progress: Progress) -> Version:
        from ecluse.client.sending import send_version

        return version_from(send_version(self._server, publication, progress))

    def version(self, reference: str) -> Version:
        name, at, which = split_reference(reference)
        if not name or (at and not which):
            raise InvalidInput(
                _("%(value)s names no model. Write NAME, NAME@VERSION or NAME@ALIAS.", value=repr(reference))
            )
        if which in ("", "latest"):
            versions = self._server.json("GET", f"models/{model_part(name)}/versions")
            if not versions:
                raise ModelNotFound(_('No model "%(name)s". See: ecluse models list', name=name))
            return version_from(versions[0])
        place = part_of(which) if is_version(which) else f"aliases/{part_of(which)}"
        return version_from(self._server.json("GET", f"models/{model_part(name)}/{place}"))

    def fetch(self, version: Version, folder: Path, progress: Progress) -> None:
        from ecluse.client.fetching import fetch_version

        fetch_version(self._server, version, folder, progress)

    def answers(self, version: Version, rows: Sequence[Any]) -> Mapping[str, Any] | None:
        if "columns" not in version.metadata and not version.application:
            return None  # it was published without an example
        body: Mapping[str, Any] = self._server.json(
            "POST", f"models/{model_part(version.reference)}/predict", json={"rows": list(rows)}
        )
        return body

    def models(self, where: Sequence[str], name: str | None) -> list[Version]:
        versions = self.list_models(where, name)
        if name is None and not where:
            versions += self._pages("shared/models")
        return [version_from(item) for item in versions]


def _place(version: Version) -> str:
    return f"models/{model_part(version.name)}/{part_of(version.version)}"


def table_from(body: Mapping[str, Any]) -> KeptTable:
    """Return a table as the API describes it."""
    return KeptTable(
        id=body["id"],
        name=body["name"] if body["owner"] is None else f"@{body['owner']}/{body['name']}",
        rows=body["rows"],
        columns=len(body["columns"]),
        size_bytes=body["size_bytes"],
        created_at=datetime.fromisoformat(body["created_at"]),
        model=body["model"],
        version=body["version"],
    )


def version_from(body: Mapping[str, Any]) -> Version:
    """Return a version as the API describes it."""
    kind = body["metadata"].get("kind")
    return Version(
        name=body["name"],
        version=body["version"],
        kind=kind if isinstance(kind, str) else None,
        aliases=tuple(sorted(body["aliases"])),
        metrics=body["metrics"],
        metadata=body["metadata"],
        size_bytes=body["size_bytes"],
        created_at=datetime.fromisoformat(body["created_at"]),
        application=body["application"],
        digest=body["digest"],
    )


def _tracked(body: Mapping[str, Any]) -> TrackedRun:
    names = (
        "id",
        "name",
        "application",
        "kind",
        "status",
        "parameters",
        "tags",
        "metrics",
        "version",
        "error",
    )
    finished = body["finished_at"]
    return TrackedRun(
        **{name: body[name] for name in names},
        created_at=datetime.fromisoformat(body["created_at"]),
        finished_at=None if finished is None else datetime.fromisoformat(finished),
    )
