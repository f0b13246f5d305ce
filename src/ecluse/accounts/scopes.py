"""Say what a token may do: its scopes, and the one model that it may be for.

A route of the API declares the scope that it takes (`ecluse.web.security`); a session has all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from ecluse.accounts.access import SignedIn
from ecluse.catalog.tables import ApiToken
from ecluse.errors import InvalidInput, OutOfScope
from ecluse.sentences import N_, _


class Scope(StrEnum):
    """What a program may do with what is its owner's."""

    READ = "read"
    PREDICT = "predict"
    PUBLISH = "publish"
    MANAGE = "manage"


#: What each lets a program do, as the account page says it.
MEANINGS: Final[dict[Scope, str]] = {
    Scope.READ: N_("lists, shows and downloads what is yours; changes nothing"),
    Scope.PREDICT: N_("asks models: sends rows, tables and images, and gets them answered"),
    Scope.PUBLISH: N_(
        "adds versions of models, sets aliases, records runs and starts trainings; removes nothing"
    ),
    Scope.MANAGE: N_("all of the API, removing too"),
}


def scopes_of(token: ApiToken) -> frozenset[Scope]:
    """Return the scopes of a token; words that this version does not know give none."""
    return frozenset(Scope(word) for word in token.scopes.split() if word in MEANINGS)


def as_text(scopes: Iterable[str]) -> str:
    """Return scopes as they are kept: words in one order; with `manage`, which includes the others, that alone.

    Raises:
        InvalidInput: there is none, or one that is not known.
    """
    chosen = set(scopes)
    if not chosen or chosen - set(MEANINGS):
        raise InvalidInput(
            _(
                "A token may do one or more of %(scopes)s; not %(value)s. Choose what its program needs.",
                scopes=", ".join(Scope),
                value=", ".join(sorted(chosen - set(MEANINGS))) or "-",
            )
        )
    return (
        Scope.MANAGE.value
        if Scope.MANAGE in chosen
        else " ".join(scope for scope in Scope if scope in chosen)
    )


def expect_scope(signed_in: SignedIn, scope: Scope, model: str | None) -> None:
    """Make sure that who asks may do what takes this scope, with this model (None: it is about no single one).

    Raises:
        OutOfScope: the token does not have the scope, or is for another model.
    """
    token = signed_in.token
    if token is None:
        return
    scopes = scopes_of(token)
    if scope not in scopes and Scope.MANAGE not in scopes:
        raise OutOfScope(
            _(
                "This API token is for %(scopes)s, and this takes %(scope)s. Make one for that on your account page, "
                "or in the terminal of this Écluse: ecluse token --scope %(scope)s",
                scopes=token.scopes.replace(" ", ", ") or "-",
                scope=scope.value,
            )
        )
    if token.model is not None and token.model != model:
        raise OutOfScope(
            _(
                "This API token is for the model %(model)s alone: its addresses begin with /api/models/%(model)s. Make "
                "one for all models on your account page.",
                model=token.model,
            )
        )
