"""Keep mail until it is sent, by one process at a time, and proofs of addresses until they are used."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import EmailProof, Letter, User, now


def add(transaction: Transaction, letter: Letter) -> None:
    transaction.add(letter)
    transaction.flush()


def is_due(transaction: Transaction) -> bool:
    """Return whether a letter is to be sent now."""
    return transaction.scalar(select(Letter.id).where(Letter.due_at <= now()).limit(1)) is not None


def claim(transaction: Transaction, lease: timedelta) -> Letter | None:
    """Return a letter that is due, which no other process sends within the lease; None where there is none."""
    moment = now()
    due = transaction.execute(
        select(Letter.id, Letter.tries).where(Letter.due_at <= moment).order_by(Letter.due_at).limit(1)
    ).first()
    if due is None:
        return None
    return transaction.scalar(
        update(Letter)
        .where(Letter.id == due.id, Letter.tries == due.tries, Letter.due_at <= moment)
        .values(due_at=moment + lease, tries=Letter.tries + 1)
        .returning(Letter)
    )


def put_off(transaction: Transaction, letter_id: str, until: datetime) -> None:
    """Try a letter again later."""
    transaction.execute(update(Letter).where(Letter.id == letter_id).values(due_at=until))


def remove(transaction: Transaction, letter_id: str) -> None:
    transaction.execute(delete(Letter).where(Letter.id == letter_id))


def add_proof(transaction: Transaction, proof: EmailProof) -> None:
    """Keep a proof; those whose time is over go."""
    transaction.execute(delete(EmailProof).where(EmailProof.expires_at <= now()))
    transaction.add(proof)
    transaction.flush()


def proof_by(transaction: Transaction, secret_hash: str) -> EmailProof | None:
    """Return the proof with this secret that has not expired."""
    return transaction.scalar(
        select(EmailProof).where(EmailProof.secret_hash == secret_hash, EmailProof.expires_at > now())
    )


def remove_proof(transaction: Transaction, secret_hash: str) -> None:
    transaction.execute(delete(EmailProof).where(EmailProof.secret_hash == secret_hash))


def remove_proofs(transaction: Transaction, user_id: str) -> int:
    """Remove every proof of a person; how many those were."""
    removed = transaction.execute(
        delete(EmailProof).where(EmailProof.user_id == user_id).returning(EmailProof.id)
    )
    return len(removed.all())


def end_proofs(transaction: Transaction, user_id: str) -> None:
    """Remove every proof of a person, and the letters that would bring one."""
    remove_proofs(transaction, user_id)
    transaction.execute(delete(Letter).where(Letter.user_id == user_id, Letter.kind == "verify"))


def is_waiting(transaction: Transaction, letter_id: str) -> bool:
    """Return whether a letter is still to be sent; until the transaction ends nobody takes it back."""
    query = select(Letter.id).where(Letter.id == letter_id).with_for_update()
    return transaction.scalar(query) is not None


def set_verified(transaction: Transaction, user_id: str) -> None:
    """Note that the address of an account is its owner's."""
    transaction.execute(update(User).where(User.id == user_id).values(verified_at=now()))
