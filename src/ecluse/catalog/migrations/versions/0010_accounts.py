"""Disable accounts, say what a token may do and how a session began, and keep secrets of the first account."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sessions", sa.Column("by_link", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column(
        "api_tokens", sa.Column("administers", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    # Tokens of before could do whatever their owner could; programs that rely on it go on.
    op.execute("UPDATE api_tokens SET administers = true")
    op.create_table(
        "first_account_secrets",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("secret_hash"),
    )
    op.create_index("ix_audit_log_time", "audit_log", ["created_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_audit_log_time", table_name="audit_log")
    op.drop_table("first_account_secrets")
    op.drop_column("api_tokens", "administers")
    op.drop_column("sessions", "by_link")
    op.drop_column("users", "disabled_at")
