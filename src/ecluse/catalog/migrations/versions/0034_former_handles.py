"""Keep handles of who has ended, and nothing of addresses that failed to sign in and have no account."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ("audit_log",)


def upgrade() -> None:
    op.create_table(
        "former_handles",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.execute(
        "UPDATE audit_log SET subject = 'unknown' "
        "WHERE action = 'user.sign_in_failed' AND user_id IS NULL AND subject LIKE 'unknown:%'"
    )


def downgrade() -> None:
    op.drop_table("former_handles")
