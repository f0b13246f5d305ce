"""Share a model with a person, an organisation or by a link, take that back, and name what others share.

A shared model is called `@OWNER/NAME`; in an address of a page or of the API a tilde stands for the stroke.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ecluse.accounts import checked_email
from ecluse.accounts.access import digest
from ecluse.catalog import Transaction, audit, sharing
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelAlias, ModelVersion, Share, User, now
from ecluse.errors import Forbidden, InvalidInput, ModelNotFound, NotFound
from ecluse.models.versions import resolve
from ecluse.registry import LATEST, is_version
from ecluse.runtime import Runtime
from ecluse.sentences import _

#: Days that a share may last, and a link does unless it is said otherwise.
MOST_DAYS: Final = 365
LINK_DAYS: Final = 7
_SHARED: Final = re.compile(r"@([a-z0-9-]{1,40})[/~]([A-Za-z0-9][A-Za-z0-9._-]{0,63})")
_NO_LINK: Final = _("This link was taken back or is too old. Ask whoever sent it for a new one.")


@dataclass(frozen=True)
class Place:
    """Whose model a name means to a reader. `address` is the reader's name for it, `segment` that in an address."""

    owner_id: str
    name: str
    handle: str | None = None

    @property
    def is_own(self) -> bool:
        return self.handle is None

    @property
    def address(self) -> str:
        return self.name if self.handle is None else f"@{self.handle}/{self.name}"

    @property
    def segment(self) -> str:
        return self.address.replace("/", "~")


@dataclass(frozen=True)
class SharedModel:
    """A model of someone else at its newest version, and its owner."""

    row: ModelVersion
    owner: User
    aliases: tuple[ModelAlias, ...]

    @property
    def place(self) -> Place:
        return Place(self.owner.id, self.row.name, self.owner.handle or "")


@dataclass(frozen=True)
class Shown:
    """A share, as the owner sees it. `with_whom`: an address, a handle with its @, or nothing for a link."""

    id: str
    kind: str
    with_whom: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Reader:
    """With whom a model is shared, by an address or the handle of an organisation; by a link where both are empty."""

    email: str = ""
    organisation: str = ""


# Read


def place_of(transaction: Transaction, reader_id: str, name: str) -> Place:
    """Return whose model a name means: NAME is the reader's own, @OWNER/NAME that of another.

    Raises:
        ModelNotFound: there is no such model of another that the reader may see.
    """
    if not name.startswith("@"):
        return Place(reader_id, name)
    match = _SHARED.fullmatch(name)
    owner_id = sharing.owner_of(transaction, reader_id, match[1], match[2]) if match else None
    if match is None or owner_id is None:
        raise ModelNotFound(_('No model "%(name)s". See: ecluse models list', name=name))
    return Place(owner_id, match[2], None if owner_id == reader_id else match[1])


def own_name(runtime: Runtime, user_id: str, name: str) -> str:
    """Return the name of a model of one's own, for what changes it.

    Raises:
        Forbidden: it is shared with the person, to be read.
        ModelNotFound: it is someone else's.
    """
    if not name.startswith("@"):
        return name
    with runtime.catalog.read() as transaction:
        place = place_of(transaction, user_id, name)
    if not place.is_own:
        raise Forbidden(
            _("%(name)s is shared with you to be read. Ask its owner to change it.", name=place.address)
        )
    return place.name


def resolve_readable(runtime: Runtime, user_id: str, reference: str) -> ModelVersion:
    """Return the version that a reference means, also of a model that others share: @OWNER/NAME@ALIAS.

    Raises:
        ModelNotFound, VersionNotFound, InvalidInput: as `resolve`, and where the person may not see it.
    """
    if not reference.startswith("@"):
        return resolve(runtime, user_id, reference)
    name, at, which = reference[1:].partition("@")
    if at and not which:
        raise InvalidInput(
            _(
                "%(value)s names no model. Write @OWNER/NAME, @OWNER/NAME@VERSION or @OWNER/NAME@ALIAS.",
                value=repr(reference),
            )
        )
    with runtime.catalog.read() as transaction:
        place = place_of(transaction, user_id, f"@{name}")
        if which and which != LATEST and not is_version(which):
            which = alias_rows.alias_of(transaction, place.owner_id, place.name, which).version
        version = None if which in ("", LATEST) else which
        return rows.version_of(transaction, place.owner_id, place.name, version)


def address_of(runtime: Runtime, reader_id: str, row: ModelVersion) -> str:
    """Return the name by which a person who may see a version asks for its model."""
    if row.user_id == reader_id:
        return row.name
    with runtime.catalog.read() as transaction:
        return Place(row.user_id, row.name, sharing.handle_of(transaction, row.user_id)).address


def list_shared(runtime: Runtime, reader_id: str, *, limit: int, offset: int = 0) -> list[SharedModel]:
    """List the models that others share with a person, by owner and name."""
    with runtime.catalog.read() as transaction:
        pairs = sharing.shared_models(transaction, reader_id, limit=limit, offset=offset)
        aliases = sharing.aliases_of(transaction, [row for row, _owner in pairs])
    pointing: dict[tuple[str, str], list[ModelAlias]] = {}
    for alias in aliases:
        pointing.setdefault((alias.user_id, alias.name), []).append(alias)
    return [SharedModel(row, owner, tuple(pointing.get((row.user_id, row.name), ()))) for row, owner in pairs]


def count_shared(runtime: Runtime, reader_id: str) -> int:
    """Count the models that others share with a person."""
    with runtime.catalog.read() as transaction:
        return sharing.count_shared_models(transaction, reader_id)


# Share


def share(
    runtime: Runtime, user_id: str, name: str, reader: Reader, days: int | None = None
) -> tuple[Shown, str | None]:
    """Share a model, all its versions, until that is taken back or `days` are over; the share, and a link's secret.

    Whether an address has an account does not show. Where it has none, the share opens nothing, now or later.

    Raises:
        ModelNotFound: the user has no model of this name.
        NotFound: the user belongs to no such organisation.
        InvalidInput: the address is none, it is shared with oneself, or would last too long.
    """
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise InvalidInput(
            _(
                "A share lasts 1 to %(most)s days, or until it is taken back; not %(days)s days.",
                most=MOST_DAYS,
                days=days,
            )
        )
    with runtime.catalog.write() as transaction:
        rows.hold_versions(transaction, user_id, name)
        row = Share(owner_id=user_id, kind=sharing.MODELS, name=name)
        row.expires_at = None if days is None else now() + timedelta(days=days)
        organisation, secret = _set_reader(transaction, row, reader)
        if row.reader_id == user_id:
            raise InvalidInput(_("It is yours already. Name someone else."))
        sharing.add(transaction, row)
        shown = _shown(row, organisation)
        audit.record(
            transaction, user_id, "model.share", name, kind=shown.kind, reader=shown.with_whom, id=row.id
        )
    return shown, secret


def _set_reader(transaction: Transaction, row: Share, reader: Reader) -> tuple[User | None, str | None]:
    """Note in a share who reads; the organisation, where it is one, and the secret of a link."""
    if reader.email:
        row.email = checked_email(reader.email)
        person = sharing.owner_with(transaction, row.email)
        row.reader_id = None if person is None else person.id
        return None, None
    if reader.organisation:
        handle = reader.organisation.strip().removeprefix("@")
        organisation = sharing.organisation_of(transaction, row.owner_id, handle)
        row.reader_id = organisation.id
        return organisation, None
    secret = secrets.token_urlsafe(32)
    row.secret_hash = digest(secret)
    row.expires_at = row.expires_at or now() + timedelta(days=LINK_DAYS)
    return None, secret


def shares(runtime: Runtime, user_id: str, name: str) -> list[Shown]:
    """List what a model is shared by, the newest first.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    with runtime.catalog.read() as transaction:
        rows.count_versions(transaction, user_id, name)
        return [
            _shown(row, reader) for row, reader in sharing.list_of(transaction, user_id, sharing.MODELS, name)
        ]


def unshare(runtime: Runtime, user_id: str, name: str, share_id: str) -> None:
    """Take a share back, from the next request on; of a link, from all who came by it.

    Raises:
        NotFound: there is no such share of this model.
    """
    with runtime.catalog.write() as transaction:
        if sharing.remove(transaction, user_id, sharing.MODELS, name, share_id) is None:
            raise NotFound(_("%(name)s is not shared by %(value)s.", name=name, value=share_id))
        audit.record(transaction, user_id, "model.unshare", name, id=share_id)


def look_at_link(runtime: Runtime, secret: str) -> Place:
    """Return the model that a link leads to, whoever holds it.

    Raises:
        NotFound: it was taken back, is too old, or never was one.
    """
    with runtime.catalog.read() as transaction:
        link = sharing.link_by(transaction, digest(secret))
    if link is None:
        raise NotFound(_NO_LINK)
    row, owner = link
    return Place(owner.id, row.name, owner.handle or "")


def open_link(runtime: Runtime, user_id: str, secret: str) -> Place:
    """Let a person see what a link leads to, until the link ends; the owner's own stays as it is.

    Raises:
        NotFound: it was taken back, is too old, or never was one.
    """
    place = look_at_link(runtime, secret)  # a guess takes no turn at writing
    if place.owner_id == user_id:
        return Place(user_id, place.name)
    with runtime.catalog.write() as transaction:
        link = sharing.link_by(transaction, digest(secret), held=True)
        if link is None:
            raise NotFound(_NO_LINK)
        row, _owner = link
        mine = Share(
            owner_id=row.owner_id,
            kind=row.kind,
            name=row.name,
            reader_id=user_id,
            by_link_id=row.id,
            expires_at=row.expires_at,
        )
        sharing.add(transaction, mine)
        audit.record(transaction, user_id, "model.open_link", place.address, id=row.id)
    return place


def _shown(row: Share, reader: User | None) -> Shown:
    if row.secret_hash is not None:
        return Shown(row.id, "link", "", row.created_at, row.expires_at)
    if row.email is not None:
        return Shown(row.id, "person", row.email, row.created_at, row.expires_at)
    kind = (
        "opened"
        if row.by_link_id
        else "organisation"
        if reader and reader.kind == "organisation"
        else "person"
    )
    handle = f"@{reader.handle}" if reader and reader.handle else ""
    return Shown(row.id, kind, handle, row.created_at, row.expires_at)
