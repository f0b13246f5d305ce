"""Note which release a job and a worker are of, and the oldest one that can still work with these tables."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.create_table(
        "compatibility",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("oldest", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("jobs", sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("workers", sa.Column("versions", sa.JSON(), nullable=True))
    op.add_column("workers", sa.Column("release", sa.String(length=32), nullable=True))
    op.add_column("workers", sa.Column("revision", sa.String(length=16), nullable=True))


def downgrade() -> None:
    for column in ("revision", "release", "versions"):
        op.drop_column("workers", column)
    op.drop_column("jobs", "version")
    op.drop_table("compatibility")
