"""List the ways to sign in: what each asks of a person, and by what of a request it knows who sends it.

A way is one value and its line in `WAYS`. The sign-in page, the pages and the API, the MLflow server and the log of
accounts are loops over these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ecluse.accounts.access import SignedIn
from ecluse.accounts.accounts import Accounts
from ecluse.accounts.cookies import SESSION_COOKIE
from ecluse.catalog.tables import User
from ecluse.errors import NotSignedIn, SecondFactorMissing
from ecluse.sentences import N_, _


@dataclass(frozen=True)
class Credentials:
    """What a request says of its sender: headers, whose names are small letters, and cookies, by their plain names."""

    headers: Mapping[str, str]
    cookies: Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """What a person gives to sign in, by the names of the fields, and from where.

    `browser` is the secret of `BROWSER_COOKIE`. `may_sign_up`: an account may be made of what a provider says;
    `invitation`: the secret of one that allows it;
    `return_address`: where the provider sends the browser back to.
    """

    values: Mapping[str, str]
    client: str = ""
    user_agent: str = ""
    browser: str | None = None
    may_sign_up: bool = False
    invitation: str = ""
    return_address: str = ""


@dataclass(frozen=True)
class Field:
    """A field of the sign-in page; `type` and `autocomplete` are those of HTML."""

    name: str
    label: str
    type: str = "text"
    autocomplete: str = "off"


@dataclass(frozen=True)
class Lead:
    """A link of the sign-in page that leads elsewhere, to a provider: its address here and what it is called."""

    address: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to sign in: by a form, by a link that leads elsewhere, by what every request brings, or by several."""

    name: str
    #: The fields of its form on the sign-in page; without fields it has no form.
    fields: tuple[Field, ...] = ()
    #: The links of the sign-in page by which one goes elsewhere and comes back to be let in.
    leads: Callable[[Accounts], Sequence[Lead]] | None = None
    #: Check what the form, or who came back, brought; return the user and the secret of a new session, or raise an
    #: AccountError.
    enter: Callable[[Accounts, Entry], tuple[User, str]] | None = None
    #: The action that `enter` writes into the log of accounts, and its name on the page.
    action: str = ""
    logged: str = ""
    #: Read the credential of this way from a request, such as a token; None where the request has none.
    credential: Callable[[Credentials], str | None] | None = None
    #: Find whose credential it is; None where it is nobody's.
    owner: Callable[[Accounts, str], SignedIn | None] | None = None
    #: The error for a credential that is nobody's; empty: the next way is tried.
    unknown: str = ""
    #: It is for programs: pages refuse it.
    is_for_programs: bool = False

    @property
    def address(self) -> str:
        """Return where its form is sent to."""
        return "/sign-in" if self.name == "password" else f"/sign-in/{self.name}"

    def reads(self, credentials: Credentials) -> str | None:
        """Return the credential of this way that a request brings; None where there is none."""
        return None if self.credential is None else self.credential(credentials)


def who_asks(
    accounts: Accounts, credentials: Credentials, *, sets_up: bool = False
) -> tuple[SignedIn, Way] | None:
    """Find who sends a request, and by which way they are known; None of a visitor.

    `sets_up`: what is asked for is among what sets a second factor up.

    Raises:
        NotSignedIn: the request brings a credential that is nobody's.
        SecondFactorMissing: a second factor has to be set up before anything else.
    """
    for way in WAYS:
        given = way.reads(credentials)
        if given is None or way.owner is None:
            continue
        signed_in = way.owner(accounts, given)
        if signed_in is not None:
            if signed_in.lacks_second_factor and not sets_up:
                raise SecondFactorMissing(
                    _(
                        "This Écluse asks your account for a second factor. Set it up on your account page first."
                    )
                )
            return signed_in, way
        if way.unknown:
            raise NotSignedIn(_(way.unknown))
    return None


def bearer(header: str | None) -> str | None:
    """Return the token of a header `Authorization`; another kind is meant for a proxy with a password of its own."""
    scheme, _rest, secret = (header or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _bearer(credentials: Credentials) -> str | None:
    return bearer(credentials.headers.get("authorization"))


def _enter_by_password(accounts: Accounts, entry: Entry) -> tuple[User, str]:
    email, password = entry.values.get("email", ""), entry.values.get("password", "")
    return accounts.sign_in(email, password, entry.user_agent, entry.client, entry.browser)


def _enter_by_link(accounts: Accounts, entry: Entry) -> tuple[User, str]:
    return accounts.redeem_link(entry.values.get("secret", ""), entry.user_agent, entry.client)


def _leads_to_providers(accounts: Accounts) -> Sequence[Lead]:
    return [Lead(f"/sign-in/by/{each.name}", each.label) for each in accounts.providers]


def _enter_by_provider(accounts: Accounts, entry: Entry) -> tuple[User, str]:
    """Let in whom a provider knows: the values are what it gave the browser, `provider` and the `secret` of the way."""
    assertion = accounts.assertion(
        entry.values.get("provider", ""), entry.return_address, entry.values.get("secret"), entry.values
    )
    return accounts.sign_in_by_provider(
        assertion,
        may_sign_up=entry.may_sign_up,
        invitation=entry.invitation,
        user_agent=entry.user_agent,
        client=entry.client,
    )


TOKEN: Final = Way(
    name="token",
    credential=_bearer,
    owner=Accounts.who_has_token,
    unknown=N_("This API token is not known. Make one on your account page, or remove the header."),
    is_for_programs=True,
)
SESSION: Final = Way(
    name="session",
    credential=lambda credentials: credentials.cookies.get(SESSION_COOKIE) or None,
    owner=Accounts.who_has_session,
)
PASSWORD: Final = Way(
    name="password",
    fields=(
        Field("email", N_("Email"), "email", "username"),
        Field("password", N_("Password"), "password", "current-password"),
    ),
    enter=_enter_by_password,
    action="user.sign_in",
    logged=N_("signed in"),
)
#: The page of a link is its own: it asks before the link is used up.
LINK: Final = Way(
    name="link", enter=_enter_by_link, action="user.sign_in_by_link", logged=N_("signed in by link")
)
PROVIDER: Final = Way(
    name="provider",
    leads=_leads_to_providers,
    enter=_enter_by_provider,
    action="user.sign_in_by_provider",
    logged=N_("signed in by provider"),
)
#: The first by which a request is known counts.
WAYS: tuple[Way, ...] = (TOKEN, SESSION, PASSWORD, LINK, PROVIDER)
