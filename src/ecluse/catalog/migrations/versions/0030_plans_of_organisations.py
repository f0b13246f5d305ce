"""Note whose plan that of an organisation follows: who made it, so that to hand it over gives no new room."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
phase = "expand"
rewrites = ("user_plans",)


def upgrade() -> None:
    op.add_column("user_plans", sa.Column("follows", sa.String(length=32), nullable=True))
    op.create_index("ix_user_plans_follows", "user_plans", ["follows"])
    bind = op.get_bind()
    plans, users = (
        sa.table("user_plans", sa.column("user_id"), sa.column("follows")),
        sa.table("users", *map(sa.column, ("id", "kind"))),
    )
    log = sa.table("audit_log", *map(sa.column, ("user_id", "action")), sa.column("detail", sa.JSON()))
    ours = set(bind.scalars(sa.select(users.c.id).where(users.c.kind == "organisation")))
    held = ours & set(bind.scalars(sa.select(plans.c.user_id)))
    made = bind.execute(sa.select(log.c.user_id, log.c.detail).where(log.c.action == "organisation.add"))
    for maker, detail in made.all():
        if (organisation := (detail or {}).get("id")) in held:
            bind.execute(sa.update(plans).where(plans.c.user_id == organisation).values(follows=maker))


def downgrade() -> None:
    op.drop_index("ix_user_plans_follows", "user_plans")
    op.drop_column("user_plans", "follows")
