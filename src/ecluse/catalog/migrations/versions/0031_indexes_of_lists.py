"""Give lists the indexes that have their order: by owner and time, size or name, and by reader with the end."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ()

BY_TIME = ("datasets", "predictions", "inspections")
READER = ["reader_id", "kind", "owner_id", "name"]


def upgrade() -> None:
    for table in BY_TIME:
        op.create_index(f"ix_{table}_owner_time", table, ["user_id", "created_at"])
    for table in ("datasets", "predictions"):  # which the new one begins with
        op.drop_index(f"ix_{table}_user_id", table)
    op.create_index("ix_runs_user_name", "runs", ["user_id", "application", "name"])
    op.create_index("ix_files_largest", "files", ["user_id", "table_name", "size_bytes"])
    op.drop_index("ix_shares_reader", "shares")
    op.create_index("ix_shares_reader", "shares", [*READER, "expires_at"])


def downgrade() -> None:
    op.drop_index("ix_shares_reader", "shares")
    op.create_index("ix_shares_reader", "shares", READER)
    op.drop_index("ix_files_largest", "files")
    op.drop_index("ix_runs_user_name", "runs")
    for table in ("datasets", "predictions"):
        op.create_index(f"ix_{table}_user_id", table, ["user_id"])
    for table in BY_TIME:
        op.drop_index(f"ix_{table}_owner_time", table)
