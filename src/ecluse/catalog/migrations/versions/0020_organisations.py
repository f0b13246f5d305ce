"""Let an owner be an organisation, and share what is owned."""

import re
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("kind", sa.String(length=16), nullable=False, server_default="person"))
    op.add_column("users", sa.Column("handle", sa.String(length=40), nullable=True))
    _give_handles()
    op.create_index("uq_users_handle", "users", ["handle"], unique=True)
    op.create_table(
        "memberships",
        sa.Column("organisation_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organisation_id", "user_id"),
    )
    op.create_index("ix_memberships_user_id", "memberships", ["user_id"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("organisation_id", sa.String(length=32), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_hash"),
    )
    op.create_index("ix_invitations_organisation_id", "invitations", ["organisation_id"])
    _make_shares()


def _make_shares() -> None:
    op.create_table(
        "shares",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("reader_id", sa.String(length=32), nullable=True),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("secret_hash", sa.String(length=64), nullable=True),
        sa.Column("by_link_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reader_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_hash"),
    )
    op.create_index("ix_shares_reader", "shares", ["reader_id", "kind", "owner_id", "name"])
    op.create_index("ix_shares_thing", "shares", ["owner_id", "kind", "name"])
    op.create_index("ix_shares_by_link_id", "shares", ["by_link_id"])


def _give_handles() -> None:
    """Make a handle of each address, the oldest account first, as `catalog.handles` does."""
    users = sa.table(
        "users",
        sa.column("id", sa.String()),
        sa.column("email", sa.String()),
        sa.column("handle", sa.String()),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    connection = op.get_bind()
    used: set[str] = set()
    for id_, email in connection.execute(
        sa.select(users.c.id, users.c.email).order_by(users.c.created_at, users.c.id)
    ).all():
        local = (
            unicodedata.normalize("NFKD", email.partition("@")[0].lower()).encode("ascii", "ignore").decode()
        )
        stem = re.sub(r"[^a-z0-9]+", "-", local)[:30].strip("-") or "person"
        handle, number = stem, 2
        while handle in used:
            handle, number = f"{stem}-{number}", number + 1
        used.add(handle)
        connection.execute(users.update().where(users.c.id == id_).values(handle=handle))


def downgrade() -> None:
    op.drop_table("shares")
    op.drop_table("invitations")
    op.drop_table("memberships")
    users = sa.table("users", sa.column("kind", sa.String()))
    op.execute(users.delete().where(users.c.kind == "organisation"))
    op.drop_index("uq_users_handle", "users")
    op.drop_column("users", "handle")
    op.drop_column("users", "kind")
