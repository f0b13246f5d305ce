"""Choose the version that a function of an application is given as its model."""

from __future__ import annotations

from typing import Final

from ecluse import models
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import AliasNotFound, InvalidInput, ModelNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _

#: The alias whose version answers where no other is asked for.
SERVED: Final = "production"


def version_for(
    runtime: Runtime, user_id: str, snapshot: Snapshot, verb: Verb, reference: str = ""
) -> ModelVersion | None:
    """Return the version of a person that a function is given: the one asked for, else `production`, else the newest.

    None where the function takes no model, or there is none and it may lack.

    Raises:
        ModelNotFound, VersionNotFound: there is none.
        InvalidInput: another model is named: what it holds is not for this application to load.
    """
    if not verb.takes_model:
        return None
    name, at, _which = reference.partition("@")
    if at and name != snapshot.name:
        raise InvalidInput(
            _("%(value)s is no model of this application. Name a version of %(name)s.", value=repr(reference)[:100],
              name=snapshot.name)
        )  # fmt: skip
    if reference and reference != snapshot.name:
        return models.resolve(runtime, user_id, reference if at else f"{snapshot.name}@{reference}")
    try:
        return _served(runtime, user_id, snapshot.name)
    except ModelNotFound as error:
        if not verb.needs_model:
            return None
        if not snapshot.of_role("train"):
            raise
        raise ModelNotFound(
            _("Nothing is trained yet: press Train, or POST /api/%(name)s/train.", name=snapshot.name),
            command=f"ecluse {snapshot.name} train",
        ) from error


def _served(runtime: Runtime, user_id: str, name: str) -> ModelVersion:
    try:
        return models.resolve(runtime, user_id, f"{name}@{SERVED}")
    except AliasNotFound:
        return models.resolve(runtime, user_id, name)
