"""Keep where things lie, aliases of versions, and migrations between stores."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "migrations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=True),
        sa.Column("source", sa.String(length=1200), nullable=False),
        sa.Column("destination", sa.String(length=1200), nullable=False),
        sa.Column("prefix", sa.String(length=1024), nullable=False),
        sa.Column("switches_rows", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("held_by", sa.String(length=300), nullable=True),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seconds_at_work", sa.Float(), nullable=False),
        sa.Column("rows_switched", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_migrations_job_id"), "migrations", ["job_id"], unique=False)
    op.create_index(op.f("ix_migrations_state"), "migrations", ["state"], unique=False)
    op.create_table(
        "migration_objects",
        sa.Column("migration_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("source_tag", sa.String(length=200), nullable=True),
        sa.Column("e_tag", sa.String(length=200), nullable=True),
        sa.Column("times_copied", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migrations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("migration_id", "key"),
    )
    op.create_table(
        "migration_rows",
        sa.Column("migration_id", sa.String(length=32), nullable=False),
        sa.Column("table_name", sa.String(length=40), nullable=False),
        sa.Column("row_id", sa.String(length=32), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migrations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("migration_id", "table_name", "row_id"),
    )
    op.create_table(
        "model_aliases",
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "name", "alias"),
    )
    op.create_table(
        "publications",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("url", sa.String(length=1200), nullable=False),
        sa.Column("nonce", sa.String(length=200), nullable=False),
        sa.Column("application", sa.String(length=16), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "name", "version"),
        sa.UniqueConstraint("id"),
    )
    op.add_column(
        "model_versions",
        sa.Column("application", sa.String(length=16), server_default="fraud", nullable=False),
    )
    op.add_column(
        "model_versions", sa.Column("url", sa.String(length=1200), server_default="", nullable=False)
    )
    op.add_column("model_versions", sa.Column("details", sa.JSON(), server_default="{}", nullable=False))
    op.add_column("model_versions", sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("model_versions", sa.Column("damaged_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("model_versions", sa.Column("damage", sa.String(), nullable=True))
    op.add_column("predictions", sa.Column("url", sa.String(length=1200), nullable=True))
    op.add_column(
        "reference_models", sa.Column("url", sa.String(length=1200), server_default="", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("reference_models", "url")
    op.drop_column("predictions", "url")
    for column in ("damage", "damaged_at", "verified_at", "details", "url", "application"):
        op.drop_column("model_versions", column)
    for table in ("publications", "model_aliases", "migration_rows", "migration_objects", "migrations"):
        op.drop_table(table)
