"""Keep plans, who has which, what each person stores, and what is on its way.

What is stored is counted by triggers on the table of files, so that whoever writes that table, and however its rows
end, the sums are right, and nobody adds up all files to know them. A migration that makes the table of files anew on
SQLite has to call `make_triggers` again, as they go with it.
"""

import sqlalchemy as sa
from alembic import op

from ecluse.catalog.migrations.counting import count_anew, make_triggers, remove_triggers

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_MB, _GB = 1_000_000, 1_000_000_000
#: Name, days, models, bytes of an upload, bytes stored, jobs at a time, images.
_SEEDS = (
    ("trial", 14, 3, 100 * _MB, 2 * _GB, 2, 5_000),
    ("basic", 30, 10, 500 * _MB, 20 * _GB, 4, 20_000),
    ("premium", 365, 50, 2 * _GB, 200 * _GB, 10, 200_000),
    ("enterprise", None, 999, 10 * _GB, 2_000 * _GB, 50, 2_000_000),
)


def upgrade() -> None:
    plans = op.create_table(
        "plans",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.BigInteger(), nullable=True),
        sa.Column("models", sa.BigInteger(), nullable=True),
        sa.Column("upload_bytes", sa.BigInteger(), nullable=True),
        sa.Column("storage_bytes", sa.BigInteger(), nullable=True),
        sa.Column("jobs", sa.BigInteger(), nullable=True),
        sa.Column("images", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    names = ("name", "days", "models", "upload_bytes", "storage_bytes", "jobs", "images")
    for position, values in enumerate(_SEEDS):
        row = dict(zip(names, values, strict=True))
        op.execute(plans.insert().values(position=position, updated_at=sa.func.current_timestamp(), **row))
    op.create_table(
        "user_plans",
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("plan", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["plan"], ["plans.name"]),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "stored",
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "kind"),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=True),
        sa.Column("job_id", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_reservations_user_id", "reservations", ["user_id"])
    op.add_column("jobs", sa.Column("part", sa.Boolean(), nullable=False, server_default=sa.false()))
    make_triggers(op.get_bind())
    count_anew(op.get_bind())


def downgrade() -> None:
    remove_triggers(op.get_bind())
    op.drop_column("jobs", "part")
    for table in ("reservations", "stored", "user_plans", "plans"):
        op.drop_table(table)
