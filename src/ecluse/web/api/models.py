"""Find models, look into their versions, compare, name, verify, download and delete them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import StreamingResponse

from ecluse import models as published
from ecluse.accounts import SignedIn
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import VersionNotFound
from ecluse.runtime import Runtime
from ecluse.web.api.bodies import alias_body, comparison_body, file_body, model_body
from ecluse.web.api.schemas import (
    AliasBody,
    AliasRequest,
    ComparisonBody,
    FileBody,
    ModelBody,
    ModelDetail,
    SignedLinkBody,
)
from ecluse.web.comparison import compare
from ecluse.web.declarations import Declarations
from ecluse.web.downloads import send_object
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayPublish, MayRead, RuntimeDep

router = Declarations(tags=["models"])


@router.get("/models", responses=answers(422))
def list_models(
    runtime: RuntimeDep,
    user: MayRead,
    where: Annotated[
        list[str] | None,
        Query(description=f"All must hold, such as name=leaves and val_accuracy>0.9. {published.GRAMMAR}"),
    ] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000, description="With `per_page`: which page")] = 1,
    per_page: Annotated[
        int | None, Query(ge=1, le=200, description="Models of a page; without it: all of them")
    ] = None,
) -> list[ModelBody]:
    """Your models, each at its latest version. With conditions: every version that fulfils them, without pages."""
    if where:
        aliases = published.aliases(runtime, user.user.id)
        conditions = [published.parse_condition(text) for text in where]
        return [model_body(row, aliases) for row in published.search(runtime, user.user.id, conditions)]
    with runtime.catalog.look() as transaction:
        aliases = alias_rows.list_aliases(transaction, user.user.id)
        offset = 0 if per_page is None else (page - 1) * per_page
        rows = models.list_latest(transaction, user.user.id, limit=per_page, offset=offset)
        return [model_body(row, aliases) for row in rows]


@router.get("/models/{name}/versions", responses=answers(404))
def list_versions(name: str, runtime: RuntimeDep, user: MayRead) -> list[ModelBody]:
    """List the versions of a model, newest first: NAME is yours, @OWNER~NAME an organisation's or shared with you."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user.user.id, name)
        versions = models.list_versions(transaction, place.owner_id, place.name)
        aliases = alias_rows.list_aliases(transaction, place.owner_id, place.name)
    return [model_body(row, aliases, place) for row in versions]


@router.get("/models/{name}/compare", responses=answers(404, 409))
def compare_versions(
    name: str,
    runtime: RuntimeDep,
    user: MayRead,
    a: Annotated[str, Query(description="The version that b is compared with")],
    b: str,
) -> ComparisonBody:
    """Two versions: their figures with the difference, and the settings, columns and files that differ."""
    first, second = (_version(runtime, user, name, version) for version in (a, b))
    manifests = published.manifest_of(runtime, first), published.manifest_of(runtime, second)
    return comparison_body(compare(first, second, *manifests))


@router.get("/models/{name}/aliases", responses=answers(404))
def list_aliases(name: str, runtime: RuntimeDep, user: MayRead) -> list[AliasBody]:
    """List the aliases of a model, yours or one that is shared with you."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user.user.id, name)
        models.count_versions(transaction, place.owner_id, place.name)
        aliases = alias_rows.list_aliases(transaction, place.owner_id, place.name)
    return [alias_body(row, place) for row in aliases]


@router.get("/models/{name}/aliases/{alias}", responses=answers(404))
def show_alias(name: str, alias: str, runtime: RuntimeDep, user: MayRead) -> ModelBody:
    """Show the version that an alias points at."""
    row = published.resolve_readable(runtime, user.user.id, f"{name}@{alias}")
    return _body(runtime, user, name, row)


@router.put("/models/{name}/aliases/{alias}", responses=answers(404, 409))
def set_alias(
    name: str, alias: str, request: AliasRequest, runtime: RuntimeDep, user: MayPublish
) -> AliasBody:
    """Make an alias of a version, or move it there from another; 409 where that version is damaged."""
    place = published.place_to_change(runtime, user.user.id, name)
    row = published.set_alias(runtime, place.owner_id, place.name, alias, request.version)
    return alias_body(row, place)


@router.delete("/models/{name}/aliases/{alias}", status_code=204, responses=answers(404))
def remove_alias(name: str, alias: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Forget an alias; the version it pointed at stays."""
    place = published.place_to_change(runtime, user.user.id, name)
    published.remove_alias(runtime, place.owner_id, place.name, alias)


@router.get("/models/{name}/{version}", responses=answers(404, 409))
def show_version(name: str, version: str, runtime: RuntimeDep, user: MayRead) -> ModelDetail:
    """One version: its report, and its files with their digests."""
    row = _version(runtime, user, name, version)
    manifest = published.manifest_of(runtime, row)
    body = _body(runtime, user, name, row)
    files = [file_body(file) for file in manifest.files]
    return ModelDetail(**body.model_dump(), report=row.report, files=files)


@router.post("/models/{name}/{version}/verify", responses=answers(404, 409))
def verify_version(name: str, version: str, runtime: RuntimeDep, user: MayManage) -> list[FileBody]:
    """Read every stored file again and compare it with its digest; 409 names the file that differs."""
    row = _version_to_change(runtime, user, name, version)
    return [file_body(file) for file in published.verify(runtime, row).files]


@router.get("/models/{name}/{version}/signed", responses=answers(404, 409))
def sign_file(
    name: str,
    version: str,
    path: Annotated[str, Query(description="A file of the version")],
    runtime: RuntimeDep,
    user: MayRead,
    expires_s: Annotated[int, Query(ge=1, le=7 * 86400, description="Seconds it is good for")] = 3600,
) -> SignedLinkBody:
    """Make an address by which anyone may download one file until it expires; 409 where the store cannot sign."""
    row = _version_to_change(runtime, user, name, version)
    link = published.signed_link(runtime, row, path, timedelta(seconds=expires_s))
    return SignedLinkBody(
        path=path, url=link.url, expires_at=link.expires_at, size=link.file.size, sha256=link.file.sha256
    )


@router.get(
    "/models/{name}/{version}/files/{path:path}",
    response_class=StreamingResponse,
    responses=answers(404, 409, 416) | {206: {"description": "The part that `Range` asks for"}},
)
def download_file(
    request: Request, name: str, version: str, path: str, runtime: RuntimeDep, user: MayRead
) -> StreamingResponse:
    """One file of a version, or the part of it that a header `Range` asks for; the ETag is its SHA-256."""
    row = _version(runtime, user, name, version)
    manifest = published.manifest_of(runtime, row)
    file = next((file for file in manifest.files if file.path == path), None)
    if file is None:
        raise VersionNotFound(f"{name} {version} has no file {path!r}. See: GET /api/models/{name}/{version}")
    return send_object(
        runtime,
        f"{row.url}/{file.path}",
        f"{row.name}_{version}_{file.path}",
        file.media_type,
        sha256=file.sha256,
        size=file.size,
        asked=request.headers,
    )


@router.delete("/models/{name}/{version}", status_code=204, responses=answers(404))
def delete_version(name: str, version: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Delete one version; predictions made with it stay."""
    place = published.place_to_change(runtime, user.user.id, name)
    published.remove(runtime, place.owner_id, place.name, version)


def _version(runtime: Runtime, user: SignedIn, name: str, version: str) -> ModelVersion:
    """Return a version of a model that the user may see."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user.user.id, name)
        return models.version_of(transaction, place.owner_id, place.name, version)


def _version_to_change(runtime: Runtime, user: SignedIn, name: str, version: str) -> ModelVersion:
    """Return a version of a model that the user may change."""
    place = published.place_to_change(runtime, user.user.id, name)
    with runtime.catalog.read() as transaction:
        return models.version_of(transaction, place.owner_id, place.name, version)


def _body(runtime: Runtime, user: SignedIn, name: str, row: ModelVersion) -> ModelBody:
    """Describe a version that was found by a name, with the aliases that point at it."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user.user.id, name)
        aliases = alias_rows.list_aliases(transaction, row.user_id, row.name)
    return model_body(row, aliases, place)
