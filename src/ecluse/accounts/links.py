"""Let people in by a link that works once, and make the administrator of the first start, who enters by one."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from ecluse.accounts.access import AccountCatalog, add_session, ask_second_factor, begin_second_step, digest
from ecluse.catalog import audit, users
from ecluse.catalog.tables import ApiToken, User, now
from ecluse.errors import Forbidden, InvalidCredentials
from ecluse.sentences import _

LINK_LIFETIME: Final = timedelta(hours=24)
#: What is written down where a link let someone in.
LINK_ACTION: Final = "user.sign_in_by_link"
LOCAL_EMAIL: Final = "admin@localhost"
_LINK_IS_USED: Final = _(
    "This sign-in link was used before or is too old. Sign in with your password, or make "
    "a new link: ecluse users link EMAIL"
)


class Links(AccountCatalog):
    """Sign-in links, and the first start."""

    def local_administrator(self) -> User:
        """Return the administrator of an empty catalog, made without a password, or the one that is there.

        Raises:
            Forbidden: there are accounts, but none administers.
        """
        with self._catalog.read() as transaction:
            administrator = users.first_administrator(transaction)
        if administrator is not None:
            return administrator
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            administrator = users.first_administrator(transaction)
            if administrator is not None:
                return administrator
            if users.count_users(transaction):
                raise Forbidden(_("No account administers. Make one: ecluse users add EMAIL --admin"))
            users.remove_first_secrets(transaction)
            user = users.add_user(transaction, email=LOCAL_EMAIL, name="", password_hash=None, role="admin")
            audit.record(transaction, None, "user.add", user.email, role=user.role)
        return user

    def sign_in_link(self, user_id: str, by: str | None = None) -> str:
        """Return the secret of a link that signs this user in once, within 24 hours.

        `by`: who makes it, None at a terminal.
        """
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            link = ApiToken(
                secret_hash=digest(secret),
                user_id=user_id,
                name="sign-in link",
                prefix="",
                purpose="sign_in_link",
                expires_at=now() + LINK_LIFETIME,
            )
            users.add_token(transaction, link)
            audit.record(transaction, by, "link.create", users.user_by_id(transaction, user_id).email)
        return secret

    def redeem_link(self, secret: str, user_agent: str = "", client: str = "") -> tuple[User, str]:
        """Use a sign-in link up: the user and the secret of a new session.

        Raises:
            InvalidCredentials: it was used before, is too old, or never was one.
            SecondFactorNeeded: the account has a second factor, which a link does not pass.
        """
        with self._catalog.read() as transaction:  # a guess takes no turn at writing
            row = users.user_by_token(transaction, digest(secret), purpose="sign_in_link")
        if row is None:
            raise InvalidCredentials(_LINK_IS_USED)
        with self._catalog.write() as transaction:
            if not users.remove_token(transaction, row[0].id, row[1].id):
                raise InvalidCredentials(_LINK_IS_USED)
            step = begin_second_step(transaction, row[0], LINK_ACTION, client)
            if step is None:
                audit.record(transaction, row[0].id, LINK_ACTION, row[0].email, client=client)
                return row[0], add_session(transaction, row[0].id, user_agent, by_link=True)
        raise ask_second_factor(step)
