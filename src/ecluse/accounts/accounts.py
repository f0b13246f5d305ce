"""Join the parts of the accounts, each in a module of its own."""

from __future__ import annotations

from ecluse.accounts.identities import Identities
from ecluse.accounts.letters import Letters
from ecluse.accounts.links import Links
from ecluse.accounts.people import People
from ecluse.accounts.services import Services
from ecluse.accounts.sessions import Sessions
from ecluse.accounts.sign_ups import SignUps
from ecluse.accounts.tokens import Tokens


class Accounts(People, Sessions, Tokens, Links, Identities, Letters, SignUps, Services):
    """The accounts in one catalog."""
