"""Describe who belongs to an organisation, who is invited, and what is shared with whom."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now

#: The kinds of owner, as `users.kind` has them.
PERSON: Final = "person"
ORGANISATION: Final = "organisation"
#: Characters of a handle.
LONGEST_HANDLE: Final = 40


class Membership(Base):
    """A person in an organisation. `identity_id`: the identity whose groups gave it; None where people did."""

    __tablename__ = "memberships"
    organisation_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now)
    identity_id: Mapped[str | None] = mapped_column(String(32), index=True)


class FormerHandle(Base):
    """The handle of a person or an organisation that has ended, as a digest: it is given to nobody again."""

    __tablename__ = "former_handles"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)


class Invitation(Base):
    """A link by which one person joins an organisation, once; only the hash of its secret is kept.

    It is good while `created_by`, who made it, owns the organisation and may sign in, and ends with that. None: it was
    made before that was kept, and is good no longer. `email`: the address that it was mailed to, whose account alone
    joins by it. No foreign key: the rows of a home are moved in any order.
    """

    __tablename__ = "invitations"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    created_by: Mapped[str | None] = mapped_column(String(32))
    email: Mapped[str | None] = mapped_column(String(320))


class Share(Base):
    """A thing of an owner that a reader may see: `kind` and `name` say which, such as models and fraud.

    `reader_id` is a person or an organisation. None: a link, which has the hash of its secret; or an address that no
    account had, which opens nothing. `by_link_id`: the link by which the reader came; what takes a link back
    takes these, and no foreign key does, as the rows of a home are moved in any order. `made_by`: who shared it, or
    made the link; what a member shares of an organisation's ends when the member leaves.
    """

    __tablename__ = "shares"
    __table_args__ = (
        # With the end of each, so that what is shared with someone is counted without a row.
        Index("ix_shares_reader", "reader_id", "kind", "owner_id", "name", "expires_at"),
        Index("ix_shares_thing", "owner_id", "kind", "name"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(100))
    reader_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    email: Mapped[str | None] = mapped_column(String(320))
    secret_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    by_link_id: Mapped[str | None] = mapped_column(String(32), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    made_by: Mapped[str | None] = mapped_column(String(32), index=True)
