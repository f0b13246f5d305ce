"""The model of a set beside its texts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("texts_sets", sa.Column("model", sa.JSON()))
