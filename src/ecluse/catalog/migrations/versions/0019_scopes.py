"""Say of a token what it may do, and which model it is for."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Tokens of before go on as they were: all of the API, for every model, until they end.
    op.add_column(
        "api_tokens", sa.Column("scopes", sa.String(length=64), nullable=False, server_default="manage")
    )
    op.add_column("api_tokens", sa.Column("model", sa.String(length=100), nullable=True))


def downgrade() -> None:
    # A version of before would take a token for less as one for everything.
    tokens = sa.table("api_tokens", sa.column("scopes", sa.String()), sa.column("model", sa.String()))
    op.execute(tokens.delete().where((tokens.c.scopes != "manage") | tokens.c.model.is_not(None)))
    op.drop_column("api_tokens", "model")
    op.drop_column("api_tokens", "scopes")
