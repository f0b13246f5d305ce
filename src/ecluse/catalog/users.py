"""Find and keep users, their sessions and their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, delete, func, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.application import leave_out, ours_first, part
from ecluse.catalog import handles
from ecluse.catalog.of_organisations import PERSON
from ecluse.catalog.tables import (
    ApiToken,
    File,
    FirstAccountSecret,
    Invitation,
    ModelVersion,
    Run,
    Session,
    SignUpInvitation,
    User,
    UserTable,
    now,
)
from ecluse.errors import EmailTaken, Forbidden, LastAdministrator, NotFound
from ecluse.sentences import _


def add_user(
    transaction: Transaction, *, email: str, name: str, password_hash: str | None, role: str
) -> User:
    """Add an account.

    Raises:
        EmailTaken: the address has one.
    """
    handle = handles.free_handle(transaction, email)
    user = User(email=email, name=name, password_hash=password_hash, role=role, handle=handle)
    transaction.add(user)
    _flush_unique(transaction, email)
    return user


def hold_accounts(transaction: Transaction) -> None:
    """Let no other transaction make, change or remove an account before this one ends.

    So one account is the first, and of two administrators who end each other one stays.

    SQLite's one writer holds everything anyway.
    """
    if transaction.get_bind().dialect.name == "postgresql":
        transaction.execute(text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))


def count_users(transaction: Transaction) -> int:
    """Count the people; organisations are none."""
    return transaction.scalar(select(func.count()).select_from(User).where(User.kind == PERSON)) or 0


def user_by_email(transaction: Transaction, email: str) -> User | None:
    """Return the person with this address; None where there is none, and for what stands for an organisation."""
    return transaction.scalar(select(User).where(User.email == email, User.kind == PERSON))


def user_by_id(transaction: Transaction, user_id: str) -> User:
    user = transaction.get(User, user_id)
    if user is None:
        raise NotFound(_("No user %(value)s.", value=user_id))
    return user


def held_user(transaction: Transaction, user_id: str) -> User:
    """Return a user as it is now; until the transaction ends nobody else changes it. Raises NotFound."""
    query = select(User).where(User.id == user_id).with_for_update()
    user = transaction.scalar(query.execution_options(populate_existing=True))
    if user is None:
        raise NotFound(_("No user %(value)s.", value=user_id))
    return user


def is_administrator(transaction: Transaction, user_id: str) -> bool:
    """Return whether this user administers now. A job asks again when it runs: roles change while it waits."""
    user = user_by_id(transaction, user_id)
    return user.role == "admin" and user.disabled_at is None


def expect_person(transaction: Transaction, user_id: str) -> None:
    """Make sure that a person acts, not a program of an organisation in its name. Raises Forbidden."""
    if user_by_id(transaction, user_id).kind != PERSON:
        raise Forbidden(
            _("A service account does not do this: it acts for its organisation alone. A person does.")
        )


def list_users(
    transaction: Transaction,
    search: str = "",
    *,
    limit: int | None = None,
    offset: int = 0,
    after: str | None = None,
) -> list[User]:
    """List the people, the oldest account first, no organisations; `search`: what an address or a name holds.

    `after`: the id of a person, behind whom they begin.
    """
    query = (
        select(User).where(User.kind == PERSON).order_by(User.created_at, User.id).limit(limit).offset(offset)
    )
    if search:
        query = query.where(
            or_(User.email.icontains(search, autoescape=True), User.name.icontains(search, autoescape=True))
        )
    if after is not None:
        last = select(User.created_at).where(User.id == after).scalar_subquery()
        query = query.where(or_(User.created_at > last, and_(User.created_at == last, User.id > after)))
    return list(transaction.scalars(query))


def first_administrator(transaction: Transaction) -> User | None:
    """Return the oldest account that administers and may be signed in to."""
    return transaction.scalar(
        select(User)
        .where(User.role == "admin", User.disabled_at.is_(None), User.kind == PERSON)
        .order_by(User.created_at)
        .limit(1)
    )


def list_administrators(transaction: Transaction) -> list[User]:
    """List the accounts that administer and may be signed in to, the oldest first."""
    query = select(User).where(User.role == "admin", User.disabled_at.is_(None), User.kind == PERSON)
    return list(transaction.scalars(query.order_by(User.created_at)))


def has_claimed_administrator(transaction: Transaction, unclaimed: str) -> bool:
    """Return whether someone administers: an account that was made for a person, or has a password or a session.

    `unclaimed`: the address of the one that a first start makes.
    """
    entered = select(Session.id).where(Session.user_id == User.id).exists()
    claimed = or_(User.email != unclaimed, User.password_hash.is_not(None), entered)
    administers = (User.role == "admin", User.disabled_at.is_(None), claimed)
    return transaction.scalar(select(User.id).where(*administers).limit(1)) is not None


def expect_another_administrator(transaction: Transaction, user: User) -> None:
    """Make sure that, without this one, an account is left that administers. The accounts have to be held.

    Raises:
        LastAdministrator: there is none.
    """
    others = select(func.count()).where(User.role == "admin", User.disabled_at.is_(None), User.id != user.id)
    if user.role == "admin" and user.disabled_at is None and not transaction.scalar(others):
        raise LastAdministrator(
            _(
                "%(email)s is the last account that administers, and stays as it is. Let another one "
                "administer first: ecluse users role EMAIL administrator",
                email=user.email,
            )
        )


def set_disabled(transaction: Transaction, user: User, moment: datetime | None) -> None:
    """Let nobody sign in to an account from a moment on, or (None) its owner again; its invitations end for good."""
    transaction.execute(update(User).where(User.id == user.id).values(disabled_at=moment))
    if moment is not None:
        end_invitations(transaction, user.id)


def end_invitations(transaction: Transaction, user_id: str) -> None:
    """End every invitation that a person made, to make an account or to join an organisation."""
    transaction.execute(delete(SignUpInvitation).where(SignUpInvitation.created_by == user_id))
    transaction.execute(delete(Invitation).where(Invitation.created_by == user_id))


def set_role(transaction: Transaction, user: User, role: str) -> None:
    """Let an account administer or no longer; then the invitations end by which it let people make accounts."""
    transaction.execute(update(User).where(User.id == user.id).values(role=role))
    if role != "admin":
        transaction.execute(delete(SignUpInvitation).where(SignUpInvitation.created_by == user.id))


def remove_user(transaction: Transaction, user_id: str) -> None:
    """Remove an account or an organisation, with every row that is its; its handle is given to nobody again."""
    handles.keep(transaction, transaction.scalar(select(User.handle).where(User.id == user_id)))
    transaction.execute(delete(User).where(User.id == user_id))


#: What a user may have, as it is named to a person.
OWNED: Final[dict[str, type[Any]]] = {"model_versions": ModelVersion, "runs": Run, "own_tables": UserTable}


def count_owned(transaction: Transaction, user_id: str) -> dict[str, int]:
    """Count what a user has of each kind, and rows that are not among them by their files; none is left out."""
    kinds = dict(owned_kinds())
    counts = {
        name: transaction.scalar(select(func.count()).select_from(kind).where(kind.user_id == user_id)) or 0
        for name, kind in kinds.items()
    }
    elsewhere = File.table_name.not_in([kind.__tablename__ for kind in kinds.values()])
    of_others = (
        select(File.kind, func.count(File.row_id.distinct()))
        .where(File.user_id == user_id, File.counted, elsewhere)
        .group_by(File.kind)
    )
    for kind, number in transaction.execute(of_others):
        counts[kind] = number
    return {name: number for name, number in counts.items() if number}


def owned_kinds() -> Iterator[tuple[str, type[Any]]]:
    """List what a user may have, by its name: of the core, then of each application, ours first."""
    yield from OWNED.items()
    named = set(OWNED)
    for application in ours_first():
        for name, reference in application.owned.items():
            if name in named:
                leave_out(application, f"owned {name}", f'"{name}" is counted already. Call it otherwise.')
            elif (kind := part(application, "owned", reference)) is not None:
                named.add(name)
                yield name, kind


def size_owned(transaction: Transaction, user_id: str) -> int:
    """Bytes of a user's files."""
    stored = select(func.sum(File.size_bytes)).where(File.user_id == user_id, File.owned, File.url != "")
    return int(transaction.scalar(stored) or 0)


def add_first_secret(transaction: Transaction, secret_hash: str, expires_at: datetime) -> None:
    """Keep a secret with which the first account may be made; those whose time is over go."""
    transaction.execute(delete(FirstAccountSecret).where(FirstAccountSecret.expires_at <= now()))
    transaction.add(FirstAccountSecret(secret_hash=secret_hash, expires_at=expires_at))


def has_first_secret(transaction: Transaction, secret_hash: str) -> bool:
    query = select(func.count()).where(
        FirstAccountSecret.secret_hash == secret_hash, FirstAccountSecret.expires_at > now()
    )
    return bool(transaction.scalar(query))


def remove_first_secrets(transaction: Transaction) -> None:
    transaction.execute(delete(FirstAccountSecret))


def set_password_hash(transaction: Transaction, user_id: str, password_hash: str) -> None:
    transaction.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))


def set_email(transaction: Transaction, user_id: str, email: str, name: str) -> None:
    """Change the address of an account.

    Raises:
    EmailTaken: another account has the address.
    """
    user = user_by_id(transaction, user_id)
    if user.email != email:
        user.verified_at = None
    user.email, user.name = email, name
    _flush_unique(transaction, email)


def add_session(
    transaction: Transaction,
    *,
    secret_hash: str,
    user_id: str,
    user_agent: str,
    expires_at: datetime,
    by_link: bool = False,
    provider: str | None = None,
) -> Session:
    session = Session(
        secret_hash=secret_hash,
        user_id=user_id,
        user_agent=user_agent[:300],
        expires_at=expires_at,
        by_link=by_link,
        provider=provider,
    )
    transaction.add(session)
    transaction.flush()
    return session


def user_by_session(
    transaction: Transaction, secret_hash: str, *, used_after: datetime
) -> tuple[User, Session] | None:
    """Find the owner of a session that has not expired and was used lately, and the session; None where the account is
    disabled.
    """
    values = {"secret_hash": secret_hash, "moment": now(), "used_after": used_after}
    row = transaction.execute(_by_session(), values).first()
    return None if row is None else (row[0], row[1])


@cache
def _by_session() -> Select[User, Session]:
    return (
        select(User, Session)
        .join(Session, Session.user_id == User.id)
        .where(Session.secret_hash == bindparam("secret_hash"), User.disabled_at.is_(None))
        .where(Session.expires_at > bindparam("moment"), Session.last_used_at > bindparam("used_after"))
    )


def list_sessions(transaction: Transaction, user_id: str, *, used_after: datetime) -> list[Session]:
    """List the sessions of a user that have not expired and were used lately, the last used first."""
    return list(
        transaction.scalars(
            select(Session)
            .where(Session.user_id == user_id)
            .where(Session.expires_at > now(), Session.last_used_at > used_after)
            .order_by(Session.last_used_at.desc())
        )
    )


def has_session(transaction: Transaction, session_id: str) -> bool:
    """Return whether a session was not ended; until the transaction ends it is not."""
    query = select(Session.id).where(Session.id == session_id).with_for_update()
    return transaction.scalar(query) is not None


def touch_session(transaction: Transaction, session_id: str) -> None:
    transaction.execute(update(Session).where(Session.id == session_id).values(last_used_at=now()))


def remove_session(transaction: Transaction, user_id: str, session_id: str) -> int:
    """Remove one session of the user; 0 when it is not theirs or was already gone."""
    removed = transaction.execute(
        delete(Session).where(Session.id == session_id, Session.user_id == user_id).returning(Session.id)
    )
    return len(removed.all())


def remove_other_sessions(transaction: Transaction, user_id: str, kept: str | None) -> int:
    """End every session of the user but `kept`; how many those were."""
    removed = transaction.execute(
        delete(Session).where(Session.user_id == user_id, Session.id != (kept or "")).returning(Session.id)
    )
    return len(removed.all())


def remove_expired(transaction: Transaction) -> list[tuple[str, str]]:
    """Remove sessions, sign-in links and tokens whose time is over; owner and name of the tokens among them."""
    moment = now()
    transaction.execute(delete(Session).where(Session.expires_at <= moment))
    ended = transaction.execute(
        delete(ApiToken)
        .where(ApiToken.expires_at <= moment)
        .returning(ApiToken.user_id, ApiToken.name, ApiToken.purpose)
    ).all()
    return [(user_id, name) for user_id, name, purpose in ended if purpose == "api"]


def knows_browser(transaction: Transaction, user_id: str, secret_hash: str) -> bool:
    """Return whether a browser with this secret has signed in to the account before."""
    owner = user_by_token(transaction, secret_hash, purpose="browser")
    return owner is not None and owner[0].id == user_id


def add_browser(
    transaction: Transaction, user_id: str, secret_hash: str, *, expires_at: datetime, most: int
) -> None:
    """Know a browser that signed in; of more than `most`, the oldest are forgotten."""
    browser = ApiToken(
        secret_hash=secret_hash,
        user_id=user_id,
        name="browser",
        prefix="",
        purpose="browser",
        expires_at=expires_at,
    )
    add_token(transaction, browser)
    kept = (
        select(ApiToken.id)
        .where(ApiToken.user_id == user_id, ApiToken.purpose == "browser")
        .order_by(ApiToken.created_at.desc())
        .limit(most)
    )
    transaction.execute(
        delete(ApiToken).where(
            ApiToken.user_id == user_id, ApiToken.purpose == "browser", ApiToken.id.not_in(kept)
        )
    )


def remove_links(transaction: Transaction, user_id: str) -> None:
    """Remove links that the user has not used, which sign in or set a password, and sign-ins that wait for a code."""
    begun = ("sign_in_link", "second_step", "password_reset")
    transaction.execute(delete(ApiToken).where(ApiToken.user_id == user_id, ApiToken.purpose.in_(begun)))


def add_token(transaction: Transaction, token: ApiToken) -> ApiToken:
    """Keep a token; of a long name its beginning."""
    token.name = token.name[:100]
    transaction.add(token)
    transaction.flush()
    return token


def user_by_token(
    transaction: Transaction, secret_hash: str, purpose: str = "api"
) -> tuple[User, ApiToken] | None:
    """Find the owner of a token of this purpose that has not expired, and the token; None of a disabled account."""
    values = {"secret_hash": secret_hash, "purpose": purpose, "moment": now()}
    row = transaction.execute(_by_token(), values).first()
    return None if row is None else (row[0], row[1])


@cache  # each request asks this, and to put it together takes longer than to answer it
def _by_token() -> Select[User, ApiToken]:
    return (
        select(User, ApiToken)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(ApiToken.secret_hash == bindparam("secret_hash"), ApiToken.purpose == bindparam("purpose"))
        .where(ApiToken.expires_at.is_(None) | (ApiToken.expires_at > bindparam("moment")))
        .where(User.disabled_at.is_(None))
    )


def touch_token(transaction: Transaction, token_id: str) -> tuple[str, str] | None:
    """Note that a token is used; its owner and name, if it is for the first time."""
    statement = update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now())
    first = transaction.execute(
        statement.where(ApiToken.last_used_at.is_(None)).returning(ApiToken.user_id, ApiToken.name)
    ).first()
    if first is not None:
        return first[0], first[1]
    transaction.execute(statement)
    return None


def list_tokens(transaction: Transaction, user_id: str) -> list[ApiToken]:
    """List the tokens for programs that have not expired, the newest first."""
    return list(
        transaction.scalars(
            select(ApiToken)
            .where(ApiToken.user_id == user_id, ApiToken.purpose == "api")
            .where((ApiToken.expires_at.is_(None)) | (ApiToken.expires_at > now()))
            .order_by(ApiToken.created_at.desc())
        )
    )


def remove_token(transaction: Transaction, user_id: str, token_id: str) -> int:
    """Remove one token of the user; 0 when it is not theirs or was already gone."""
    removed = transaction.execute(
        delete(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id).returning(ApiToken.id)
    )
    return len(removed.all())


def remove_tokens(transaction: Transaction, user_id: str) -> int:
    """End every token of the user; how many those were."""
    removed = transaction.execute(
        delete(ApiToken).where(ApiToken.user_id == user_id, ApiToken.purpose == "api").returning(ApiToken.id)
    )
    return len(removed.all())


def _flush_unique(transaction: Transaction, email: str) -> None:
    try:
        transaction.flush()
    except IntegrityError as error:
        raise EmailTaken(
            _("%(email)s already has an account. Sign in, or use another address.", email=email)
        ) from error
