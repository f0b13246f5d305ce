"""Note who made an invitation."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.add_column("invitations", sa.Column("created_by", sa.String(length=32), nullable=True))


def downgrade() -> None:
    op.drop_column("invitations", "created_by")
