"""Keep sentences by their messages and values, as JSON. Texts of before become strings of JSON."""

import json

import sqlalchemy as sa
from alembic import op

from ecluse.sentences import from_json

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

COLUMNS = (
    ("datasets", "error"),
    ("training_history", "error"),
    ("model_versions", "damage"),
    ("predictions", "error"),
    ("inspections", "error"),
    ("migrations", "error"),
    ("jobs", "message"),
    ("jobs", "error"),
    ("images", "reason"),
    ("runs", "error"),
)


def upgrade() -> None:
    as_json = "to_json({})::text" if op.get_bind().dialect.name == "postgresql" else "json_quote({})"
    for table, column in COLUMNS:
        value = as_json.format(column)
        op.execute(f"UPDATE {table} SET {column} = {value} WHERE {column} IS NOT NULL")  # noqa: S608


def downgrade() -> None:
    """Leave the English of each."""
    connection = op.get_bind()
    for table, column in COLUMNS:
        stored = sa.text(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
        replace = sa.text(f"UPDATE {table} SET {column} = :text WHERE {column} = :stored")  # noqa: S608
        for value in connection.execute(stored).scalars().all():
            connection.execute(replace, {"stored": value, "text": str(from_json(json.loads(value)))})
