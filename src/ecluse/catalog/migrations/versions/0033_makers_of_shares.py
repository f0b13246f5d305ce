"""Note who made a share, as far as the log knows it, and to which address an invitation was mailed."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ("shares",)


def upgrade() -> None:
    op.add_column("invitations", sa.Column("email", sa.String(length=320), nullable=True))
    op.add_column("shares", sa.Column("made_by", sa.String(length=32), nullable=True))
    op.create_index("ix_shares_made_by", "shares", ["made_by"])
    connection = op.get_bind()
    set_maker = sa.text("UPDATE shares SET made_by = :maker WHERE id = :id OR by_link_id = :id")
    written = "SELECT user_id, detail FROM audit_log WHERE action LIKE '%.share' AND user_id IS NOT NULL"
    for maker, detail in connection.execute(sa.text(written)).all():
        share = (json.loads(detail) if isinstance(detail, str) else detail or {}).get("id")
        if share:
            connection.execute(set_maker, {"maker": maker, "id": share})
    op.execute(
        "UPDATE shares SET made_by = owner_id WHERE made_by IS NULL "
        "AND owner_id IN (SELECT id FROM users WHERE kind = 'person')"
    )


def downgrade() -> None:
    op.drop_index("ix_shares_made_by", "shares")
    op.drop_column("shares", "made_by")
    op.drop_column("invitations", "email")
