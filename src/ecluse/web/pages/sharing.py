"""Share a thing of any kind, see and take back what is shared, open a link, and look at models of others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Form, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse import shares
from ecluse.accounts import SignedIn
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models, organisations, sharing
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import (
    EcluseError,
    InvalidInput,
    ManifestInvalid,
    SettingsError,
    StorageError,
    VersionNotFound,
)
from ecluse.models import Place, Reader, Shown
from ecluse.registry import ManifestFile
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.web.comparison import figures_of, settings_of
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep, address_of
from ecluse.web.templating import render

router = Declarations()


class ShareForm(BaseModel):
    """With whom a thing is shared, as the form has it."""

    with_whom: str = ""
    email: str = ""
    organisation: str = ""
    days: str = ""


@dataclass(frozen=True)
class _Shared:
    """What the page of sharing is about: its page, where its form is, and what it is shared by.

    `shelf` and `title`: the page of all of its kind. `address`: by which name others ask for it, of a model.
    """

    kind: str
    title: str
    shelf: str
    called: str
    page: str
    place: str
    address: str | None
    shares: tuple[Shown, ...]


#: Versions and files that the page of a shared model lists; the rest is in the API.
LISTED: Final = 100


@router.get("/models/{name}/sharing")
def show_sharing(request: Request, name: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show with whom a model is shared, and the form that shares it, to who may change it."""
    return _page(request, runtime, user, _of_model(runtime, user, name))


@router.post("/models/{name}/sharing")
def share(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, form: Annotated[ShareForm, Form()]
) -> Response:
    """Share a model with a person, an organisation or by a link, which is shown this once."""
    shared = _of_model(runtime, user, name)

    def act(reader: Reader, days: int | None) -> tuple[Shown, str | None]:
        return published.share(runtime, user.user.id, shared.called, reader, days)

    return _shared(request, runtime, user, shared, form, act)


@router.post("/models/{name}/sharing/{share}/take-back")
def take_back(name: str, share: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Take a share back."""
    shared = _of_model(runtime, user, name)
    published.unshare(runtime, user.user.id, shared.called, share)
    return RedirectResponse(shared.place, 303)


@router.get("/sharing/{kind}/{thing}")
def show_sharing_of(
    request: Request, kind: str, thing: str, runtime: RuntimeDep, user: CurrentUser
) -> Response:
    """Show with whom a thing is shared, and the form that shares it, to who may change it."""
    return _page(request, runtime, user, _of_thing(runtime, user, kind, thing))


@router.post("/sharing/{kind}/{thing}")
def share_thing(
    request: Request,
    kind: str,
    thing: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    form: Annotated[ShareForm, Form()],
) -> Response:
    """Share a thing with a person, an organisation or by a link, which is shown this once."""
    shared = _of_thing(runtime, user, kind, thing)

    def act(reader: Reader, days: int | None) -> tuple[Shown, str | None]:
        return shares.share_by_id(runtime.catalog, user.user.id, kind, thing, reader, days)

    return _shared(request, runtime, user, shared, form, act)


@router.post("/sharing/{kind}/{thing}/{share}/take-back")
def take_thing_back(kind: str, thing: str, share: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Take a share of a thing back."""
    shares.unshare_by_id(runtime.catalog, user.user.id, kind, thing, share)
    return RedirectResponse(f"/sharing/{kind}/{thing}", 303)


@router.get("/shared/{secret}")
def show_link(request: Request, secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Ask before a link is opened."""
    opened = shares.look_at_link(runtime.catalog, secret)
    is_model = opened.kind == sharing.MODELS
    heading = N_("A model is shared with you") if is_model else shares.kind_named(opened.kind).opened
    return render(request, "shared_link.html", {"opened": opened, "secret": secret, "heading": heading})


@router.post("/shared/{secret}")
def open_link(secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """See what a link leads to, until it ends."""
    return RedirectResponse(shares.open_link(runtime.catalog, user.user.id, secret).page, 303)


def shared_page(
    request: Request, runtime: Runtime, reader_id: str, place: Place, version: str | None = None
) -> Response:
    """Show a model of someone else, at a version or its newest, to a reader who may see it.

    It tells of the model alone: not of the table that it was trained on, nor of what its owner did with it.
    """
    with runtime.catalog.read() as transaction:
        row = models.version_of(transaction, place.owner_id, place.name, version)
        versions = models.versions_page(transaction, place.owner_id, place.name, limit=LISTED)
        aliases = alias_rows.list_aliases(transaction, place.owner_id, place.name)
        belongs = organisations.membership_of(transaction, place.owner_id, reader_id) is not None
    files, unreadable = _files(runtime, row)
    pointing: dict[str, list[str]] = {}
    for alias in aliases:
        pointing.setdefault(alias.version, []).append(alias.alias)
    context = {
        "place": place,
        "belongs": belongs,
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


def _reader(form: ShareForm) -> Reader:
    """Return whom a form names."""
    if form.with_whom == "link":
        return Reader()
    if form.with_whom == "person" and form.email.strip():
        return Reader(email=form.email.strip())
    if form.with_whom == "organisation" and form.organisation:
        return Reader(organisation=form.organisation)
    raise InvalidInput(_("Choose with whom it is shared: name a person, an organisation, or make a link."))


def _days(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(_("%(value)s is no number of days.", value=repr(text))) from None


def _of_model(runtime: Runtime, user: SignedIn, name: str) -> _Shared:
    place = published.place_to_change(runtime, user.user.id, name)
    return _Shared(
        kind=sharing.MODELS,
        title=N_("Models"),
        shelf="/models",
        called=place.address,
        page=f"/models/{place.segment}",
        place=f"/models/{place.segment}/sharing",
        address=f"@{user.user.handle}/{place.name}" if place.is_own else place.address,
        shares=tuple(published.shares(runtime, user.user.id, place.address)),
    )


def _of_thing(runtime: Runtime, user: SignedIn, kind: str, id_: str) -> _Shared:
    thing, listed = shares.shares_by_id(runtime.catalog, user.user.id, kind, id_)
    of = shares.kind_named(kind)
    return _Shared(
        kind=kind,
        title=of.title,
        shelf=of.shelf,
        called=thing.called,
        page=of.page.format(id=thing.name),
        place=f"/sharing/{kind}/{thing.name}",
        address=None,
        shares=tuple(listed),
    )


def _shared(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    shared: _Shared,
    form: ShareForm,
    act: Callable[[Reader, int | None], tuple[Shown, str | None]],
) -> Response:
    """Share what a form says, and show the page again: with the link, or why that was refused."""
    try:
        shown, secret = act(_reader(form), _days(form.days))
    except EcluseError as error:
        if error.status not in (404, 422):
            raise
        return _page(request, runtime, user, shared, error=error, typed=form.email)
    if secret is None:
        return RedirectResponse(f"{shared.place}#{shown.id}", 303)
    shared = dataclasses.replace(shared, shares=(shown, *shared.shares))
    return _page(request, runtime, user, shared, link=f"{address_of(request)}/shared/{secret}")


def _page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    shared: _Shared,
    *,
    link: str | None = None,
    error: EcluseError | None = None,
    typed: str = "",
) -> Response:
    context = {
        "shared": shared,
        "organisations": runtime.accounts.organisations(user.user.id),
        "link": link,
        "typed": typed,
        "error": str(error) if error else None,
    }
    return render(request, "sharing.html", context, status=422 if error else 200)
