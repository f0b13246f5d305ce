"""Hold back who guesses: sign-ins and new accounts, counted for all processes together, in the database's clock.

Each subject (an account, an address, everyone) may try `at_once` times, and then once every `seconds`. It is kept as
one number: when nothing is held against the subject any more ("generic cell rate algorithm"). An attempt moves that
on by `seconds`, and is refused where it would stand more than `at_once` times as far ahead. One that succeeds is given
back, so that only failures count; it counts while it lasts, so that many at once are no way around the limit.

Nobody is locked out for ever, and no stranger keeps a person out: a browser that has signed in to an account before
is counted by itself alone, whatever others do.

A subject is kept as a digest, and its row is removed when nothing is held against it any more.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Float, cast, delete, extract, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.sql.functions import FunctionElement

from ecluse.addresses import block_of
from ecluse.catalog.tables import Attempt
from ecluse.errors import TooManyAttempts
from ecluse.sentences import _

#: How long a browser that has signed in is known by its cookie, and how many an account has at most.
BROWSER_LIFETIME: Final = timedelta(days=180)
MOST_BROWSERS: Final = 20


@dataclass(frozen=True)
class Limit:
    """So many at once, then one every so many seconds."""

    at_once: int
    seconds: int

    @property
    def ahead(self) -> int:
        """Return how far ahead (s) a subject may stand and still try."""
        return (self.at_once - 1) * self.seconds


#: A browser that knows an account; an address that tries one account; an account, from wherever; an address, whichever
#: accounts it tries; all failures of this Écluse. NIST SP 800-63B (section 3.2.2) allows an account 100 failures in a
#: row; an office behind one address may well mistype 30 times in a morning; and one password tried on many accounts
#: from many addresses shows in the last alone.
BROWSER: Final = Limit(10, 30)
ACCOUNT_HERE: Final = Limit(10, 30)
ACCOUNT: Final = Limit(50, 60)
ADDRESS: Final = Limit(30, 10)
EVERYONE: Final = Limit(300, 2)
#: A signed-in person who is asked for the password again: in one session, and in all sessions of the account that have
#: failed of late. So who holds one session does not keep the owner, in another, from changing the password.
CONFIRMATION: Final = Limit(10, 30)
CONFIRMATIONS: Final = Limit(50, 60)
#: Codes of a second factor, by who knows the password: one code in 333,000 fits at a time.
SECOND_STEP: Final = Limit(10, 120)
#: Mail of a kind that is asked for: to one address, from one, and of all.
MAIL_TO: Final = Limit(3, 1200)
MAIL_FROM: Final = Limit(10, 120)
ALL_MAIL: Final = Limit(200, 10)
#: New accounts, whether or not they are made: of an address, and of all.
SIGN_UPS: Final = Limit(30, 60)
ALL_SIGN_UPS: Final = Limit(200, 10)


@dataclass(frozen=True)
class Subject:
    """What is counted, and its limit. `key` is a digest: no address of a person or machine is in it."""

    key: str
    limit: Limit
    kind: str

    @classmethod
    def of(cls, kind: str, limit: Limit, *parts: str) -> Subject:
        digest = hashlib.sha256("\0".join((kind, *parts)).encode("utf-8", "surrogatepass")).hexdigest()
        return cls(f"{kind}:{digest[:40]}" if parts else kind, limit, kind)


def of_sign_in(email: str, client: str | None, browser: str | None) -> tuple[Subject, ...]:
    """Return what a sign-in counts against. `browser`: that of the cookie, if it has signed in to this account before.

    `client`: the address it comes from; None at the terminal, where only the account counts.
    """
    if browser is not None:
        return (Subject.of("browser", BROWSER, browser),)
    account = Subject.of("account", ACCOUNT, email)
    if client is None:
        return (account,)
    block = block_of(client)
    return (
        Subject.of("account_here", ACCOUNT_HERE, email, block),
        account,
        Subject.of("address", ADDRESS, block),
        Subject.of("everyone", EVERYONE),
    )


def of_sign_up(client: str | None) -> tuple[Subject, ...]:
    """Return what a new account counts against; nothing at the terminal."""
    if client is None:
        return ()
    return (
        Subject.of("sign_up", SIGN_UPS, block_of(client)),
        Subject.of("sign_ups", ALL_SIGN_UPS),
    )


def of_confirmation(user_id: str, session_id: str) -> tuple[Subject, ...]:
    """Return what a signed-in person's password counts against: the session and, where that has failed, the account."""
    return (
        Subject.of("confirmation", CONFIRMATION, user_id, session_id),
        Subject.of("confirmation", CONFIRMATIONS, user_id),
    )


def of_second_step(user_id: str, browser: str | None) -> tuple[Subject, ...]:
    """Return what a code of the second factor counts against. `browser`: as `of_sign_in` has it."""
    return (Subject.of("second_step", SECOND_STEP, user_id, browser or ""),)


def of_setup(user_id: str) -> tuple[Subject, ...]:
    """Return what a code counts against that is to prove a second factor which is being set up."""
    return (Subject.of("second_step", SECOND_STEP, user_id, "setup"),)


def of_mail(kind: str, client: str, recipient: str) -> tuple[Subject, ...]:
    """Return what a mail counts against. `client`: the address that asks for it, or the id of the person.

    Each kind is counted apart: what strangers ask for keeps nobody from inviting or confirming, and whether an address
    was sent another kind of late does not show.
    """
    return (
        Subject.of("mail_to", MAIL_TO, kind, recipient),
        Subject.of("mail_from", MAIL_FROM, kind, block_of(client)),
        Subject.of("mail", ALL_MAIL, kind),
    )


def is_held(transaction: Transaction, subject: Subject) -> bool:
    """Return whether anything is held against a subject now."""
    query = select(Attempt.subject).where(Attempt.subject == subject.key, Attempt.free_at > _clock())
    return transaction.scalar(query) is not None


def look(transaction: Transaction, subjects: Sequence[Subject]) -> None:
    """Refuse where `begin` would, and write nothing: who is held back already costs no more than this.

    Raises:
        TooManyAttempts: one of the subjects has to wait.
    """
    rows = transaction.execute(
        select(Attempt.subject, Attempt.free_at - _clock()).where(
            Attempt.subject.in_([subject.key for subject in subjects])
        )
    )
    ahead = {key: float(seconds) for key, seconds in rows}
    waits = [(ahead.get(subject.key, 0.0) - subject.limit.ahead, subject.kind) for subject in subjects]
    wait, kind = max(waits, default=(0.0, ""))
    if wait > 0:
        raise _too_many(wait, kind)


def begin(transaction: Transaction, subjects: Sequence[Subject]) -> None:
    """Count one attempt against each subject. The caller's transaction keeps none of it where one is refused.

    Raises:
        TooManyAttempts: one of the subjects has to wait.
    """
    insert = postgresql.insert if transaction.get_bind().dialect.name == "postgresql" else sqlite.insert
    for subject in subjects:
        seconds = float(subject.limit.seconds)
        statement = insert(Attempt).values(subject=subject.key, free_at=_clock() + literal(seconds))
        statement = statement.on_conflict_do_update(
            index_elements=["subject"],
            # Whoever stands behind the clock starts at it: what is excluded is the clock and one step.
            set_={
                "free_at": _later(Attempt.free_at, statement.excluded.free_at - literal(seconds))
                + literal(seconds)
            },
            where=Attempt.free_at <= _clock() + literal(float(subject.limit.ahead)),
        )
        if transaction.execute(statement.returning(Attempt.subject)).first() is None:
            look(transaction, (subject,))
            raise _too_many(seconds, subject.kind)


def give_back(transaction: Transaction, subjects: Sequence[Subject]) -> None:
    """Hold an attempt against no one: it succeeded, or was not made."""
    for subject in subjects:
        transaction.execute(
            update(Attempt)
            .where(Attempt.subject == subject.key)
            .values(free_at=Attempt.free_at - float(subject.limit.seconds))
        )


def prune(transaction: Transaction) -> int:
    """Remove what holds nothing against anyone any more; how many rows that were."""
    gone = transaction.execute(delete(Attempt).where(Attempt.free_at <= _clock()).returning(Attempt.subject))
    return len(gone.all())


def _too_many(wait: float, kind: str) -> TooManyAttempts:
    seconds = max(1, math.ceil(wait))
    shown = f"{seconds} s"
    if kind in ("sign_up", "sign_ups"):
        said = _(
            "Too many accounts have been asked for of late. None was made; try again in %(time)s.", time=shown
        )
    elif kind in ("browser", "confirmation"):
        said = _(
            "The password was wrong too often of late. Nothing was tried; try again in %(time)s.", time=shown
        )
    elif kind in ("mail_to", "mail_from", "mail"):
        said = _(
            "Too many mails have been asked for of late. None was sent; try again in %(time)s.", time=shown
        )
    elif kind == "second_step":
        said = _(
            "The code was wrong too often of late. Nothing was tried; try again in %(time)s.", time=shown
        )
    else:
        said = _(
            "Too many sign-ins have failed of late. Nothing was tried; try again in %(time)s. A "
            "browser in which you signed in before need not wait.",
            time=shown,
        )
    return TooManyAttempts(said, seconds)


class _clock(FunctionElement[float]):  # noqa: N801 (it is written as a function of SQL is)
    """The database's time now, in seconds since 1970."""

    type = Float()
    inherit_cache = True


class _later(FunctionElement[float]):  # noqa: N801
    """The larger of two numbers."""

    type = Float()
    inherit_cache = True


@compiles(_clock, "postgresql")
def _clock_of_postgresql(element: _clock, compiler: Any, **kwargs: Any) -> str:
    return str(compiler.process(cast(extract("epoch", func.clock_timestamp()), Float(53)), **kwargs))


@compiles(_clock, "sqlite")
def _clock_of_sqlite(element: _clock, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_later, "postgresql")
def _later_of_postgresql(element: _later, compiler: Any, **kwargs: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kwargs)})"


@compiles(_later, "sqlite")
def _later_of_sqlite(element: _later, compiler: Any, **kwargs: Any) -> str:
    return f"max({compiler.process(element.clauses, **kwargs)})"
