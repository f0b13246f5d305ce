"""Find and keep users, their sessions and their tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import ApiToken, Session, User, now
from ecluse.errors import EmailTaken, NotFound


def add_user(
    transaction: Transaction, *, email: str, name: str, password_hash: str | None, role: str
) -> User:
    """A new account.

    Raises:
        EmailTaken: the address has one.
    """
    user = User(email=email, name=name, password_hash=password_hash, role=role)
    transaction.add(user)
    _flush_unique(transaction, email)
    return user


def hold_accounts(transaction: Transaction) -> None:
    """Let no other transaction make an account before this one ends, so that one account is the first.

    SQLite's one writer holds everything anyway.
    """
    if transaction.get_bind().dialect.name == "postgresql":
        transaction.execute(text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"))


def count_users(transaction: Transaction) -> int:
    return transaction.scalar(select(func.count()).select_from(User)) or 0


def user_by_email(transaction: Transaction, email: str) -> User | None:
    return transaction.scalar(select(User).where(User.email == email))


def user_by_id(transaction: Transaction, user_id: str) -> User:
    user = transaction.get(User, user_id)
    if user is None:
        raise NotFound(f"No user {user_id}.")
    return user


def is_administrator(transaction: Transaction, user_id: str) -> bool:
    """Whether this user administers now. A job asks again when it runs: roles change while it waits."""
    return user_by_id(transaction, user_id).role == "admin"


def list_users(transaction: Transaction) -> list[User]:
    return list(transaction.scalars(select(User).order_by(User.created_at)))


def first_administrator(transaction: Transaction) -> User | None:
    return transaction.scalar(select(User).where(User.role == "admin").order_by(User.created_at).limit(1))


def set_password_hash(transaction: Transaction, user_id: str, password_hash: str) -> None:
    transaction.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))


def set_email(transaction: Transaction, user_id: str, email: str, name: str) -> None:
    """Raises:
    EmailTaken: another account has the address.
    """
    user = user_by_id(transaction, user_id)
    user.email, user.name = email, name
    _flush_unique(transaction, email)


def add_session(
    transaction: Transaction, *, secret_hash: str, user_id: str, user_agent: str, expires_at: datetime
) -> Session:
    session = Session(
        secret_hash=secret_hash, user_id=user_id, user_agent=user_agent[:300], expires_at=expires_at
    )
    transaction.add(session)
    transaction.flush()
    return session


def user_by_session(transaction: Transaction, secret_hash: str) -> tuple[User, Session] | None:
    """The owner of a session that has not expired, and the session."""
    found = transaction.execute(
        select(User, Session)
        .join(Session, Session.user_id == User.id)
        .where(Session.secret_hash == secret_hash, Session.expires_at > now())
    ).first()
    return None if found is None else (found[0], found[1])


def list_sessions(transaction: Transaction, user_id: str) -> list[Session]:
    return list(
        transaction.scalars(
            select(Session)
            .where(Session.user_id == user_id, Session.expires_at > now())
            .order_by(Session.last_used_at.desc())
        )
    )


def touch_session(transaction: Transaction, session_id: str) -> None:
    transaction.execute(update(Session).where(Session.id == session_id).values(last_used_at=now()))


def remove_session(transaction: Transaction, user_id: str, session_id: str) -> None:
    transaction.execute(delete(Session).where(Session.id == session_id, Session.user_id == user_id))


def remove_other_sessions(transaction: Transaction, user_id: str, kept: str | None) -> None:
    """End every session of the user but `kept`."""
    transaction.execute(delete(Session).where(Session.user_id == user_id, Session.id != (kept or "")))


def remove_expired(transaction: Transaction) -> None:
    """Remove sessions and sign-in links whose time is over."""
    transaction.execute(delete(Session).where(Session.expires_at <= now()))
    transaction.execute(delete(ApiToken).where(ApiToken.expires_at <= now()))


def remove_links(transaction: Transaction, user_id: str) -> None:
    """Remove the sign-in links that the user has not used."""
    transaction.execute(
        delete(ApiToken).where(ApiToken.user_id == user_id, ApiToken.purpose == "sign_in_link")
    )


def add_token(
    transaction: Transaction,
    *,
    secret_hash: str,
    user_id: str,
    name: str,
    prefix: str,
    purpose: str = "api",
    expires_at: datetime | None = None,
) -> ApiToken:
    token = ApiToken(
        secret_hash=secret_hash,
        user_id=user_id,
        name=name[:100],
        prefix=prefix,
        purpose=purpose,
        expires_at=expires_at,
    )
    transaction.add(token)
    transaction.flush()
    return token


def user_by_token(
    transaction: Transaction, secret_hash: str, purpose: str = "api"
) -> tuple[User, ApiToken] | None:
    """The owner of a token of this purpose that has not expired, and the token."""
    found = transaction.execute(
        select(User, ApiToken)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(ApiToken.secret_hash == secret_hash, ApiToken.purpose == purpose)
        .where((ApiToken.expires_at.is_(None)) | (ApiToken.expires_at > now()))
    ).first()
    return None if found is None else (found[0], found[1])


def touch_token(transaction: Transaction, token_id: str) -> None:
    transaction.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now()))


def list_tokens(transaction: Transaction, user_id: str) -> list[ApiToken]:
    return list(
        transaction.scalars(
            select(ApiToken)
            .where(ApiToken.user_id == user_id, ApiToken.purpose == "api")
            .order_by(ApiToken.created_at.desc())
        )
    )


def remove_token(transaction: Transaction, user_id: str, token_id: str) -> int:
    """Remove one token of the user; 0 when it is not theirs or was already gone."""
    found = transaction.execute(
        delete(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id).returning(ApiToken.id)
    )
    return len(found.all())


def _flush_unique(transaction: Transaction, email: str) -> None:
    try:
        transaction.flush()
    except IntegrityError as error:
        raise EmailTaken(f"{email} already has an account. Sign in, or use another address.") from error
