"""Keep of a job the code of the error that it failed with, and the trace that it belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.add_column("jobs", sa.Column("error_code", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("trace", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "trace")
    op.drop_column("jobs", "error_code")
