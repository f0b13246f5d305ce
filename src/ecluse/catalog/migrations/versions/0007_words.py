"""Keep the ranking of scored tables, and which sheet and row of an uploaded file its columns begin in."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("predictions", sa.Column("ranking", sa.LargeBinary(), nullable=True))
    op.add_column("datasets", sa.Column("layout", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "layout")
    op.drop_column("predictions", "ranking")
