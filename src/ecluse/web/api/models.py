"""Find models, look into their versions, download and delete them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from ecluse import models as published
from ecluse.catalog import models
from ecluse.errors import VersionNotFound
from ecluse.web.api.bodies import model_body
from ecluse.web.api.schemas import FileBody, ModelBody, ModelDetail
from ecluse.web.downloads import send_object
from ecluse.web.errors import answers
from ecluse.web.security import CurrentUser, RuntimeDep

router = APIRouter(tags=["models"])


@router.get("/models")
def list_models(runtime: RuntimeDep, user: CurrentUser) -> list[ModelBody]:
    """Your models, each at its latest version."""
    with runtime.catalog.read() as transaction:
        return [model_body(runtime, row) for row in models.list_latest(transaction, user.user.id)]


@router.get("/models/{name}/versions", responses=answers(404))
def list_versions(name: str, runtime: RuntimeDep, user: CurrentUser) -> list[ModelBody]:
    """Every version of one of your models, newest first."""
    with runtime.catalog.read() as transaction:
        return [model_body(runtime, row) for row in models.list_versions(transaction, user.user.id, name)]


@router.get("/models/{name}/{version}", responses=answers(404, 409))
def show_version(name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> ModelDetail:
    """One version: its report, and its files with their digests."""
    with runtime.catalog.read() as transaction:
        row = models.version_of(transaction, user.user.id, name, version)
    manifest = published.manifest_of(runtime, row)
    files = [FileBody(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files]
    return ModelDetail(**model_body(runtime, row).model_dump(), report=row.report, files=files)


@router.post("/models/{name}/{version}/verify", responses=answers(404, 409))
def verify_version(name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> list[FileBody]:
    """Read every stored file again and compare it with its digest; 409 names the file that differs."""
    with runtime.catalog.read() as transaction:
        row = models.version_of(transaction, user.user.id, name, version)
    manifest = published.verify(runtime, row)
    return [FileBody(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files]


@router.get(
    "/models/{name}/{version}/files/{path:path}",
    response_class=StreamingResponse,
    responses=answers(404, 409),
)
def download_file(
    name: str, version: str, path: str, runtime: RuntimeDep, user: CurrentUser
) -> StreamingResponse:
    """One file of a version."""
    with runtime.catalog.read() as transaction:
        row = models.version_of(transaction, user.user.id, name, version)
    manifest = published.manifest_of(runtime, row)
    file = next((file for file in manifest.files if file.path == path), None)
    if file is None:
        raise VersionNotFound(f"{name} {version} has no file {path!r}. See: GET /api/models/{name}/{version}")
    return send_object(
        runtime,
        f"{row.url}/{file.path}",
        f"{name}_{version}_{file.path}",
        file.media_type,
        sha256=file.sha256,
        size=file.size,
    )


@router.delete("/models/{name}/{version}", status_code=204, responses=answers(404))
def delete_version(name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> None:
    """Delete one version; predictions made with it stay."""
    published.remove(runtime, user.user.id, name, version)
