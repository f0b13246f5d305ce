"""Keep sketches of reference models, corrected mappings, labels of rows, and inspections of models."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _reference_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("version", sa.String(length=32), server_default="", nullable=False),
        sa.Column("manifest_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("target", sa.String(length=300), server_default="", nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("fraud_rate", sa.Float(), nullable=True),
        sa.Column("sketches", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("transfer", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
    )


def upgrade() -> None:
    op.add_column("training_history", sa.Column("finish_early_at", sa.DateTime(timezone=True), nullable=True))
    for column in _reference_columns():
        op.add_column("reference_models", column)
    op.create_index(
        "ix_reference_models_changes", "reference_models", ["name", "updated_at", "created_at", "size_bytes"]
    )
    op.create_table(
        "column_mappings",
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("reference", sa.String(length=100), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset_id", "reference"),
    )
    op.create_table(
        "labels",
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("label", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset_id", "row"),
    )
    op.create_index(op.f("ix_labels_user_id"), "labels", ["user_id"], unique=False)
    op.create_table(
        "inspections",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("other_version", sa.String(length=32), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_inspections_model", "inspections", ["user_id", "model_name", "version"], unique=False)
    for name in ("job_id", "dataset_id", "status"):
        op.create_index(op.f(f"ix_inspections_{name}"), "inspections", [name], unique=False)


def downgrade() -> None:
    for table in ("inspections", "labels", "column_mappings"):
        op.drop_table(table)
    op.drop_index("ix_reference_models_changes", "reference_models")
    for added in reversed(_reference_columns()):
        op.drop_column("reference_models", added.name)
    op.drop_column("training_history", "finish_early_at")
