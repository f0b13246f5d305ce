"""Say which versions of models can score transactions."""

from __future__ import annotations

from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: The application that a version belongs to: ours, or none, as of one that was published as a folder of files.
SCORING = ("fraud", "")


def may_score(version: ModelVersion) -> bool:
    """Return whether a version may score transactions; what belongs to no application is known once it is read."""
    return version.application in SCORING


def expect_may_score(version: ModelVersion) -> ModelVersion:
    """Return the version. Raises InvalidInput where it belongs to another application."""
    if not may_score(version):
        raise InvalidInput(
            _(
                "%(name)s is no model of transactions. Choose one that is: ecluse models list",
                name=version.name,
            )
        )
    return version
