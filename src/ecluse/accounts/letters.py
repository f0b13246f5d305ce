"""Send mail: links that set a password, that show an address to be one's own, and that invite.

A letter is a row until it is sent, so that none is lost while the server of mail or a worker is away; workers send. The
secret of its link is made when it is sent, and a try that fails takes it back. A worker that dies between the server's
word and its own leaves the row, so a letter may come twice, each with a link of its own, and never in a loop: it is
tried with growing pauses for a day.

What is answered where a new password is asked for is the same whether or not the address has an account, and takes as
long: the letter is written in any case, and the account is looked up when it is sent.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from ecluse import mail
from ecluse.accounts.access import SignedIn, digest, end_everything, end_links
from ecluse.accounts.group_roles import withdraw_groups
from ecluse.accounts.organisations import Organisations
from ecluse.accounts.people import checked_email
from ecluse.accounts.proofs import Proofs
from ecluse.accounts.sign_ups import SignUps, add_invitation
from ecluse.catalog import (
    Transaction,
    attempts,
    audit,
    identities,
    letters,
    organisations,
    services,
    sharing,
    sign_ups,
    users,
)
from ecluse.catalog.tables import ApiToken, EmailProof, Invitation, Letter, User, now
from ecluse.errors import EmailTaken, Forbidden, InvalidCredentials, InvalidInput, MailNotSent, MailRefused
from ecluse.hashing import hash_password
from ecluse.passwords import checked_password
from ecluse.sentences import _

#: How long the link of a letter is good for, from when it is sent.
RESET_LIFETIME: Final = timedelta(hours=1)
PROOF_LIFETIME: Final = timedelta(hours=24)
#: How long a letter is tried; the pauses between two tries, of which the last goes on.
LETTER_LIFETIME: Final = timedelta(hours=24)
PAUSES: Final = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60, 300, 900))
#: How long one process has for a letter, before another may try it.
LEASE: Final = timedelta(minutes=5)
#: Where the link stands in the text of a letter.
LINK: Final = "{link}"
MOST_AT_ONCE: Final = 50
_USED: Final = _("This link was used before or is too old. Ask for a new one.")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Text:
    """What a letter says, in the language of who asks for it; `body` has `LINK` as the line of its link."""

    subject: str
    body: str


@dataclass(frozen=True)
class _Ready:
    """The link of a letter, and what takes it back where the letter is not sent."""

    link: str
    take_back: Callable[[Transaction], object]


class Letters(Proofs, Organisations, SignUps):
    """What is sent by mail, and what its links do."""

    @property
    def sends_mail(self) -> bool:
        """Return whether a server of mail is set."""
        return self._settings.mail is not None

    def ask_for_reset(self, email: str, text: Text, client: str) -> None:
        """Send a link that sets a new password, if the address has an account; nothing says whether it has.

        Raises:
            InvalidInput: the address is none.
            TooManyAttempts: too many letters were asked for of late.
        """
        self._write("reset", checked_email(email), text, client=client)

    def reset_password(self, secret: str, new: str, *, keep_tokens: bool = False) -> User:
        """Set a password by the link of a letter. Sessions and other links end and, unless they are kept, tokens.

        Where nothing had shown yet that the address is the owner's, whoever made the account may have been another. So
        all that they entered by goes, too: linked identities and what their groups gave, tokens; and all by which they
        let others in: shares, links, invitations, and the tokens of service accounts of organisations that nobody else
        owns. A second factor stays in any case, and is asked for at the next sign-in: a mailbox alone does not pass it.

        Raises:
            InvalidCredentials: the link was used, or is too old.
            InvalidInput: the password is too short, or one that guessers try.
        """
        user, token = self._reset_of(secret)
        password_hash = hash_password(checked_password(new, user.email))
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            if not users.remove_token(transaction, user.id, token.id):
                raise InvalidCredentials(_USED)
            is_known = users.user_by_id(transaction, user.id).verified_at is not None
            if not is_known:
                _end_ways_in(transaction, user)
            users.set_password_hash(transaction, user.id, password_hash)
            letters.set_verified(transaction, user.id)
            audit.record(transaction, user.id, "user.reset_password", user.email)
            end_everything(transaction, user.id, tokens=not (keep_tokens and is_known))
        return user

    def who_resets(self, secret: str) -> User:
        """Return whose password a link sets; it stays as good as it was.

        Raises:
            InvalidCredentials: it was used, or is too old.
        """
        return self._reset_of(secret)[0]

    def ask_to_verify(self, signed_in: SignedIn, text: Text, client: str) -> None:
        """Send a link by which a person shows that the account's address is theirs.

        Raises:
            TooManyAttempts: too many letters were asked for of late.
        """
        user = signed_in.user
        self._write("verify", user.email, text, user_id=user.id, client=client)

    def ask_to_change_email(
        self,
        signed_in: SignedIn,
        email: str,
        current: str,
        text: Text,
        *,
        here: bool = False,
        client: str = "",
    ) -> None:
        """Send a link to a new address, which becomes that of the account once it is opened.

        Raises:
            InvalidInput: the address is none.
            InvalidCredentials, NotProven: see `prove`.
            TooManyAttempts: too many letters were asked for of late.
        """
        address = checked_email(email)
        self.prove(signed_in, current, here=here)
        self._write("verify", address, text, user_id=signed_in.user.id, client=client)

    def address_to_verify(self, signed_in: SignedIn, secret: str) -> str:
        """Return the address that a link takes as that of the account; it stays as good as it was.

        Raises:
            InvalidCredentials, Forbidden: as `verify_email`.
        """
        with self._catalog.read() as transaction:
            return _address_of(transaction, signed_in.user, secret)

    def verify_email(self, signed_in: SignedIn, secret: str, notice: Text) -> bool:
        """Take the address of a link as that of the account, verified; whether it is another than before.

        `notice`: what the address of before is told.

        Raises:
            InvalidCredentials: the link was used, or is too old.
            Forbidden: it is of another account.
            EmailTaken: the address has another account by now.
        """
        user = signed_in.user
        with self._catalog.write() as transaction:
            address = _address_of(transaction, user, secret)
            letters.remove_proofs(transaction, user.id)
            if address != user.email:
                users.set_email(transaction, user.id, address, user.name)
                end_links(transaction, user.id)
                audit.record(transaction, user.id, "user.change_email", address, before=user.email)
                self._add_letter(transaction, "notice", user.email, notice, user_id=user.id)
            else:
                audit.record(transaction, user.id, "user.verify_email", address)
            letters.set_verified(transaction, user.id)
        return address != user.email

    def invite_by_mail(self, user_id: str, handle: str, role: str, days: int, email: str, text: Text) -> None:
        """Send an invitation to an organisation to an address; its link is known to who reads the letter alone.

        Raises:
            NotFound, Forbidden, InvalidInput: see `invite`; or the address is none.
            TooManyAttempts: too many letters were asked for of late.
        """
        organisation_id = self.expect_invites(user_id, handle, role, days)
        detail = {"organisation": organisation_id, "role": role, "days": days, "by": user_id}
        self._write("invitation", checked_email(email), text, user_id=user_id, client=user_id, detail=detail)

    def invite_person_by_mail(self, by: str, days: int, email: str, text: Text) -> None:
        """Send an invitation to make an account to an address, which is the account's then; nobody else sees its link.

        Raises:
            Forbidden, InvalidInput: see `invite_person`; or the address is none.
            EmailTaken: the address has an account.
            TooManyAttempts: too many letters were asked for of late.
        """
        self.expect_invites_people(days)
        address = checked_email(email)
        with self._catalog.read() as transaction:
            if users.user_by_email(transaction, address) is not None:
                raise EmailTaken(
                    _("%(email)s already has an account. Sign in, or use another address.", email=address)
                )
        self._write("sign_up", address, text, user_id=by, client=by, detail={"days": days})

    def send_due(self) -> int:
        """Send letters that are due; how many are off the list. One that cannot be sent waits for its next try."""
        if self._settings.mail is None:
            return 0
        done = 0
        for _number in range(MOST_AT_ONCE):
            with self._catalog.read() as transaction:
                if not letters.is_due(transaction):
                    break
            with self._catalog.write() as transaction:
                letter = letters.claim(transaction, LEASE)
            if letter is not None:
                done += self._send(letter)
        return done

    def _send(self, letter: Letter) -> bool:
        """Send a letter, or note when it is tried again; whether it is off the list."""
        settings = self._settings.mail
        assert settings is not None  # noqa: S101 (asked for by who calls)
        with self._catalog.write() as transaction:
            ready = self._made_ready(transaction, letter, settings.links)
            if ready is None:
                letters.remove(transaction, letter.id)
                return True
        try:
            mail.send(settings, letter.recipient, letter.subject, _with_link(letter.body, ready.link))
        except (MailNotSent, MailRefused) as error:
            is_over = isinstance(error, MailRefused) or now() - letter.created_at > LETTER_LIFETIME
            logger.warning(
                "A letter (%s) was not sent: %s%s", letter.kind, error, "; given up" if is_over else ""
            )
            with self._catalog.write() as transaction:
                ready.take_back(transaction)
                if is_over:
                    letters.remove(transaction, letter.id)
                    audit.record(
                        transaction, letter.user_id, "mail.given_up", letter.recipient, kind=letter.kind
                    )
                else:
                    letters.put_off(
                        transaction, letter.id, now() + PAUSES[min(letter.tries, len(PAUSES)) - 1]
                    )
            return is_over
        with self._catalog.write() as transaction:
            letters.remove(transaction, letter.id)
            audit.record(transaction, letter.user_id, f"mail.{letter.kind}", letter.recipient)
        return True

    def _made_ready(self, transaction: Transaction, letter: Letter, links: str) -> _Ready | None:
        """Make the link of a letter; None where there is nothing to send any more, or never was."""
        secret = secrets.token_urlsafe(32)
        if letter.kind == "notice":
            return _Ready("", lambda _transaction: None)
        if letter.kind == "reset":
            user = users.user_by_email(transaction, letter.recipient)
            if user is None or user.disabled_at is not None:
                return None
            token = ApiToken(
                secret_hash=digest(secret),
                user_id=user.id,
                name="password_reset",
                purpose="password_reset",
                expires_at=now() + RESET_LIFETIME,
            )
            users.add_token(transaction, token)
            token_id, user_id = token.id, user.id
            return _Ready(
                f"{links}/password/{secret}", lambda later: users.remove_token(later, user_id, token_id)
            )
        if letter.kind == "verify" and letter.user_id is not None:
            if not letters.is_waiting(transaction, letter.id):
                return None
            proof = EmailProof(
                secret_hash=digest(secret),
                user_id=letter.user_id,
                email=letter.recipient,
                expires_at=now() + PROOF_LIFETIME,
            )
            letters.add_proof(transaction, proof)
            return _Ready(
                f"{links}/account/verify/{secret}", lambda later: letters.remove_proof(later, digest(secret))
            )
        if letter.kind == "sign_up":
            return self._sign_up_ready(transaction, letter, f"{links}/sign-up/{secret}", secret)
        invitation = _invitation(transaction, letter, secret)
        if invitation is None:
            return None
        organisation_id, invitation_id = invitation.organisation_id, invitation.id
        return _Ready(
            f"{links}/organisations/join/{secret}",
            lambda later: organisations.remove_invitation(later, organisation_id, invitation_id),
        )

    def _sign_up_ready(
        self, transaction: Transaction, letter: Letter, link: str, secret: str
    ) -> _Ready | None:
        """Keep the invitation that a letter brings; None where its sender no longer administers, or none is taken."""
        by = letter.user_id
        if by is None or not self.takes_invitations or not users.is_administrator(transaction, by):
            return None
        row = add_invitation(transaction, by, secret, int(letter.detail["days"]), letter.recipient)
        audit.record(transaction, by, "user.invite", letter.recipient, id=row.id)
        invitation_id = row.id
        return _Ready(link, lambda later: sign_ups.remove(later, invitation_id))

    def _reset_of(self, secret: str) -> tuple[User, ApiToken]:
        with self._catalog.read() as transaction:
            row = users.user_by_token(transaction, digest(secret), purpose="password_reset")
        if row is None:
            raise InvalidCredentials(_USED)
        return row

    def _write(
        self,
        kind: str,
        recipient: str,
        text: Text,
        *,
        client: str,
        user_id: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Note a letter that is to be sent, and count it."""
        if not self.sends_mail:
            raise InvalidInput(
                _(
                    "No mail is sent from here: no server is set. Whoever runs this Écluse sets ECLUSE_SMTP_URL."
                )
            )
        with self._counted(attempts.of_mail(kind, client, recipient)), self._catalog.write() as transaction:
            self._add_letter(transaction, kind, recipient, text, user_id=user_id, detail=detail)

    def _add_letter(
        self,
        transaction: Transaction,
        kind: str,
        recipient: str,
        text: Text,
        *,
        user_id: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        letter = Letter(
            kind=kind,
            recipient=recipient,
            user_id=user_id,
            subject=text.subject[:300],
            body=text.body,
            detail=detail or {},
        )
        letters.add(transaction, letter)


def _end_ways_in(transaction: Transaction, user: User) -> None:
    """Remove the identities of an account, and by what it let others in; its second factor stays.

    The accounts have to be held.
    """
    users.end_invitations(transaction, user.id)
    linked = identities.list_of(transaction, user.id)
    for identity in linked:
        identities.remove(transaction, user.id, identity.id)
        withdraw_groups(transaction, user, identity)
    audit.record(
        transaction,
        user.id,
        "user.end_ways_in",
        user.email,
        identities=", ".join(f"{each.provider}:{each.subject}" for each in linked),
        shares=sharing.end_made_by(transaction, user.id),
        service_tokens=services.remove_tokens_of(
            transaction, organisations.owned_alone(transaction, user.id)
        ),
    )


def _with_link(body: str, link: str) -> str:
    """Return the text of a letter with its link, in the line that is kept for it: what people wrote stays as it is."""
    return "\n".join(link if line == LINK else line for line in body.split("\n"))


def _address_of(transaction: Transaction, user: User, secret: str) -> str:
    """Return the address that a link was sent to, which has to be this person's. Raises as `verify_email`."""
    proof = letters.proof_by(transaction, digest(secret))
    if proof is None:
        raise InvalidCredentials(_USED)
    if proof.user_id != user.id:
        raise Forbidden(
            _("This link is of another account. Sign in to the one that asked for it, and open it again.")
        )
    return proof.email


def _invitation(transaction: Transaction, letter: Letter, secret: str) -> Invitation | None:
    """Keep the invitation that a letter brings; None where its sender no longer owns the organisation."""
    detail = letter.detail
    organisation_id, by = str(detail.get("organisation")), str(detail.get("by"))
    membership = organisations.membership_of(transaction, organisation_id, by)
    if membership is None or membership.role != "owner":
        return None
    invitation = Invitation(
        organisation_id=organisation_id,
        secret_hash=digest(secret),
        role=str(detail["role"]),
        expires_at=now() + timedelta(days=int(detail["days"])),
        created_by=by,
        email=letter.recipient,
    )
    organisations.add_invitation(transaction, invitation)
    return invitation
