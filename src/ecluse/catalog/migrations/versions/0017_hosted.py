"""Keep the files of applications in one file."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hosted_files",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("application", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("verb", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_hosted_files_owner", "hosted_files", ["user_id", "application", "created_at"])
    op.create_index("ix_hosted_files_job_id", "hosted_files", ["job_id"])


def downgrade() -> None:
    files = sa.table("files", sa.column("table_name", sa.String()))
    op.execute(files.delete().where(files.c.table_name == "hosted_files"))
    op.drop_table("hosted_files")
