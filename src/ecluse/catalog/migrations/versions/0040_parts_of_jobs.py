"""Keep the parts of a job, on which any worker works, and the turn in which each job is taken."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.add_column("jobs", sa.Column("turn", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("jobs", sa.Column("parts", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("jobs", sa.Column("parent_id", sa.String(length=100), nullable=True))
    op.add_column("jobs", sa.Column("map_name", sa.String(length=120), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("place", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("jobs", sa.Column("share", sa.Float(), nullable=False, server_default=sa.text("0")))
    op.create_index("ix_jobs_parts", "jobs", ["parent_id", "map_name", "place"])


def downgrade() -> None:
    op.drop_index("ix_jobs_parts", table_name="jobs")
    for column in ("share", "place", "map_name", "parent_id", "parts", "turn"):
        op.drop_column("jobs", column)
