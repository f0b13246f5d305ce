"""Keep documents by kind and key."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _by_bytes(limit: int) -> sa.types.TypeEngine[str]:
    return sa.String(length=limit).with_variant(sa.String(length=limit, collation="C"), "postgresql")


def upgrade() -> None:
    # `ecluse documents create` may have made it already, in a database that was no catalog then.
    op.create_table(
        "documents",
        sa.Column("kind", _by_bytes(255), nullable=False),
        sa.Column("key", _by_bytes(512), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key"),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("documents")
