"""Show models and their versions, compare two, score with one, verify, name, hand out and delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse import upkeep
from ecluse.accounts import SignedIn
from ecluse.application import application_named, guarded, known_metrics, part, parts
from ecluse.catalog import Transaction, models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import (
    CannotSign,
    DigestMismatch,
    EcluseError,
    InvalidInput,
    ManifestInvalid,
    RegistryError,
    SettingsError,
    StorageError,
    VersionInUse,
    VersionNotFound,
)
from ecluse.jobs import Link
from ecluse.models import Place
from ecluse.registry import Manifest
from ecluse.runtime import Runtime
from ecluse.web.api.models import download_file
from ecluse.web.comparison import Figure, compare, figures_of, headline, settings_of
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import progress_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager, page_of
from ecluse.web.pages.sharing import shared_page
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
#: Files of a version that its page lists; the rest is in the API.
FILES_SHOWN: Final = 100
#: Bytes that are read again while the page waits: well under a second on a disk.
AT_ONCE: Final = 32_000_000
#: Conditions a search takes at most.
CONDITIONS: Final = 20
CARD: Final = "model_card.md"
VERSIONS_SHOWN: Final = 6


@router.get("/models")
def list_models(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    where: Annotated[list[str] | None, Query()] = None,
    page: PageNumber = 1,
    shared: PageNumber = 1,
) -> Response:
    """Show the newest version of each model, and of each that others share; or every version that fulfils all."""
    asked = [text.strip() for text in where or () if text.strip()][:CONDITIONS]
    conditions, wrong, error = list[published.Query](), "", None
    for text in asked:
        try:
            conditions.append(published.parse_condition(text))
        except InvalidInput as refused:
            wrong, error = text, refused
    if conditions:
        versions = published.search(runtime, user.user.id, conditions)
        pager = page_of(len(versions), page)
        shown = versions[pager.offset : pager.offset + pager.rows]
    else:
        with runtime.catalog.read() as transaction:
            pager = page_of(models.count_models(transaction, user.user.id), page)
            shown = models.list_latest(transaction, user.user.id, limit=PAGE_ROWS, offset=pager.offset)
    others, others_pager = list[published.SharedModel](), page_of(0, 1)
    if not asked:
        others, others_pager = _shared_page(runtime, user.user.id, shared)
    kept = [text for text in asked if text != wrong]
    context = {
        "listed": listed(runtime, user.user.id, shown),
        "pager": pager,
        "others": others,
        "others_pager": others_pager,
        "conditions": [(text, _models_url([other for other in kept if other != text])) for text in kept],
        "path_here": _models_url(kept),
        "typed": wrong,
        "error": str(error) if error else None,
        "figure_names": figure_names(words_of(request)),
    }
    return render(request, "models.html", context, status=error.status if error else 200)


def _shared_page(runtime: Runtime, user_id: str, page: int) -> tuple[list[published.SharedModel], Pager]:
    """Return a page of what others share; the last one where there are fewer."""
    offset = (page - 1) * PAGE_ROWS
    shown, total = published.list_shared(runtime, user_id, limit=PAGE_ROWS, offset=offset)
    pager = page_of(total, page)
    if pager.page < page:
        return _shared_page(runtime, user_id, pager.page)
    return shown, pager


@router.get("/models/{name}/compare")
def compare_versions(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, a: str = "", b: str = ""
) -> Response:
    """Two versions of one model beside each other: by default the newest, and the one before it."""
    return compare_page(request, runtime, user.user.id, name, (a, b))


@router.get("/models/{name}")
def show_versions(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1
) -> Response:
    """Show the versions of one model, newest first, a page at a time."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user.user.id, name)
    if not place.may_change:
        return shared_page(request, runtime, user.user.id, place)
    if not place.is_own:
        with runtime.catalog.read() as transaction:
            newest = models.version_of(transaction, place.owner_id, place.name)
        return model_page(request, runtime, newest, place=place, person_id=user.user.id)
    name = place.name
    with runtime.catalog.read() as transaction:
        pager = page_of(models.count_versions(transaction, user.user.id, name), page)
        versions = models.versions_page(transaction, user.user.id, name, limit=PAGE_ROWS, offset=pager.offset)
        latest = models.versions_page(transaction, user.user.id, name, limit=1)[0]
        sources = sources_of(transaction, versions)
    context = {
        "name": name,
        "listed": listed(runtime, user.user.id, versions),
        "latest": latest,
        "sources": sources,
        "pager": pager,
        "aliases": published.aliases(runtime, user.user.id, name),
        "figure_names": figure_names(words_of(request)),
    }
    return render(request, "model_versions.html", context)


@router.get("/models/{name}/{version}")
def show_model(request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """One version: what it was measured to do, on what, and its files."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user.user.id, name)
    if not place.may_change:
        return shared_page(request, runtime, user.user.id, place, version)
    return _page_to_change(request, runtime, user, place, version)


@router.post("/models/{name}/{version}/verify")
def verify(request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Read every stored file again and say whether it is what its manifest says; large ones in the background."""
    place = published.place_to_change(runtime, user.user.id, name)
    row = version_at(runtime, place, version)
    say = words_of(request)
    if row.size_bytes > AT_ONCE:
        upkeep.start_model_verification(runtime, user.user.id, place.address, row.version)
        return RedirectResponse(f"/models/{place.segment}/{row.version}", 303)
    try:
        manifest = published.verify(runtime, row)
    except RegistryError as error:
        return _page_to_change(request, runtime, user, place, version, FormOutcome(error=error))
    verified = say.ngettext(
        "%(count)s file, %(size)s.",
        "%(count)s files, %(size)s.",
        len(manifest.files),
        size=say.bytes(manifest.size),
    )
    return _page_to_change(request, runtime, user, place, version, FormOutcome(verified=verified))


@router.post("/models/{name}/{version}/alias")
def set_alias(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    alias: Annotated[str, Form()] = "",
) -> Response:
    """Make an alias of this version, or move it here."""
    place = published.place_to_change(runtime, user.user.id, name)
    row = version_at(runtime, place, version)
    try:
        published.set_alias(runtime, place.owner_id, place.name, alias.strip(), version)
    except (InvalidInput, DigestMismatch) as error:
        outcome = FormOutcome(error=error, alias=alias)
        return _page_to_change(request, runtime, user, place, version, outcome)
    return RedirectResponse(f"/models/{place.segment}/{row.version}#aliases", 303)


@router.post("/models/{name}/{version}/alias/{alias}/remove")
def remove_alias(name: str, version: str, alias: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Forget an alias; the version it pointed at stays."""
    place = published.place_to_change(runtime, user.user.id, name)
    row = version_at(runtime, place, version)
    published.remove_alias(runtime, place.owner_id, place.name, alias)
    return RedirectResponse(f"/models/{place.segment}/{row.version}#aliases", 303)


@router.post("/models/{name}/{version}/link")
def make_link(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    path: Annotated[str, Form()],
    hours: Annotated[int, Form(ge=1, le=168)] = 1,
) -> Response:
    """Make an address by which anyone may download one file for some hours, or say why there is none."""
    place = published.place_to_change(runtime, user.user.id, name)
    row = version_at(runtime, place, version)
    try:
        link = published.signed_link(runtime, row, path, timedelta(hours=hours))
    except (CannotSign, DigestMismatch) as error:
        outcome = FormOutcome(error=error, unsigned=path)
        return _page_to_change(request, runtime, user, place, version, outcome)
    return _page_to_change(request, runtime, user, place, version, FormOutcome(link=link))


@router.post("/models/{name}/{version}/delete")
def delete(request: Request, name: str, version: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Delete one version; what was scored with it stays."""
    place = published.place_to_change(runtime, user.user.id, name)
    version_at(runtime, place, version)
    try:
        published.remove(runtime, place.owner_id, place.name, version)
    except VersionInUse as error:
        return _page_to_change(request, runtime, user, place, version, FormOutcome(error=error))
    return RedirectResponse("/models", 303)


router.add_api_route("/models/{name}/{version}/files/{path:path}", download_file)


@dataclass(frozen=True)
class FormOutcome:
    """What a form on the page of a version came to, shown on that page.

    `error`: why it was refused, where `alias` or `unsigned` (a path) is what it was about; `verified`: what was read
    again; `link`: the address that was made.
    """

    error: EcluseError | None = None
    verified: str | None = None
    alias: str = ""
    link: published.SignedLink | None = None
    unsigned: str | None = None


@dataclass(frozen=True)
class ModelPage:
    """How an application shows a version of its own: a template, and what that needs beside what every one does."""

    template: str
    context: Mapping[str, Any]


@dataclass(frozen=True)
class Listed:
    """A version in a list, the aliases that point at it, and the figure that stands for it."""

    version: ModelVersion
    aliases: tuple[str, ...]
    figure: Figure | None


def compare_page(
    request: Request,
    runtime: Runtime,
    user_id: str,
    name: str,
    chosen: tuple[str, str],
    *,
    error: EcluseError | None = None,
    dataset: str = "",
) -> Response:
    """Show two versions of a model side by side, and the way to try both on the same rows.

    An empty one of `chosen` is the newest other version.
    """
    say = words_of(request)
    with runtime.catalog.read() as transaction:
        versions = models.list_versions(transaction, user_id, name)
        second = chosen[1] or versions[0].version
        first = chosen[0] or next((v.version for v in versions if v.version != second), second)
        rows = [models.version_of(transaction, user_id, name, version) for version in (first, second)]
        sources = sources_of(transaction, rows)
    pair = [_manifest(runtime, row)[0] for row in rows]
    comparison = compare(rows[0], rows[1], *pair)
    own = application_named(rows[1].application)
    brought = None if own is None else part(own, "model_comparison")
    context = {
        "name": name,
        "comparison": comparison,
        "versions": versions,
        "sides": listed(runtime, user_id, rows),
        "sources": sources,
        "splits": [None, None],
        "figures": [],
        "figure_names": figure_names(say),
        "families": {},
        "names": {},
        "tried": [],
        "tables": [],
        "lacking": frozenset(),
        "tables_total": 0,
        "suggested": None,
        "error": str(error) if error else None,
        "failed_application": "",
    }
    status = error.status if error else 200
    if own is not None and brought is not None:
        with guarded(own, "model_comparison", passing=(EcluseError,)):
            own_context = context | brought(runtime, user_id, rows, dataset, say)
            return render(request, "model_compare.html", own_context, status=status)
        context["failed_application"] = own.name
    return render(request, "model_compare.html", context, status=status)


def sources_of(transaction: Transaction, versions: Sequence[ModelVersion]) -> dict[str, Link]:
    """Find what versions were made from, by their ids; applications know that of their own."""
    sources: dict[str, Link] = {}
    for application, find in parts("sources"):
        own = [row for row in versions if row.application == application.name]
        if own:
            with guarded(application, "sources"), transaction.begin_nested():
                sources |= find(transaction, own)
    return sources


def listed(runtime: Runtime, user_id: str, versions: Sequence[ModelVersion]) -> list[Listed]:
    """Versions as a list shows them: with the aliases that point at them, and the figure that stands for each."""
    pointing: dict[tuple[str, str], list[str]] = {}
    for alias in published.aliases(runtime, user_id) if versions else ():
        pointing.setdefault((alias.name, alias.version), []).append(alias.alias)
    return [Listed(row, tuple(pointing.get((row.name, row.version), ())), headline(row)) for row in versions]


def figure_names(say: Words) -> dict[str, str]:
    """Name the figures that applications know; any other is called by its own name."""
    return {name: say._(metric.title) for name, metric in known_metrics().items()}


def _page_to_change(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    place: Place,
    version: str,
    outcome: FormOutcome | None = None,
) -> Response:
    """Show the page of a version to who may change it."""
    row = version_at(runtime, place, version)
    return model_page(request, runtime, row, outcome, place=place, person_id=user.user.id)


def model_page(
    request: Request,
    runtime: Runtime,
    version: ModelVersion,
    outcome: FormOutcome | None = None,
    *,
    place: Place | None = None,
    person_id: str = "",
) -> Response:
    """Show the page of one version: as its application shows it, else what its metadata say.

    `place` and `person_id`: whose model it is to whom, where that need not be the same. The page of an organisation's
    tells of the model alone, in the way of the core: what it was made of is seen by who has that.
    """
    say, user_id, outcome = words_of(request), version.user_id, outcome or FormOutcome()
    organisation = None if place is None or place.is_own else place
    called = version.name if organisation is None else organisation.address
    error = outcome.error
    manifest, unreadable = _manifest(runtime, version)
    with runtime.catalog.read() as transaction:
        versions = models.versions_page(transaction, user_id, version.name, limit=VERSIONS_SHOWN)
        versions_total = models.count_versions(transaction, user_id, version.name)
        sources = sources_of(transaction, [version]) if organisation is None else {}
    aliases = published.aliases(runtime, user_id, version.name)
    job = upkeep.verification_of(runtime, person_id or user_id, called, version.version)
    files = manifest.files if manifest else ()
    context = {
        "version": version,
        "address": called,
        "organisation": organisation.handle if organisation else None,
        "versions": listed(runtime, user_id, versions),
        "versions_total": versions_total,
        "sources": sources,
        "aliases": [alias_row.alias for alias_row in aliases if alias_row.version == version.version],
        "elsewhere": [alias_row for alias_row in aliases if alias_row.version != version.version],
        "alias": outcome.alias,
        "files": files[:FILES_SHOWN],
        "files_total": len(files),
        "unreadable": unreadable,
        "figure_names": figure_names(say),
        "verified": outcome.verified,
        "verifying": progress_of(runtime, job, say) if job else None,
        "link": outcome.link,
        "unsigned": outcome.unsigned,
        "error": str(error) if error else None,
        "blocked": isinstance(error, VersionInUse),
        "failed_application": "",
        "is_answering": is_answering(version),
    }
    status = error.status if error else 200
    own = application_named(version.application) if organisation is None else None
    make = None if own is None else part(own, "model_page")
    if own is not None and make is not None:
        # What is refused or cannot be read is answered as on any page; all else is a fault of the application.
        with guarded(own, "model_page", passing=(EcluseError,)):
            brought: ModelPage | None = make(runtime, version, manifest, say)
            if brought is None:
                return render(request, "model_plain.html", context | _plain(version), status=status)
            card = card_of(runtime, version, manifest) if manifest else None
            own_context = {**context, "card": card, **brought.context}
            return render(request, brought.template, own_context, status=status)
        context["failed_application"] = own.name
    return render(request, "model_plain.html", context | _plain(version), status=status)


def _plain(version: ModelVersion) -> dict[str, Any]:
    """Return what is known of a model of no application: the figures and settings its publisher gave with it."""
    return {"given": figures_of(version), "settings": settings_of(version)}


def _manifest(runtime: Runtime, version: ModelVersion) -> tuple[Manifest | None, str | None]:
    """Read what a version holds; where that cannot be read, say why. Its page opens all the same."""
    try:
        return published.manifest_of(runtime, version), None
    except (ManifestInvalid, VersionNotFound, StorageError, SettingsError) as error:
        return None, str(error)


def _models_url(conditions: Sequence[str]) -> str:
    return "/models" + (f"?{urlencode([('where', text) for text in conditions])}" if conditions else "")


def card_of(runtime: Runtime, version: ModelVersion, manifest: Manifest) -> str | None:
    """Read the text of the model card, where the version has one and it is intact."""
    if not any(file.path == CARD for file in manifest.files):
        return None
    try:
        with runtime.scratch() as folder:
            runtime.registry_of(version).fetch_file(manifest, CARD, folder / CARD)
            return (folder / CARD).read_text(encoding="utf-8")
    except (DigestMismatch, StorageError, SettingsError):
        return None  # the page must open: it is where the files are verified


def is_answering(version: ModelVersion) -> bool:
    """Say whether rows can be sent to a version, by what its row says of it."""
    application = application_named(version.application) if version.application else None
    return "columns" in version.details or (application is not None and bool(application.inference))


def readable_version(runtime: Runtime, user_id: str, name: str, version: str) -> ModelVersion:
    """Return a version of a model that a person may see, their own or one that is shared with them."""
    with runtime.catalog.read() as transaction:
        place = published.place_of(transaction, user_id, name)
        return models.version_of(transaction, place.owner_id, place.name, version)


def version_at(runtime: Runtime, place: Place, version: str) -> ModelVersion:
    """Return a version of the model of a place."""
    with runtime.catalog.read() as transaction:
        return models.version_of(transaction, place.owner_id, place.name, version)


def version_of(runtime: Runtime, user_id: str, name: str, version: str) -> ModelVersion:
    """Return a version of a model of one's own."""
    return version_at(runtime, Place(user_id, name), version)
