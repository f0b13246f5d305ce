"""Note what the groups of a provider gave: the role of an administrator, and memberships."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "identities", sa.Column("administers", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("memberships", sa.Column("identity_id", sa.String(length=32), nullable=True))
    op.create_index("ix_memberships_identity_id", "memberships", ["identity_id"])


def downgrade() -> None:
    op.drop_index("ix_memberships_identity_id", "memberships")
    op.drop_column("memberships", "identity_id")
    op.drop_column("identities", "administers")
