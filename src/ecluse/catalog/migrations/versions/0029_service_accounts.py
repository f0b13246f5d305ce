"""Let programs act for an organisation."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("organisation_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organisation_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("organisation_id", "name"),
    )
    op.add_column("api_tokens", sa.Column("service_account_id", sa.String(length=32), nullable=True))
    op.add_column("api_tokens", sa.Column("parent_id", sa.String(length=32), nullable=True))
    op.create_index("ix_api_tokens_service_account_id", "api_tokens", ["service_account_id"])


def downgrade() -> None:
    op.execute(sa.text("DELETE FROM api_tokens WHERE service_account_id IS NOT NULL"))
    op.drop_index("ix_api_tokens_service_account_id", "api_tokens")
    op.drop_column("api_tokens", "parent_id")
    op.drop_column("api_tokens", "service_account_id")
    op.drop_table("service_accounts")
