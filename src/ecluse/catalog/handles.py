"""Give every owner a handle, by which others call what it shares: @anna/fraud."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import FormerHandle, User
from ecluse.errors import InvalidInput
from ecluse.sentences import _

_HANDLE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
#: Characters of a handle, so that @OWNER/NAME has at most 100.
_LONGEST: Final = 32
#: What stands in addresses where the handle of an organisation does.
_OF_ADDRESSES: Final = frozenset({"join"})
#: Characters of what is made of an address; the rest of a handle is for a number.
_FROM_ADDRESS: Final = 26


def checked_handle(handle: str) -> str:
    """Return what can be the handle of an organisation; `InvalidInput` otherwise."""
    if not _HANDLE.fullmatch(handle) or handle in _OF_ADDRESSES:
        raise InvalidInput(
            _(
                "%(value)s cannot be a handle: use 1 to %(count)s small letters, digits or hyphens, beginning and "
                "ending with a letter or digit.",
                value=repr(handle),
                count=_LONGEST,
            )
        )
    return handle


def keep(transaction: Transaction, handle: str | None) -> None:
    """Note the handle of an owner who ends, so that nobody else is called so: names of models contain it."""
    if handle is not None and not was_used(transaction, handle):
        transaction.add(FormerHandle(digest=_digest(handle)))
        transaction.flush()


def was_used(transaction: Transaction, handle: str) -> bool:
    """Return whether an owner who has ended had a handle."""
    return transaction.get(FormerHandle, _digest(handle)) is not None


def _digest(handle: str) -> str:
    return hashlib.sha256(handle.encode()).hexdigest()


def free_handle(transaction: Transaction, email: str) -> str:
    """Return a handle for the owner of an address that nobody has or had; hold the accounts, so that it stays free."""
    stem = stem_of(email)
    taken_already = set(
        transaction.scalars(select(User.handle).where(User.handle.startswith(stem, autoescape=True)))
    )
    used = {handle for handle in taken_already if handle}
    while was_used(transaction, handle := first_free(stem, used)):
        used.add(handle)
    return handle


def stem_of(email: str) -> str:
    """Return what stands before the @ of an address, as a handle can be written."""
    local = unicodedata.normalize("NFKD", email.partition("@")[0].lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", local)[:_FROM_ADDRESS].strip("-") or "person"


def first_free(stem: str, used: Collection[str]) -> str:
    """Return the stem, or the stem with the first number that makes it unlike all that are used."""
    handle, number = stem, 2
    while handle in used:
        handle, number = f"{stem}-{number}", number + 1
    return handle
