"""Share a model with a person, an organisation or by a link, take that back, and list what others share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ecluse import shares as any_shares
from ecluse.catalog import models as rows
from ecluse.catalog import sharing
from ecluse.catalog.shared_models import list_shared_models
from ecluse.catalog.tables import ModelAlias, ModelVersion, User
from ecluse.models.places import Place, place_to_change
from ecluse.runtime import Runtime
from ecluse.shares import Reader, Shown, Thing


@dataclass(frozen=True)
class SharedModel:
    """A model of someone else at its newest version, and its owner."""

    row: ModelVersion
    owner: User
    aliases: tuple[ModelAlias, ...]
    may_change: bool = False

    @property
    def place(self) -> Place:
        return Place(self.owner.id, self.row.name, self.owner.handle or "", self.may_change)


# Read


def list_shared(
    runtime: Runtime,
    reader_id: str,
    *,
    limit: int,
    offset: int = 0,
    applications: Collection[str] | None = None,
) -> tuple[list[SharedModel], int]:
    """List the models of a person's organisations, and those that others share with the person, by owner and name.

    Of a page those of some `applications`, where these are named. And how many there are in all, of any.
    """
    with runtime.catalog.look() as transaction:
        pairs, total = list_shared_models(
            transaction, reader_id, limit=limit, offset=offset, applications=applications
        )
        aliases = sharing.aliases_of(transaction, [row for row, _owner in pairs])
        making = sharing.makers_of(transaction, reader_id)
    pointing: dict[tuple[str, str], list[ModelAlias]] = {}
    for alias in aliases:
        pointing.setdefault((alias.user_id, alias.name), []).append(alias)
    models = [
        SharedModel(row, owner, tuple(pointing.get((row.user_id, row.name), ())), owner.id in making)
        for row, owner in pairs
    ]
    return models, total


# Share


def share(
    runtime: Runtime, user_id: str, name: str, reader: Reader, days: int | None = None
) -> tuple[Shown, str | None]:
    """Share a model, all its versions, until that is taken back or `days` are over; see `ecluse.shares.share`.

    `name`: of a model of one's own, or @ORGANISATION/NAME.

    Raises:
        ModelNotFound: there is no model of this name.
        Forbidden: it may be read and not changed.
    """
    place = place_to_change(runtime, user_id, name)
    with runtime.catalog.write() as transaction:
        rows.hold_versions(transaction, place.owner_id, place.name)
        return any_shares.share(transaction, user_id, _thing(place), reader, days)


def shares(runtime: Runtime, user_id: str, name: str) -> list[Shown]:
    """List what a model is shared by, the newest first. `name` and errors: as `share`."""
    place = place_to_change(runtime, user_id, name)
    with runtime.catalog.read() as transaction:
        rows.count_versions(transaction, place.owner_id, place.name)  # raises where there is none
        return any_shares.shares(transaction, _thing(place))


def unshare(runtime: Runtime, user_id: str, name: str, share_id: str) -> None:
    """Take a share back, from the next request on; of a link, from all who came by it. `name`: as `share`.

    Raises:
        NotFound: there is no such share of this model.
    """
    place = place_to_change(runtime, user_id, name)
    with runtime.catalog.write() as transaction:
        any_shares.unshare(transaction, user_id, _thing(place), share_id)


def _thing(place: Place) -> Thing:
    return Thing(sharing.MODELS, place.owner_id, place.name, place.address)
