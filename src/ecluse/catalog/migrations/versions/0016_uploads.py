"""Let programs publish versions in parts, and begin runs by a nonce of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("nonce", sa.String(length=200), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("part_bytes", sa.BigInteger(), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("user_id", "name", "nonce"),
    )
    op.create_index("ix_model_uploads_version", "model_uploads", ["user_id", "name", "version"])
    op.add_column("runs", sa.Column("nonce", sa.String(length=200), nullable=True))
    op.create_index("ix_runs_user_nonce", "runs", ["user_id", "nonce"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_runs_user_nonce", table_name="runs")
    op.drop_column("runs", "nonce")
    files = sa.table("files", sa.column("table_name", sa.String()))
    op.execute(files.delete().where(files.c.table_name == "model_uploads"))
    op.drop_table("model_uploads")
