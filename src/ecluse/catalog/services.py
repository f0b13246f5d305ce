"""Keep the service accounts of organisations, and their tokens."""

from __future__ import annotations

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.of_services import SERVICE
from ecluse.catalog.tables import ApiToken, ServiceAccount, User, now
from ecluse.errors import HandleTaken, NotFound
from ecluse.sentences import _


def add(transaction: Transaction, row: ServiceAccount) -> ServiceAccount:
    """Keep a service account.

    Raises:
        HandleTaken: its organisation has one of this name.
    """
    transaction.add(row)
    try:
        transaction.flush()
    except IntegrityError as error:
        raise HandleTaken(
            _(
                "A service account of this organisation is called %(name)s. Choose another name.",
                name=row.name,
            )
        ) from error
    return row


def list_of(transaction: Transaction, organisation_id: str) -> list[ServiceAccount]:
    """List the service accounts of an organisation, by their names."""
    query = select(ServiceAccount).where(ServiceAccount.organisation_id == organisation_id)
    return list(transaction.scalars(query.order_by(ServiceAccount.name)))


def count_of(transaction: Transaction, organisation_ids: list[str]) -> dict[str, int]:
    """Count the service accounts of these organisations, by their ids; those without any are left out."""
    query = select(ServiceAccount.organisation_id, func.count()).where(
        ServiceAccount.organisation_id.in_(organisation_ids)
    )
    rows = transaction.execute(query.group_by(ServiceAccount.organisation_id))
    return {row[0]: row[1] for row in rows}


def find(transaction: Transaction, organisation_id: str, service_id: str) -> ServiceAccount:
    """Return a service account of an organisation. Raises NotFound where it has no such one."""
    row = transaction.scalar(
        select(ServiceAccount).where(
            ServiceAccount.id == service_id, ServiceAccount.organisation_id == organisation_id
        )
    )
    if row is None:
        raise NotFound(_("No service account %(value)s of this organisation.", value=service_id))
    return row


def remove(transaction: Transaction, row: ServiceAccount) -> None:
    """Remove a service account with its tokens."""
    transaction.execute(delete(ApiToken).where(ApiToken.service_account_id == row.id))
    transaction.execute(delete(ServiceAccount).where(ServiceAccount.id == row.id))


def by_token(
    transaction: Transaction, secret_hash: str, *, held: bool = False
) -> tuple[User, ServiceAccount, ApiToken] | None:
    """Find whose a token is: the organisation, its service account and the token; None where it is over or none.

    `held`: nobody ends the token or the account until the transaction ends.
    """
    query = (
        select(User, ServiceAccount, ApiToken)
        .join(ServiceAccount, ServiceAccount.organisation_id == User.id)
        .join(ApiToken, ApiToken.service_account_id == ServiceAccount.id)
        .where(ApiToken.secret_hash == secret_hash, ApiToken.purpose == SERVICE, ApiToken.user_id == User.id)
        .where(or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now()), User.disabled_at.is_(None))
    )
    if held:
        query = query.with_for_update(of=(ServiceAccount, ApiToken))
    row = transaction.execute(query).first()
    return None if row is None else (row[0], row[1], row[2])


def list_tokens(transaction: Transaction, service_id: str) -> list[ApiToken]:
    """List the tokens of a service account that owners made and that have not expired, the newest first."""
    query = (
        select(ApiToken)
        .where(ApiToken.service_account_id == service_id, ApiToken.parent_id.is_(None))
        .where(or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now()))
        .order_by(ApiToken.created_at.desc(), ApiToken.id)
    )
    return list(transaction.scalars(query))


def remove_token(transaction: Transaction, service_id: str, token_id: str) -> bool:
    """Remove a token of a service account, and those that it was exchanged for; False where it has none such."""
    of_service = ApiToken.service_account_id == service_id
    removed = transaction.execute(
        delete(ApiToken).where(of_service, ApiToken.id == token_id).returning(ApiToken.id)
    )
    there = bool(removed.all())
    transaction.execute(delete(ApiToken).where(of_service, ApiToken.parent_id == token_id))
    return there


def remove_tokens_of(transaction: Transaction, organisation_ids: list[str]) -> int:
    """Remove the tokens of every service account of these organisations; how many those were."""
    of_them = select(ServiceAccount.id).where(ServiceAccount.organisation_id.in_(organisation_ids))
    removed = transaction.execute(
        delete(ApiToken).where(ApiToken.service_account_id.in_(of_them)).returning(ApiToken.id)
    )
    return len(removed.all())


def keep_latest(transaction: Transaction, parent_id: str, most: int) -> None:
    """Remove the short tokens that a token was exchanged for and that are over, and the oldest beyond `most`."""
    short = ApiToken.parent_id == parent_id
    transaction.execute(delete(ApiToken).where(short, ApiToken.expires_at <= now()))
    kept = select(ApiToken.id).where(short).order_by(ApiToken.created_at.desc(), ApiToken.id).limit(most)
    transaction.execute(delete(ApiToken).where(short, ApiToken.id.not_in(kept.scalar_subquery())))
