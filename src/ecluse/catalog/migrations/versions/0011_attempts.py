"""Count attempts to sign in for all processes together."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("free_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_index("ix_attempts_free_at", "attempts", ["free_at"])


def downgrade() -> None:
    op.drop_index("ix_attempts_free_at", table_name="attempts")
    op.drop_table("attempts")
