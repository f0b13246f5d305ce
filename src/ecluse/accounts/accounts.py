"""Join the parts of the accounts, each in a module of its own."""

from __future__ import annotations

from ecluse.accounts.links import Links
from ecluse.accounts.organisations import Organisations
from ecluse.accounts.people import People
from ecluse.accounts.proofs import Proofs
from ecluse.accounts.sessions import Sessions
from ecluse.accounts.tokens import Tokens


class Accounts(People, Sessions, Proofs, Tokens, Links, Organisations):
    """The accounts in one catalog."""
