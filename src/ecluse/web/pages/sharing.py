"""Share a model, see and take back what is shared, open a link, and look at what others share."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse.accounts import SignedIn
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import (
    EcluseError,
    InvalidInput,
    ManifestInvalid,
    SettingsError,
    StorageError,
    VersionNotFound,
)
from ecluse.models import Place
from ecluse.registry import ManifestFile
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.comparison import figures_of, settings_of
from ecluse.web.security import CurrentUser, RuntimeDep, address_of
from ecluse.web.templating import render

router = APIRouter()
Field = Annotated[str, Form()]
#: Versions and files that the page of a shared model lists; the rest is in the API.
LISTED: Final = 100


@router.get("/models/{name}/sharing")
def show_sharing(request: Request, name: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show with whom a model of one's own is shared, and the form that shares it."""
    return _sharing_page(request, runtime, user, published.own_name(runtime, user.user.id, name))


@router.post("/models/{name}/sharing")
def share(
    request: Request,
    name: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    with_whom: Field = "",
    email: Field = "",
    organisation: Field = "",
    days: Field = "",
) -> Response:
    """Share a model with a person, an organisation or by a link, which is shown this once."""
    own = published.own_name(runtime, user.user.id, name)
    try:
        reader = _reader(with_whom, email.strip(), organisation)
        shown, secret = published.share(runtime, user.user.id, own, reader, _days(days))
    except EcluseError as error:
        if error.status not in (404, 422):
            raise
        return _sharing_page(request, runtime, user, own, error=error, typed=email)
    if secret is None:
        return RedirectResponse(f"/models/{own}/sharing#{shown.id}", 303)
    return _sharing_page(request, runtime, user, own, link=f"{address_of(request)}/shared/{secret}")


@router.post("/models/{name}/sharing/{share}/take-back")
def take_back(name: str, share: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Take a share back."""
    own = published.own_name(runtime, user.user.id, name)
    published.unshare(runtime, user.user.id, own, share)
    return RedirectResponse(f"/models/{own}/sharing", 303)


@router.get("/shared/{secret}")
def show_link(request: Request, secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Ask before a link is opened."""
    place = published.look_at_link(runtime, secret)
    return render(request, "shared_link.html", {"place": place, "secret": secret})


@router.post("/shared/{secret}")
def open_link(secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """See what a link leads to, until it ends."""
    return RedirectResponse(f"/models/{published.open_link(runtime, user.user.id, secret).segment}", 303)


def shared_page(request: Request, runtime: Runtime, place: Place, version: str | None = None) -> Response:
    """Show a model of someone else, at a version or its newest, to who may see it.

    It tells of the model alone: not of the table that it was trained on, nor of what its owner did with it.
    """
    with runtime.catalog.read() as transaction:
        row = models.version_of(transaction, place.owner_id, place.name, version)
        versions = models.versions_page(transaction, place.owner_id, place.name, limit=LISTED)
        aliases = alias_rows.list_aliases(transaction, place.owner_id, place.name)
    files, unreadable = _files(runtime, row)
    pointing: dict[str, list[str]] = {}
    for alias in aliases:
        pointing.setdefault(alias.version, []).append(alias.alias)
    context = {
        "place": place,
        "version": row,
        "versions": versions,
        "pointing": pointing,
        "files": files[:LISTED],
        "files_total": len(files),
        "unreadable": unreadable,
        "given": figures_of(row),
        "settings": settings_of(row),
        "python": f'import ecluse\n\nmodel = ecluse.load("{place.address}@{row.version}")',
    }
    return render(request, "model_shared.html", context)


def _files(runtime: Runtime, row: ModelVersion) -> tuple[tuple[ManifestFile, ...], str | None]:
    """List the files of a version; where that cannot be read, say why."""
    try:
        return published.manifest_of(runtime, row).files, None
    except (ManifestInvalid, VersionNotFound, StorageError, SettingsError) as error:
        return (), str(error)


def _reader(with_whom: str, email: str, organisation: str) -> published.Reader:
    """Return whom a form names."""
    if with_whom == "link":
        return published.Reader()
    if with_whom == "person" and email:
        return published.Reader(email=email)
    if with_whom == "organisation" and organisation:
        return published.Reader(organisation=organisation)
    raise InvalidInput(_("Choose with whom it is shared: name a person, an organisation, or make a link."))


def _days(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(_("%(value)s is no number of days.", value=repr(text))) from None


def _sharing_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    name: str,
    *,
    link: str | None = None,
    error: EcluseError | None = None,
    typed: str = "",
) -> Response:
    context = {
        "name": name,
        "address": f"@{user.user.handle}/{name}",
        "shares": published.shares(runtime, user.user.id, name),
        "organisations": runtime.accounts.organisations(user.user.id),
        "link": link,
        "typed": typed,
        "error": str(error) if error else None,
    }
    return render(request, "model_sharing.html", context, status=422 if error else 200)
