"""Say what a token may do: its scopes, and the one model that it may be for.

A route of the API declares the scope that it takes (`ecluse.web.security`); a session has all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from ecluse.accounts.access import SignedIn
from ecluse.catalog.tables import ApiToken
from ecluse.errors import Forbidden, InvalidInput, OutOfScope
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


#: A model in an address: NAME, or @OWNER~NAME of others; after it @ and a version or an alias.
_SEGMENT: Final = re.compile(r"(?:(@[a-z0-9-]{1,40})~)?([^/@~]+)(?:@.*)?", re.DOTALL)


def model_named(segment: str) -> str:
    """Return the model that a part of an address is about, as tokens for one model have it: NAME or @OWNER/NAME."""
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        return segment
    return match[2] if match[1] is None else f"{match[1]}/{match[2]}"


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


#: What people do, whatever the scope of a token of a service account; and where a viewer's is answered by a model.
_FOR_PEOPLE: Final = re.compile(
    r"/api/(?:account|organisations|users|administration|shared/open)(?:/.*)?", re.DOTALL
)
#: What reads and is for those who may change things: links of the store, and with whom things are shared.
_FOR_MAKERS: Final = re.compile(r"/api/models/[^/]+/(?:[^/]+/signed|shares)|/api/shares/.*", re.DOTALL)
_ASKS: Final = re.compile(r"/api/models/[^/]+/predict|/v2/models/.*", re.DOTALL)


def expect_service_may(signed_in: SignedIn, scope: Scope, path: str) -> None:
    """Make sure that a service account may do what is at an address and takes this scope; people may, as far as this
    says.

    Raises:
        Forbidden: people do this; or the account is a viewer, who reads and asks models and leaves nothing behind.
    """
    service = signed_in.service
    if service is None:
        return
    if _FOR_PEOPLE.fullmatch(path):
        raise Forbidden(
            _("A service account does not do this: it acts for its organisation alone. A person does.")
        )
    reads = scope == Scope.READ and not _FOR_MAKERS.fullmatch(path)
    if service.role == "viewer" and not reads and not (scope == Scope.PREDICT and _ASKS.fullmatch(path)):
        raise Forbidden(
            _(
                "%(name)s is a viewer: it reads, and asks models at /api/models/NAME/predict and /v2. An owner of its "
                "organisation makes it a member.",
                name=service.name,
            )
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
                "This API token is for the model %(model)s alone: its addresses begin with /api/models/%(place)s. Make "
                "one for all models on your account page.",
                model=token.model,
                place=token.model.replace("/", "~"),
            )
        )
