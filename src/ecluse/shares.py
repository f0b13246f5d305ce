"""Share a thing of any kind with a person, an organisation or by a link, list that, take it back, and open a link.

A kind that is shared by its id is described by a `Kind`: those of the core stand in `KINDS`, and applications declare
theirs in `sharable`. Models are shared by their names; see `ecluse.models.sharing`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from ecluse.accounts import checked_email
from ecluse.accounts.access import digest
from ecluse.application import leave_out, ours_first, part
from ecluse.catalog import Catalog, Transaction, audit, organisations, sharing, users
from ecluse.catalog.tables import Run, Share, User, UserTable, now
from ecluse.errors import InvalidInput, LinkOver, NotFound
from ecluse.sentences import N_, _
from ecluse.shapes import Address, Message, formats

#: Days that a share may last, and a link does unless it is said otherwise.
MOST_DAYS: Final = 365
LINK_DAYS: Final = 7
#: What is said of a link that leads nowhere.
NO_LINK: Final = _("This link was taken back or is too old. Ask whoever sent it for a new one.")


@dataclass(frozen=True)
class Thing:
    """What is shared. `name`: its name or id, as `shares.name` has it; `called`: as people call it."""

    kind: str
    owner_id: str
    name: str
    called: str


@dataclass(frozen=True)
class Kind:
    """A kind of things that are shared by their ids.

    `row`: the class of its rows, which have `id`, `user_id` and `created_at`. `called`: what people call one.
    `missing`: what is said of an id that nothing has. `title` and `shelf`: what all of them are called, and their
    page; `page`: that of one. `opened`: what is said to whom a link leads to one.
    """

    row: type[Any]
    called: Callable[[Transaction, Any], str]
    missing: Callable[[str], str]
    title: Message
    opened: Message
    shelf: Address
    page: Annotated[Address, formats(id="")]


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
    """With whom a thing is shared, by an address or the handle of an organisation; by a link where both are empty."""

    email: str = ""
    organisation: str = ""


@dataclass(frozen=True)
class Opened:
    """What a link leads to: its kind, owner, and how whoever opens it asks for it (`address`) and finds its page."""

    kind: str
    owner_id: str
    name: str
    called: str
    address: str
    page: str


@dataclass(frozen=True)
class OfOthers:
    """A thing that a person may see and that is not their own. `owner`: a handle; `page`: its address here."""

    kind: str
    id: str
    called: str
    owner: str
    page: str
    created_at: datetime


def _no_table(id_: str) -> str:
    return _("No table %(value)s. See your tables: GET /api/tables", value=repr(id_)[:100])


def _no_run(id_: str) -> str:
    return _("No run %(name)s. See: ecluse runs list", name=id_)


def _name(transaction: Transaction, row: UserTable | Run) -> str:
    return row.name


#: The kinds of the core.
KINDS: Final[Mapping[str, Kind]] = {
    sharing.TABLES: Kind(
        row=UserTable,
        called=_name,
        missing=_no_table,
        title=N_("Tables"),
        opened=N_("A table is shared with you"),
        shelf="/tables",
        page="/tables/{id}",
    ),
    sharing.RUNS: Kind(
        row=Run,
        called=_name,
        missing=_no_run,
        title=N_("Runs"),
        opened=N_("A run is shared with you"),
        shelf="/runs",
        page="/runs/{id}",
    ),
}
#: Characters of the name of a kind, as `shares.kind` holds it.
LONGEST_KIND: Final = 16


def kinds() -> Mapping[str, Kind]:
    """Return every kind that is shared by ids, by its name: those of the core, and what applications declare."""
    named = dict(KINDS)
    for application in ours_first():
        for word, reference in application.sharable.items():
            name = f"{application.name}_{word}"
            if len(name) > LONGEST_KIND:
                leave_out(
                    application, reference, f"sharable: {name} has more than {LONGEST_KIND} characters."
                )
            elif (kind := part(application, "sharable", reference)) is not None:
                named[name] = kind
    return named


def kind_named(name: str) -> Kind:
    """Return a kind by its name. Raises NotFound where nothing is shared under that."""
    named = kinds()
    kind = named.get(name)
    if kind is None:
        raise NotFound(
            _(
                "Things of the kind %(value)s are shared elsewhere or not at all. Known here: %(names)s; models at "
                "/api/models/NAME/shares.",
                value=repr(name[:40]),
                names=", ".join(named),
            )
        )
    return kind


def to_change(transaction: Transaction, person_id: str, kind: str, id_: str) -> Thing:
    """Return a thing that a person may change, which does not go before the transaction ends.

    Raises:
        NotFound: there is none, or it is not for them.
        Forbidden: the person may read it, and not change it.
    """
    of = kind_named(kind)
    row = sharing.row_to_change(transaction, of.row, person_id, id_)
    if row is None:
        other = sharing.readable_row(transaction, kind, of.row, person_id, id_)
        if other is None:
            raise NotFound(of.missing(id_))
        raise sharing.refusal(transaction, other.user_id, of.called(transaction, other))
    return Thing(kind, row.user_id, row.id, of.called(transaction, row))


def of_others(
    catalog: Catalog, reader_id: str, kind: str, *, limit: int, offset: int = 0
) -> tuple[list[OfOthers], int]:
    """List what of a kind a person's organisations have and others share with them, newest first; and count.

    Raises:
        NotFound: nothing is shared under the name of this kind.
    """
    of = kind_named(kind)
    with catalog.read() as transaction:
        rows, total = sharing.things_of_others(
            transaction, kind, of.row, reader_id, limit=limit, offset=offset
        )
        listed = [
            OfOthers(
                kind,
                row.id,
                of.called(transaction, row),
                owner.handle or "",
                of.page.format(id=row.id),
                row.created_at,
            )
            for row, owner in rows
        ]
    return listed, total


# Things by their ids


def share_by_id(
    catalog: Catalog, person_id: str, kind: str, id_: str, reader: Reader, days: int | None = None
) -> tuple[Shown, str | None]:
    """Share a thing until that is taken back or `days` are over; the share, and a link's secret. Raises as `share`.

    Raises:
        NotFound, Forbidden: there is no such thing, or the person may not change it.
    """
    with catalog.write() as transaction:
        thing = to_change(transaction, person_id, kind, id_)
        return share(transaction, person_id, thing, reader, days)


def shares_by_id(catalog: Catalog, person_id: str, kind: str, id_: str) -> tuple[Thing, list[Shown]]:
    """Return a thing and what it is shared by, the newest first. Raises as `share_by_id`."""
    with catalog.write() as transaction:
        thing = to_change(transaction, person_id, kind, id_)
        return thing, shares(transaction, thing)


def unshare_by_id(catalog: Catalog, person_id: str, kind: str, id_: str, share_id: str) -> None:
    """Take a share back; see `unshare`. Raises as `share_by_id`."""
    with catalog.write() as transaction:
        unshare(transaction, person_id, to_change(transaction, person_id, kind, id_), share_id)


# Any thing that the person may change, which does not go before the transaction ends


def share(
    transaction: Transaction, person_id: str, thing: Thing, reader: Reader, days: int | None
) -> tuple[Shown, str | None]:
    """Share a thing until that is taken back or `days` are over; the share, and a link's secret.

    Whether an address has an account does not show. Where it has none, the share opens nothing, now or later.

    Raises:
        NotFound: the person belongs to no such organisation.
        InvalidInput: the address is none, it is shared with who has it, or would last too long.
    """
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise InvalidInput(
            _(
                "A share lasts 1 to %(most)s days, or until it is taken back; not %(days)s days.",
                most=MOST_DAYS,
                days=days,
            )
        )
    row = Share(owner_id=thing.owner_id, kind=thing.kind, name=thing.name, made_by=person_id)
    row.expires_at = None if days is None else now() + timedelta(days=days)
    organisation, secret = _set_reader(transaction, person_id, row, reader)
    if row.reader_id in (person_id, thing.owner_id):
        raise InvalidInput(_("It is yours already. Name someone else."))
    sharing.add(transaction, row)
    shown = _shown(row, organisation)
    words = {"kind": shown.kind, "reader": shown.with_whom, "id": row.id}
    audit.record(transaction, person_id, f"{_singular(thing.kind)}.share", thing.called, **words)
    return shown, secret


def shares(transaction: Transaction, thing: Thing) -> list[Shown]:
    """List what a thing is shared by, the newest first."""
    listed = sharing.list_of(transaction, thing.owner_id, thing.kind, thing.name)
    return [_shown(row, reader) for row, reader in listed]


def unshare(transaction: Transaction, person_id: str, thing: Thing, share_id: str) -> None:
    """Take a share back, from the next request on; of a link, from all who came by it.

    Raises:
        NotFound: there is no such share of this thing.
    """
    if sharing.remove(transaction, thing.owner_id, thing.kind, thing.name, share_id) is None:
        raise NotFound(_("%(name)s is not shared by %(value)s.", name=thing.called, value=share_id))
    audit.record(transaction, person_id, f"{_singular(thing.kind)}.unshare", thing.called, id=share_id)


# Links


def look_at_link(catalog: Catalog, secret: str) -> Opened:
    """Return what a link leads to, whoever holds it.

    Raises:
        NotFound: it was taken back, is too old, never was one, or what it led to is gone.
    """
    with catalog.read() as transaction:
        link = sharing.link_by(transaction, digest(secret))
        if link is None:
            raise LinkOver(NO_LINK)
        return _opened(transaction, *link)


def open_link(catalog: Catalog, person_id: str, secret: str) -> Opened:
    """Let a person see what a link leads to, until the link ends; who sees it anyway gets nothing more.

    Raises:
        NotFound: as `look_at_link`.
    """
    opened = look_at_link(catalog, secret)  # a guess takes no turn at writing
    if opened.owner_id == person_id:
        return opened if opened.kind != sharing.MODELS else _own(opened)
    with catalog.write() as transaction:
        users.expect_person(transaction, person_id)
        # A row of their own would let them go on seeing it when they have left.
        if organisations.membership_of(transaction, opened.owner_id, person_id) is not None:
            return opened
        link = sharing.link_by(transaction, digest(secret), held=True)
        if link is None:
            raise LinkOver(NO_LINK)
        row, _owner = link
        mine = Share(
            owner_id=row.owner_id,
            kind=row.kind,
            name=row.name,
            reader_id=person_id,
            by_link_id=row.id,
            expires_at=row.expires_at,
            made_by=row.made_by,
        )
        sharing.add(transaction, mine)
        action = f"{_singular(row.kind)}.open_link"
        audit.record(transaction, person_id, action, opened.called, id=row.id)
    return opened


def _opened(transaction: Transaction, row: Share, owner: User) -> Opened:
    if row.kind == sharing.MODELS:
        address = f"@{owner.handle}/{row.name}"
        page = f"/models/{address.replace('/', '~')}"
        return Opened(row.kind, owner.id, row.name, address, address, page)
    kind = kinds().get(row.kind)
    thing = None if kind is None else transaction.get(kind.row, row.name)
    if kind is None or thing is None or thing.user_id != owner.id:
        raise LinkOver(NO_LINK)
    page = kind.page.format(id=row.name)
    return Opened(row.kind, owner.id, row.name, kind.called(transaction, thing), row.name, page)


def _own(opened: Opened) -> Opened:
    return replace(opened, called=opened.name, address=opened.name, page=f"/models/{opened.name}")


def _singular(kind: str) -> str:
    return kind.removesuffix("s")


def _set_reader(
    transaction: Transaction, person_id: str, row: Share, reader: Reader
) -> tuple[User | None, str | None]:
    """Note in a share who reads; the organisation, where it is one, and the secret of a link."""
    if reader.email:
        row.email = checked_email(reader.email)
        person = sharing.owner_with(transaction, row.email)
        row.reader_id = None if person is None else person.id
        return None, None
    if reader.organisation:
        handle = reader.organisation.strip().removeprefix("@")
        organisation, _role = organisations.find(transaction, person_id, handle)
        row.reader_id = organisation.id
        return organisation, None
    secret = secrets.token_urlsafe(32)
    row.secret_hash = digest(secret)
    row.expires_at = row.expires_at or now() + timedelta(days=LINK_DAYS)
    return None, secret


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
