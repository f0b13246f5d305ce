"""Let people in whom a provider knows, and say which of its accounts are whose.

Who someone is stands in `identities`: an issuer and a subject there, for ever. An address leads to an account once,
when the identity is first seen, and only where nobody else can have made that account in this person's name: see
`Identities.sign_in_by_provider`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ecluse.accounts.access import SignedIn, add_session, digest
from ecluse.accounts.group_roles import apply_groups, withdraw_groups
from ecluse.accounts.links import LOCAL_EMAIL
from ecluse.accounts.people import checked_email
from ecluse.accounts.second_factors import SecondFactors
from ecluse.accounts.sign_ups import Invited, expect_address, find_invited, use_up
from ecluse.catalog import Catalog, Transaction, audit, identities, second_factors, users
from ecluse.catalog.tables import ApiToken, Identity, User, now
from ecluse.errors import Forbidden, InvalidCredentials, InvalidInput, LinkOver, NotFound
from ecluse.sentences import _
from ecluse.settings import AccountsSettings, ProviderSettings

if TYPE_CHECKING:
    from ecluse.accounts.openid import Assertion, Binding, Provider

#: How long a person may take at the provider.
WAY_LIFETIME: Final = timedelta(minutes=10)
_OF_LINKING: Final = "link_provider"


class Identities(SecondFactors):
    """Sign-in by providers, and the accounts there that belong to an account here."""

    def __init__(self, catalog: Catalog, settings: AccountsSettings | None = None) -> None:
        super().__init__(catalog, settings)
        self._by_name: dict[str, Provider] | None = None

    @property
    def providers(self) -> Sequence[ProviderSettings]:
        """Return by whom people may sign in, as the settings name them."""
        return self._settings.providers

    def provider(self, name: str) -> Provider:
        """Return a provider by its name.

        Raises:
            NotFound: the settings name none so.
        """
        if self._by_name is None:
            from ecluse.accounts.openid import Provider  # its libraries take long to import

            self._by_name = {each.name: Provider(each) for each in self._settings.providers}
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFound(_("Nobody signs in by %(name)s here.", name=name)) from None

    def binding(self, name: str, secret: str) -> Binding:
        """Return what binds the answer of a provider to the browser whose cookie has this secret."""
        from ecluse.accounts.openid import Binding

        return Binding(secret, name)

    def way_to_provider(self, name: str, redirect_uri: str, secret: str) -> str:
        """Return where a browser is sent to sign in by a provider; it keeps the secret in a cookie meanwhile.

        Raises:
            NotFound: there is no such provider.
            ProviderUnavailable: it does not answer as it should.
        """
        return self.provider(name).address(self.binding(name, secret), redirect_uri)

    def assertion(
        self, name: str, redirect_uri: str, secret: str | None, answer: Mapping[str, str]
    ) -> Assertion:
        """Return who came back from a provider, by what it gave the browser along and the secret of its cookie.

        Raises:
            NotFound: there is no such provider.
            InvalidCredentials: it was not begun in this browser, is too old, or cannot be trusted.
            ProviderUnavailable: it does not answer as it should.
        """
        provider = self.provider(name)
        if not secret:
            raise InvalidCredentials(
                _("This sign-in was not begun in this browser, or more than 10 minutes ago. Begin again.")
            )
        return provider.identify(self.binding(name, secret), redirect_uri, answer)

    def sign_in_by_provider(
        self,
        assertion: Assertion,
        *,
        may_sign_up: bool = False,
        invitation: str = "",
        user_agent: str = "",
        client: str = "",
    ) -> tuple[User, str]:
        """Return the person whom a provider asserts, and the secret of a new session.

        An identity that is linked signs in. Another is linked to the account that has its address, where all of this
        holds: the provider says that the address is verified; the account has no password, so that nobody can have made
        it in the name of another (`users add` and providers make such accounts, the page for making accounts does not),
        and no second factor; and it is linked to no other identity of this issuer. Where no account has the address,
        `may_sign_up` makes one, or the secret of an `invitation`, which is used up.

        Raises:
            Forbidden: the account is disabled, or the identity leads to none; the message says the way out.
        """
        try:
            with self._catalog.write() as transaction:
                users.hold_accounts(transaction)
                user, identity = self._owner_of(transaction, assertion, may_sign_up, invitation)
                _expect_enabled(user)
                if assertion.groups is not None:
                    settings = self.provider(assertion.provider).settings
                    apply_groups(transaction, user, identity, assertion.groups, settings)
                audit.record(
                    transaction,
                    user.id,
                    "user.sign_in_by_provider",
                    user.email,
                    client=client,
                    provider=assertion.provider,
                )
                return user, add_session(transaction, user.id, user_agent, provider=assertion.provider)
        except Forbidden:
            self._note_refusal(assertion, client)
            raise

    def prove_to_link(self, signed_in: SignedIn, current: str, code: str, *, here: bool = False) -> None:
        """Make sure that the owner of an account changes by what it is entered: by the password, and by a code, too.

        The code is asked for where the account has a second factor.

        Raises:
            InvalidCredentials, NotProven, TooManyAttempts: as `prove`; or the code is none.
        """
        if self.second_factor(signed_in.user.id) is None:
            self.prove(signed_in, current, here=here)
        else:
            self._prove_twice(signed_in, current, code, here=here)

    def begin_linking(self, signed_in: SignedIn, name: str) -> str:
        """Return the secret of a way to a provider whose identity will belong to this account; prove it before.

        Raises:
            NotFound: there is no such provider.
        """
        self.provider(name)
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            users.remove_expired(transaction)
            row = ApiToken(
                secret_hash=digest(secret),
                user_id=signed_in.user.id,
                name=name,
                prefix="",
                purpose=_OF_LINKING,
                expires_at=now() + WAY_LIFETIME,
            )
            users.add_token(transaction, row)
        return secret

    def links(self, secret: str) -> bool:
        """Return whether a way with this secret began on an account page, to link an identity."""
        with self._catalog.read() as transaction:
            return users.user_by_token(transaction, digest(secret), purpose=_OF_LINKING) is not None

    def link_identity(self, signed_in: SignedIn, secret: str, assertion: Assertion) -> None:
        """Let a person sign in from now on by an identity that they went to from their account page.

        Raises:
            InvalidCredentials: another began it, or it was used before.
            Forbidden: it is another person's identity, or the person has one of this issuer.
        """
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            row = users.user_by_token(transaction, digest(secret), purpose=_OF_LINKING)
            if row is None or row[0].id != signed_in.user.id or row[1].name != assertion.provider:
                raise InvalidCredentials(
                    _("This was begun by another account. Begin again on your account page.")
                )
            users.remove_token(transaction, row[0].id, row[1].id)
            if identities.by_subject(transaction, assertion.issuer, assertion.subject) is not None:
                raise Forbidden(
                    _(
                        "An account is linked to this identity of %(provider)s already. Sign in by it, and unlink it "
                        "there first.",
                        provider=assertion.label,
                    )
                )
            self._link(transaction, row[0], assertion, by="account")

    def identities(self, user_id: str) -> list[Identity]:
        """List by which identities a person signs in, the oldest first."""
        with self._catalog.read() as transaction:
            return identities.list_of(transaction, user_id)

    def unlink_identity(self, signed_in: SignedIn, identity_id: str) -> None:
        """Let a person sign in by an identity no longer; prove it before.

        Its sessions go on, and what its groups gave ends.

        Raises:
            NotFound: it is not theirs.
            InvalidInput: nothing else would let them in.
        """
        user_id = signed_in.user.id
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            user = users.user_by_id(transaction, user_id)
            if user.password_hash is None and len(identities.list_of(transaction, user_id)) < 2:
                raise InvalidInput(
                    _(
                        "Nothing else lets you in: set a password first, or link another provider. Then unlink it."
                    )
                )
            identity = identities.remove(transaction, user_id, identity_id)
            if identity is None:
                raise NotFound(_("No linked identity %(value)s.", value=identity_id))
            withdraw_groups(transaction, user, identity)
            audit.record(
                transaction,
                user_id,
                "user.unlink_identity",
                user.email,
                provider=identity.provider,
                identity=identity.subject,
            )

    def _owner_of(
        self, transaction: Transaction, assertion: Assertion, may_sign_up: bool, invitation: str
    ) -> tuple[User, Identity]:
        """Return whose identity this is, by the rules of `sign_in_by_provider`. The accounts have to be held."""
        row = identities.by_subject(transaction, assertion.issuer, assertion.subject)
        if row is not None:
            identities.touch(transaction, row[0].id, assertion.provider, assertion.email)
            return row[1], row[0]
        if assertion.email is None or not assertion.is_verified:
            raise Forbidden(
                _(
                    "%(provider)s does not say that it verified your address, so it opens no account here. Sign in "
                    "with your password and link %(provider)s on your account page, or ask an administrator.",
                    provider=assertion.label,
                )
            )
        user = users.user_by_email(transaction, assertion.email)
        if user is not None:
            _expect_linkable(transaction, user, assertion)
        elif (may_sign_up or invitation) and users.count_users(transaction):
            invited = _invited(transaction, assertion.email, may_sign_up, invitation)
            user = users.add_user(
                transaction,
                email=checked_email(assertion.email),
                name=assertion.name.strip(),
                password_hash=None,
                role="member",
            )
            audit.record(
                transaction, user.id, "user.add", user.email, role=user.role, provider=assertion.provider
            )
            use_up(transaction, invited, user)
            if invited == Invited():
                self._give_first_plan(transaction, user)
        else:
            raise Forbidden(
                _(
                    "No account here has the address %(email)s, and accounts are made by an administrator. Ask one of "
                    "yours.",
                    email=assertion.email,
                )
            )
        return user, self._link(transaction, user, assertion, by="address")

    def _link(self, transaction: Transaction, user: User, assertion: Assertion, *, by: str) -> Identity:
        if identities.has_of_issuer(transaction, user.id, assertion.issuer):
            raise Forbidden(
                _(
                    "Your account is linked to another identity of %(provider)s. Unlink that one on your account page "
                    "first.",
                    provider=assertion.label,
                )
            )
        identity = Identity(
            user_id=user.id,
            issuer=assertion.issuer,
            subject=assertion.subject,
            provider=assertion.provider,
            email=assertion.email,
        )
        identities.add(transaction, identity)
        audit.record(
            transaction,
            user.id,
            "user.link_identity",
            user.email,
            provider=assertion.provider,
            identity=assertion.subject,
            by=by,
        )
        return identity

    def _note_refusal(self, assertion: Assertion, client: str) -> None:
        """Write down that a provider's word let nobody in."""
        with self._catalog.write() as transaction:
            audit.record(
                transaction,
                None,
                "user.sign_in_failed",
                f"{assertion.provider}:{assertion.subject}",
                client=client,
                provider=assertion.provider,
            )


def _invited(transaction: Transaction, email: str, may_sign_up: bool, invitation: str) -> Invited:
    """Return what an invitation allows; nothing more where none is needed, and this one is over or for another.

    Raises:
        Forbidden: it is over, or for another address, and no account is made without.
    """
    try:
        invited = find_invited(transaction, invitation, held=True) if invitation else Invited()
        expect_address(invited, email)
    except (LinkOver, InvalidInput) as error:
        if may_sign_up:
            return Invited()
        raise Forbidden(*error.args) from error
    return invited


def _expect_enabled(user: User) -> None:
    if user.disabled_at is not None:
        raise Forbidden(_("This account is disabled. Ask an administrator."))


def _expect_linkable(transaction: Transaction, user: User, assertion: Assertion) -> None:
    """Make sure that an account is the person's who has its address, and of nobody who made it before them.

    Raises:
        Forbidden: it may be another's.
    """
    _expect_enabled(user)
    if user.verified_at is None and audit.was_done_by(transaction, user.id, "user.change_email"):
        raise Forbidden(
            _(
                "The account with the address %(email)s was given that address later, and nothing has shown whose it "
                "is. Ask an administrator.",
                email=user.email,
            )
        )
    has_own = user.password_hash is not None or second_factors.is_asked_of(transaction, user.id)
    if has_own or user.email == LOCAL_EMAIL:
        raise Forbidden(
            _(
                "An account with the address %(email)s is there already and has ways in of its own. Sign in with its "
                "password, and link %(provider)s on your account page.",
                email=user.email,
                provider=assertion.label,
            )
        )
