"""Say whose model a name means: NAME is one's own, @OWNER/NAME that of an organisation or of someone who shares it.

In an address of a page or of the API a tilde stands for the stroke, @OWNER~NAME.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ecluse.catalog import Transaction, sharing
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput, ModelNotFound
from ecluse.models.versions import resolve
from ecluse.registry import LATEST, is_version
from ecluse.runtime import Runtime
from ecluse.sentences import _

_LONG: Final = re.compile(r"@([a-z0-9-]{1,40})[/~]([A-Za-z0-9][A-Za-z0-9._-]{0,63})")


@dataclass(frozen=True)
class Place:
    """Whose model a name means to a reader. `address` is the reader's name for it, `segment` that in an address.

    `may_change`: it is the reader's own, or of an organisation in which the reader makes and changes things.
    """

    owner_id: str
    name: str
    handle: str | None = None
    may_change: bool = True

    @property
    def is_own(self) -> bool:
        return self.handle is None

    @property
    def address(self) -> str:
        return self.name if self.handle is None else f"@{self.handle}/{self.name}"

    @property
    def segment(self) -> str:
        return segment_of(self.address)


def segment_of(address: str) -> str:
    """Return the name by which someone asks for a model as an address has it: @OWNER~NAME."""
    return address.replace("/", "~", 1)


def page_of(address: str, version: str) -> str:
    """Return the page of a version of a model, by the name by which its reader asks for the model."""
    return f"/models/{segment_of(address)}/{version}"


def place_of(transaction: Transaction, reader_id: str, name: str) -> Place:
    """Return whose model a name means: NAME is the reader's own, @OWNER/NAME that of another.

    Raises:
        ModelNotFound: there is no such model of another that the reader may see.
    """
    if not name.startswith("@"):
        return Place(reader_id, name)
    match = _LONG.fullmatch(name)
    owner = sharing.owner_of(transaction, reader_id, match[1], match[2]) if match else None
    if match is None or owner is None:
        raise ModelNotFound(_('No model "%(name)s". See: ecluse models list', name=_as_written(name)))
    owner_id, may_change = owner
    return Place(owner_id, match[2], None if owner_id == reader_id else match[1], may_change)


def place_to_change(runtime: Runtime, person_id: str, name: str) -> Place:
    """Return whose model a name means, for what changes it: one's own, or of an organisation where one may.

    Raises:
        Forbidden: the person may read it, and not change it.
        ModelNotFound: it is someone else's.
    """
    with runtime.catalog.read() as transaction:
        return _expect_change(transaction, place_of(transaction, person_id, name))


def place_to_make(runtime: Runtime, person_id: str, name: str) -> Place:
    """Return whose model a name is to be, which need not be there yet: one's own, or that of an organisation.

    Raises:
        Forbidden: the person may read what is the organisation's, or such a model, and not change it.
        ModelNotFound: it would be someone else's.
    """
    if not name.startswith("@"):
        return Place(person_id, name)
    match = _LONG.fullmatch(name)
    with runtime.catalog.read() as transaction:
        maker = sharing.maker_of(transaction, person_id, match[1]) if match else None
        if match is None or maker is None:
            return _expect_change(transaction, place_of(transaction, person_id, name))
        owner_id, may_change = maker
        place = Place(owner_id, match[2], None if owner_id == person_id else match[1], may_change)
        return _expect_change(transaction, place)


def resolve_readable(runtime: Runtime, user_id: str, reference: str) -> ModelVersion:
    """Return the version that a reference means, also of a model of another that one may see: @OWNER/NAME@ALIAS.

    Raises:
        ModelNotFound, VersionNotFound, InvalidInput: as `resolve`, and where the person may not see it.
    """
    return _resolve(runtime, user_id, reference, to_change=False)


def resolve_changeable(runtime: Runtime, user_id: str, reference: str) -> ModelVersion:
    """Return the version that a reference means, of a model that one may change. Raises as `resolve_readable`.

    Raises:
        Forbidden: the person may read it, and not change it.
    """
    return _resolve(runtime, user_id, reference, to_change=True)


def address_of(runtime: Runtime, reader_id: str, row: ModelVersion) -> str:
    """Return the name by which a person who may see a version asks for its model."""
    if row.user_id == reader_id:
        return row.name
    with runtime.catalog.read() as transaction:
        return Place(row.user_id, row.name, sharing.handle_of(transaction, row.user_id)).address


def _as_written(name: str) -> str:
    """Return the name of a model as people write it, @OWNER/NAME, where it came in an address."""
    return name.replace("~", "/", 1)


def _resolve(runtime: Runtime, user_id: str, reference: str, *, to_change: bool) -> ModelVersion:
    if not reference.startswith("@"):
        return resolve(runtime, user_id, reference)
    name, at, which = reference[1:].partition("@")
    if at and not which:
        raise InvalidInput(
            _(
                "%(value)s names no model. Write @OWNER/NAME, @OWNER/NAME@VERSION or @OWNER/NAME@ALIAS.",
                value=repr(_as_written(reference)),
            )
        )
    with runtime.catalog.read() as transaction:
        place = place_of(transaction, user_id, f"@{name}")
        if to_change:
            _expect_change(transaction, place)
        if which and which != LATEST and not is_version(which):
            which = alias_rows.alias_of(transaction, place.owner_id, place.name, which).version
        version = None if which in ("", LATEST) else which
        return rows.version_of(transaction, place.owner_id, place.name, version)


def _expect_change(transaction: Transaction, place: Place) -> Place:
    if not place.may_change:
        raise sharing.refusal(transaction, place.owner_id, place.address)
    return place
