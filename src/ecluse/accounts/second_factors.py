"""Ask for a second factor after the password: codes of a telephone (RFC 6238), and recovery codes that stand for it.

Who signs in by a password or a link, and has one, gets no session but a proof that is good for the second step alone
(`SecondFactorNeeded.step`), for ten minutes, which stays in that browser's cookie. A code counts once: the step of its
time is noted in the transaction that begins the session. A link does not pass the factor, whoever made it: who runs
Écluse takes the factor off, which is written down.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyotp

from ecluse.accounts.access import SignedIn, add_session, digest, end_links, end_other_access
from ecluse.accounts.links import LINK_ACTION
from ecluse.accounts.proofs import Proofs
from ecluse.catalog import Transaction, attempts, audit, second_factors, users
from ecluse.catalog.tables import SecondFactor, User, now
from ecluse.errors import InvalidCredentials, InvalidInput, NotFound
from ecluse.sentences import _

#: How long one may take to set a second factor up.
SETUP_LIFETIME: Final = timedelta(hours=1)
RECOVERY_CODES: Final = 10
#: Seconds that a code is shown; and how many steps before and after the one of now are taken, for clocks that differ.
STEP_SECONDS: Final = 30
DRIFT: Final = 1
#: Letters and digits of a recovery code: 120 random bits. From 112 on a plain digest keeps it (OWASP ASVS 5, 6.5.2).
_CODE_LETTERS: Final = 24
_WRONG_CODE: Final = _(
    "This code is not right, or was used before. Wait for the next one, or use a recovery code."
)


@dataclass(frozen=True)
class Setup:
    """A second factor that is being set up: its secret (base32) and the address that a picture (QR) holds."""

    secret: str
    address: str


@dataclass(frozen=True)
class Factor:
    """The second factor of an account: since when it is asked for, and how many recovery codes are left."""

    since: datetime
    recovery_codes: int


class SecondFactors(Proofs):
    """What sets a second factor up, asks for it, and takes it off."""

    def second_factor(self, user_id: str) -> Factor | None:
        """Return the second factor of an account; None where none is set up."""
        with self._catalog.read() as transaction:
            row = second_factors.find(transaction, user_id)
            if row is None or row.confirmed_at is None:
                return None
            return Factor(row.confirmed_at, second_factors.count_recovery_codes(transaction, user_id))

    def has_second_factor(self, user_ids: list[str]) -> frozenset[str]:
        """Return those of these accounts that have a second factor."""
        with self._catalog.read() as transaction:
            return second_factors.holders(transaction, user_ids)

    def begin_second_factor(
        self, signed_in: SignedIn, current: str, *, here: bool = False, issuer: str = "Ecluse"
    ) -> Setup:
        """Make the secret of a second factor; nothing is asked for before a code has proved it.

        `issuer`: what the telephone calls this Écluse.

        Raises:
            InvalidCredentials, NotProven: see `prove`.
            InvalidInput: there is one already.
            KeyMissing: there is no key to encrypt it with.
        """
        self.prove(signed_in, current, here=here)
        secret, user = pyotp.random_base32(), signed_in.user
        with self._catalog.write() as transaction:
            _expect_none(transaction, user.id)
            others = second_factors.secrets(transaction)
            closed = self.vault.close(user.id, secret, is_first=not others)
            session = signed_in.session
            second_factors.begin(transaction, user.id, closed, session.id if session else None)
        return _setup(secret, user, issuer)

    def begun_second_factor(self, signed_in: SignedIn, *, issuer: str = "Ecluse") -> Setup | None:
        """Return the second factor that is being set up in this session; None where none is, or it took too long."""
        with self._catalog.read() as transaction:
            row = _begun(transaction, signed_in)
        return (
            None if row is None else _setup(self.vault.open(row.user_id, row.secret), signed_in.user, issuer)
        )

    def confirm_second_factor(self, signed_in: SignedIn, code: str) -> list[str]:
        """Ask for the second factor from now on; return the recovery codes, shown this once. Other sessions end.

        Raises:
            InvalidCredentials: the code is not right.
            InvalidInput: none is being set up in this session, which proved the password.
            TooManyAttempts: too many were wrong of late.
        """
        user = signed_in.user
        with self._catalog.read() as transaction:
            row = _begun(transaction, signed_in)
        if row is None:
            raise InvalidInput(_("No second factor is being set up, or it took too long. Begin again."))
        subjects = attempts.of_setup(user.id)
        with self._counted(subjects):
            step = _step_of(self.vault.open(user.id, row.secret), code)
        if step is None:
            raise InvalidCredentials(
                _(
                    "This code is not right. Look at the clock of the telephone, and enter the code it shows now."
                )
            )
        codes = _new_codes()
        with self._catalog.write() as transaction:
            attempts.give_back(transaction, subjects)
            if not second_factors.confirm(transaction, user.id, row.secret, step):
                raise InvalidInput(_("No second factor is being set up, or it took too long. Begin again."))
            second_factors.add_recovery_codes(transaction, user.id, map(_digest_of, codes))
            audit.record(transaction, user.id, "user.second_factor", user.email)
            end_other_access(transaction, signed_in, tokens=False)
        return codes

    def new_recovery_codes(
        self, signed_in: SignedIn, current: str, code: str, *, here: bool = False
    ) -> list[str]:
        """Return new recovery codes, shown this once; those of before are good no longer.

        Raises:
            InvalidCredentials, NotProven, TooManyAttempts: it is not the password, or the code.
        """
        self._prove_twice(signed_in, current, code, here=here)
        codes = _new_codes()
        with self._catalog.write() as transaction:
            second_factors.add_recovery_codes(transaction, signed_in.user.id, map(_digest_of, codes))
            audit.record(transaction, signed_in.user.id, "user.recovery_codes", signed_in.user.email)
        return codes

    def end_second_factor(self, signed_in: SignedIn, current: str, code: str, *, here: bool = False) -> None:
        """Ask for the second factor no longer; other sessions end.

        Raises:
            InvalidCredentials, NotProven, TooManyAttempts: it is not the password, or the code.
        """
        self._prove_twice(signed_in, current, code, here=here)
        user = signed_in.user
        with self._catalog.write() as transaction:
            second_factors.remove(transaction, user.id)
            audit.record(transaction, user.id, "user.second_factor_off", user.email)
            end_other_access(transaction, signed_in, tokens=False)

    def remove_second_factor(self, email: str, by: str | None = None) -> User:
        """Take the second factor off an account whose owner has lost it. `by`: who does it, None at a terminal.

        Raises:
            NotFound: no account has this address, or it has no second factor.
        """
        user = self.by_email(email)
        with self._catalog.write() as transaction:
            if second_factors.remove(transaction, user.id) is None:
                raise NotFound(_("%(email)s has no second factor.", email=user.email))
            end_links(transaction, user.id)
            audit.record(transaction, by, "user.second_factor_removed", user.email)
        return user

    def finish_sign_in(
        self, step: str, code: str, user_agent: str = "", client: str = "", browser: str | None = None
    ) -> tuple[User, str]:
        """Take the second step of a sign-in: the user and the secret of a new session.

        `step`: the secret of `SecondFactorNeeded`; `browser` that of `BROWSER_COOKIE`.

        Raises:
            InvalidInput: the first step was too long ago.
            InvalidCredentials: the code is not right, or was used.
            KeyMissing: the key of its secret is not here.
            TooManyAttempts: too many were wrong of late.
        """
        with self._catalog.read() as transaction:
            row = users.user_by_token(transaction, digest(step), purpose="second_step")
            known = row and browser and users.knows_browser(transaction, row[0].id, digest(browser))
        if row is None:
            raise _over()
        user, proof = row
        subjects = attempts.of_second_step(user.id, digest(browser) if browser and known else None)
        with self._counted(subjects), self._catalog.write() as transaction:
            if (way := self._use_code(transaction, user.id, code)) is not None:
                if not users.remove_token(transaction, user.id, proof.id):
                    raise _over()
                attempts.give_back(transaction, subjects)
                audit.record(transaction, user.id, proof.name, user.email, client=client, second_factor=way)
                by_link = proof.name == LINK_ACTION
                return user, add_session(transaction, user.id, user_agent, by_link=by_link)
            audit.record(
                transaction, user.id, "user.sign_in_failed", user.email, client=client, second_factor="wrong"
            )
        raise InvalidCredentials(_WRONG_CODE)

    def encrypt_again(self) -> int:
        """Encrypt the secret of every second factor with the first of the keys; how many those were.

        Raises:
            KeyMissing: none of the keys reads one of them.
        """
        with self._catalog.write() as transaction:
            for owner, closed in (rows := second_factors.secrets(transaction)):
                again = self.vault.close(owner, self.vault.open(owner, closed), is_first=False)
                second_factors.replace_secret(transaction, owner, closed, again)
        return len(rows)

    def _prove_twice(self, signed_in: SignedIn, current: str, code: str, *, here: bool) -> None:
        """Make sure that the owner is asking, by the password and a code, which is used up."""
        self.prove(signed_in, current, here=here)
        user = signed_in.user
        subjects = attempts.of_second_step(user.id, None)
        with self._counted(subjects), self._catalog.write() as transaction:
            if self._use_code(transaction, user.id, code) is not None:
                attempts.give_back(transaction, subjects)
                return
            audit.record(transaction, user.id, "user.proof_failed", user.email, second_factor="wrong")
        raise InvalidCredentials(_WRONG_CODE)

    def _use_code(self, transaction: Transaction, user_id: str, code: str) -> str | None:
        """Use a code up: which kind it was, None where it is none that counts."""
        given = re.sub(r"[\s-]", "", code).lower()
        if not re.fullmatch(r"[0-9]{6}", given):
            is_used = second_factors.use_recovery_code(transaction, user_id, _digest_of(given))
            return "recovery_code" if is_used else None
        row = second_factors.find(transaction, user_id)
        if row is None or row.confirmed_at is None:
            return None
        step = _step_of(self.vault.open(user_id, row.secret), given)
        return "code" if step is not None and second_factors.use_step(transaction, user_id, step) else None


def _setup(secret: str, user: User, issuer: str) -> Setup:
    return Setup(secret, pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=issuer))


def _expect_none(transaction: Transaction, user_id: str) -> None:
    if second_factors.is_asked_of(transaction, user_id):
        raise InvalidInput(_("This account has a second factor already. Turn it off to set up another."))


def _begun(transaction: Transaction, signed_in: SignedIn) -> SecondFactor | None:
    """Return the second factor that is being set up in this session, and was begun lately."""
    row = second_factors.find(transaction, signed_in.user.id)
    if row is None or row.confirmed_at is not None or now() - row.created_at > SETUP_LIFETIME:
        return None
    is_here = signed_in.session is not None and row.session_id == signed_in.session.id
    return row if is_here else None


def _step_of(secret: str, code: str) -> int | None:
    """Return the step of time whose code this is, of those that are taken now; None of any other."""
    given = re.sub(r"[\s-]", "", code)
    totp, present = pyotp.TOTP(secret), int(now().timestamp()) // STEP_SECONDS
    fitting = [
        step
        for step in range(present - DRIFT, present + DRIFT + 1)
        if secrets.compare_digest(totp.generate_otp(step).encode(), given.encode("utf-8", "replace"))
    ]
    return max(fitting, default=None)


def _new_codes() -> list[str]:
    """Return new recovery codes: 120 random bits each, as groups of four letters and digits."""
    codes = []
    for _number in range(RECOVERY_CODES):
        text = pyotp.random_base32()[:_CODE_LETTERS].lower()
        codes.append("-".join(text[place : place + 4] for place in range(0, _CODE_LETTERS, 4)))
    return codes


def _digest_of(code: str) -> str:
    """Return what is kept of a recovery code, however it is written."""
    return digest(re.sub(r"[\s-]", "", code).lower())


def _over() -> InvalidInput:
    return InvalidInput(_("The password was entered too long ago, or elsewhere. Sign in again."))
