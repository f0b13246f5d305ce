"""Note objects that no row points at yet, or any more, so that none is left behind by who was killed."""

import sqlalchemy as sa
from alembic import op

from ecluse.catalog.migrations.noting import make_triggers, remove_triggers
from ecluse.catalog.tables import UtcDateTime

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()


def upgrade() -> None:
    op.create_table(
        "object_notes",
        sa.Column("url", sa.String(length=1200), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("url"),
    )
    op.create_index("ix_object_notes_due_at", "object_notes", ["due_at"])
    make_triggers(op.get_bind())


def downgrade() -> None:
    remove_triggers(op.get_bind())
    op.drop_table("object_notes")
