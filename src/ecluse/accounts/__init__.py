"""Make accounts, sign people and programs in and out, and say who a secret belongs to.

Secrets (session, token, sign-in link, first account) are random; the catalog keeps only their SHA-256, so a
copy of the database signs no one in. Passwords are hashed with Argon2id, a few at a time (`ecluse.hashing`), and who
guesses is held back (`ecluse.catalog.attempts`).

A session is a person, a token a program: what changes who may enter (address, password, tokens) is done in a session
alone, and by who proves to be the owner, see `Accounts.prove`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from ecluse.accounts.access import SESSION_IDLE, SESSION_LIFETIME, STEP_LIFETIME, SignedIn
from ecluse.accounts.accounts import Accounts
from ecluse.accounts.cookies import BROWSER_COOKIE, SESSION_COOKIE, STEP_COOKIE, cookie_named, own_cookies
from ecluse.accounts.identities import WAY_LIFETIME
from ecluse.accounts.links import LINK_LIFETIME, LOCAL_EMAIL
from ecluse.accounts.organisations import Belonging, Member
from ecluse.accounts.people import Admission, checked_email
from ecluse.accounts.proofs import LINK_PROVES
from ecluse.accounts.scopes import Scope, expect_scope, model_named
from ecluse.accounts.tokens import TOKEN_DAYS

__all__ = [
    "BROWSER_COOKIE",
    "LINK_LIFETIME",
    "LINK_PROVES",
    "LOCAL_EMAIL",
    "SESSION_COOKIE",
    "SESSION_IDLE",
    "SESSION_LIFETIME",
    "STEP_COOKIE",
    "STEP_LIFETIME",
    "TOKEN_DAYS",
    "WAY_LIFETIME",
    "Accounts",
    "Admission",
    "Belonging",
    "Member",
    "Scope",
    "SignedIn",
    "checked_email",
    "comes_from_elsewhere",
    "cookie_named",
    "expect_scope",
    "model_named",
    "own_cookies",
]


def comes_from_elsewhere(headers: Mapping[str, str], hosts: Collection[str | None]) -> bool:
    """Return whether the headers say that a page of an origin outside `hosts` sent the request; programs send none."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    try:
        return origin is not None and urlsplit(origin).netloc not in hosts
    except ValueError:  # it is no address at all
        return True
