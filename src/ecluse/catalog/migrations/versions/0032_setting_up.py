"""Note in which session a second factor is being set up."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.add_column("second_factors", sa.Column("session_id", sa.String(length=32), nullable=True))


def downgrade() -> None:
    op.drop_column("second_factors", "session_id")
