"""Keep images with their labels and splits, and the trainings of every application with their metrics."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_sets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("staged_url", sa.String(length=1200), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_import", sa.JSON(), nullable=False),
        sa.Column("audited_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("user_id", "name"),
    )
    op.create_index("ix_image_sets_user_id", "image_sets", ["user_id"])
    op.create_index("ix_image_sets_job_id", "image_sets", ["job_id"])
    op.create_table(
        "images",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("set_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("url", sa.String(length=1200), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(length=8), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("imported_label", sa.String(length=100), nullable=False),
        sa.Column("origin", sa.String(length=1200), nullable=False),
        sa.Column("seen_again", sa.JSON(), nullable=False),
        sa.Column("contested", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("perceptual_hash", sa.String(length=16), nullable=True),
        sa.Column("near_group", sa.String(length=32), nullable=True),
        sa.Column("suspicion", sa.Float(), nullable=True),
        sa.Column("suggested_label", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["image_sets.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("set_id", "sha256"),
    )
    op.create_index("ix_images_state", "images", ["set_id", "state", "label"])
    op.create_index("ix_images_user_id", "images", ["user_id"])
    op.create_index("ix_images_url", "images", ["url"])
    op.create_index("ix_images_near_group", "images", ["near_group"])
    op.create_table(
        "image_splits",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("set_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("shares", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("data_digest", sa.String(length=64), nullable=False),
        sa.Column("url", sa.String(length=1200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["image_sets.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_image_splits_set_id", "image_splits", ["set_id"])
    op.create_index("ix_image_splits_user_id", "image_splits", ["user_id"])
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("application", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("artifacts", sa.JSON(), nullable=False),
        sa.Column("subject", sa.JSON(), nullable=False),
        sa.Column("exports", sa.JSON(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("version", sa.String(length=32), nullable=True),
        sa.Column("url", sa.String(length=1200), nullable=True),
        sa.Column("parent_version", sa.String(length=140), nullable=True),
        sa.Column("finish_early_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_runs_user_time", "runs", ["user_id", "created_at"])
    op.create_index("ix_runs_status", "runs", ["status"])
    op.create_index("ix_runs_job_id", "runs", ["job_id"])
    op.create_table(
        "run_metrics",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "name", "step"),
    )
    _track_history()


def _track_history() -> None:
    """Make a run of each training that was asked for before runs were kept, under its id."""
    moment = sa.DateTime(timezone=True)
    text, past, stored = sa.String(), sa.MetaData(), sa.JSON()
    columns: dict[str, sa.types.TypeEngine[Any]] = {
        "id": text, "user_id": text, "job_id": text, "dataset_id": text, "model_name": text, "version": text,
        "plan": stored, "status": text, "metrics": stored, "model_path": text, "finish_early_at": moment,
        "error": text, "created_at": moment, "finished_at": moment,
    }  # fmt: skip
    history = sa.Table("training_history", past, *(sa.Column(name, kind) for name, kind in columns.items()))
    kept: dict[str, sa.types.TypeEngine[Any]] = {
        "id": text, "user_id": text, "application": text, "kind": text, "name": text, "status": text,
        "parameters": stored, "tags": stored, "metrics": stored, "artifacts": stored, "subject": stored,
        "exports": stored, "job_id": text, "version": text, "url": text, "finish_early_at": moment, "error": text,
        "created_at": moment, "started_at": moment, "finished_at": moment,
    }  # fmt: skip
    runs = sa.Table("runs", past, *(sa.Column(name, kind) for name, kind in kept.items()))
    connection = op.get_bind()
    for row in connection.execute(sa.select(history)).mappings().all():
        plan, metrics = row["plan"] or {}, row["metrics"] or {}
        has_begun = row["status"] not in ("queued", "cancelled")
        run = {name: row[name] for name in ("id", "user_id", "job_id", "version", "status", "error")}
        run |= {name: row[name] for name in ("finish_early_at", "created_at", "finished_at")}
        run |= {
            "application": "fraud",
            "kind": "ensemble" if plan.get("kind") == "ensemble" else "search",
            "name": row["model_name"],
            "parameters": _flat(plan.get("request") or plan),
            "tags": {},
            "metrics": {name: value for name, value in metrics.items() if isinstance(value, int | float)},
            "artifacts": [],
            "subject": {"dataset_id": row["dataset_id"]},
            "exports": {},
            "url": row["model_path"],
            "started_at": row["created_at"] if has_begun else None,
        }
        connection.execute(runs.insert().values(**run))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[f"{prefix}{name}"] = ", ".join(map(str, value))[:500]
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def downgrade() -> None:
    for table in ("run_metrics", "runs", "image_splits", "images", "image_sets"):
        op.drop_table(table)
