"""Give work a table of its own, and make of each training in the history what its run keeps besides."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

#: What the history said of a training and its run says too, both written in one transaction.
SUMMARY = ("average_precision", "roc_auc", "precision", "recall", "f1", "brier", "threshold")
#: Begins what is said of a table whose reading a person stopped.
READING_STOPPED = "%Reading it was stopped on request.%"
#: Of each table: its columns that are now those of the work, and those of them with an index.
MOVED = {
    "datasets": (("state", "job_id", "error"), ()),
    "predictions": (("job_id", "status", "error", "finished_at"), ("job_id", "status")),
    "inspections": (("job_id", "status", "error", "finished_at"), ("job_id", "status")),
    "runs": (("job_id", "status", "error", "started_at", "finished_at"), ("job_id", "status")),
}
ACTIVE = "('queued', 'running')"


def upgrade() -> None:
    _make_tables()
    _add_missing_runs()
    for statement in (_OF_RUNS, _OF_PREDICTIONS, _OF_INSPECTIONS, _OF_DATASETS):
        op.execute(statement)
    _begin_as_jobs_do()
    _keep_trainings()
    _keep_layouts()
    for table, (columns, indexed) in MOVED.items():
        for column in indexed:
            op.drop_index(f"ix_{table}_{column}", table_name=table)
        for column in columns:
            op.drop_column(table, column)
    op.drop_table("training_history")
    queued = sa.text("status = 'queued'")
    op.create_index(
        "ix_jobs_queued", "jobs", ["queue", "number"], sqlite_where=queued, postgresql_where=queued
    )


def _make_tables() -> None:
    op.create_table(
        "work",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=100), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_work_user_id", "work", ["user_id"])
    op.create_index("ix_work_job_id", "work", ["job_id"])
    active = sa.text(f"status IN {ACTIVE}")
    op.create_index("ix_work_active", "work", ["status"], sqlite_where=active, postgresql_where=active)
    op.create_table(
        "fraud_trainings",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("target_column", sa.String(length=300), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index("ix_fraud_trainings_dataset_id", "fraud_trainings", ["dataset_id"])


#: A training ended as the history says, and learning as its inspection; their runs say so some microseconds later.
_OF_RUNS = """
INSERT INTO work (id, user_id, status, job_id, final, error, started_at, finished_at)
SELECT r.id, r.user_id, coalesce(h.status, r.status), coalesce(h.job_id, r.job_id),
    coalesce(h.version, r.version) IS NOT NULL AND coalesce(h.status, r.status) IN ('queued', 'running', 'done'),
    CASE WHEN h.id IS NULL THEN r.error ELSE h.error END, r.started_at,
    coalesce(h.finished_at, i.finished_at, r.finished_at)
FROM runs r LEFT JOIN training_history h ON h.id = r.id LEFT JOIN inspections i ON i.id = r.id
"""
_OF_PREDICTIONS = """
INSERT INTO work (id, user_id, status, job_id, final, error, finished_at)
SELECT id, user_id, status, job_id, status = 'done', error, finished_at FROM predictions
"""
#: What was learned from labels is a run of the same id, and has its row of work already.
_OF_INSPECTIONS = """
INSERT INTO work (id, user_id, status, job_id, final, error, finished_at)
SELECT id, user_id, status, job_id, status = 'done', error, finished_at FROM inspections
WHERE id NOT IN (SELECT id FROM work)
"""
#: A table that was read and could not be read in another way is ready, and says why not.
_OF_DATASETS = sa.text("""
INSERT INTO work (id, user_id, status, job_id, final, error)
SELECT id, user_id,
    CASE WHEN state = 'profiling' THEN 'queued' WHEN error LIKE :stopped THEN 'cancelled'
        WHEN error IS NOT NULL OR state = 'failed' THEN 'failed' ELSE 'done' END,
    job_id, state = 'ready', CASE WHEN error LIKE :stopped THEN NULL ELSE error END
FROM datasets
""").bindparams(stopped=READING_STOPPED)


def _begin_as_jobs_do() -> None:
    """Take from jobs what the rows did not say: when the work began and ended, and whether a table is being read."""
    for column in ("started_at", "finished_at"):
        ended = "" if column == "started_at" else f"AND status NOT IN {ACTIVE}"
        op.execute(
            f"UPDATE work SET {column} = (SELECT jobs.{column} FROM jobs WHERE jobs.id = work.job_id) "  # noqa: S608
            f"WHERE {column} IS NULL AND id NOT IN (SELECT id FROM runs) {ended}"
        )
    op.execute(
        "UPDATE work SET status = 'running' WHERE status = 'queued' AND id IN (SELECT id FROM datasets) "
        "AND job_id IN (SELECT id FROM jobs WHERE status = 'running')"
    )


def _tables(*names: str) -> list[sa.Table]:
    metadata = sa.MetaData()
    return [sa.Table(name, metadata, autoload_with=op.get_bind()) for name in names]


def _add_missing_runs() -> None:
    """Make a run of each training that has none."""
    history, runs = _tables("training_history", "runs")
    connection = op.get_bind()
    missing = sa.select(history).where(history.c.id.not_in(sa.select(runs.c.id)))
    for row in connection.execute(missing).mappings().all():
        same = ("id", "user_id", "job_id", "version", "status", "error", "finish_early_at", "created_at")
        run: dict[str, Any] = {name: row[name] for name in (*same, "finished_at")}
        plan = row["plan"] or {}
        run |= {
            "application": "fraud",
            "kind": "ensemble" if plan.get("kind") == "ensemble" else "search",
            "name": row["model_name"],
            "parameters": {},
            "tags": {},
            "metrics": {},
            "artifacts": [],
            "subject": {"dataset_id": row["dataset_id"]},
            "exports": {},
        }
        connection.execute(runs.insert().values(**run))


def _keep_trainings() -> None:
    """Bring over what runs do not say of trainings, figures included."""
    history, runs, trainings = _tables("training_history", "runs", "fraud_trainings")
    connection = op.get_bind()
    query = sa.select(history, runs.c.metrics.label("measured"), runs.c.version.label("of_run"))
    for row in connection.execute(query.join(runs, runs.c.id == history.c.id)).mappings().all():
        plan = row["plan"] if isinstance(row["plan"], dict) else {}
        kept = {"dataset_id": row["dataset_id"], "target_column": row["target_column"], "plan": plan}
        connection.execute(trainings.insert().values(run_id=row["id"], **kept))
        said, measured = row["metrics"] or {}, row["measured"] or {}
        lacking = {
            name: said[name]
            for name in SUMMARY
            if name not in measured and isinstance(said.get(name), int | float)
        }
        changed: dict[str, Any] = {"metrics": measured | lacking} if lacking else {}
        if row["of_run"] is None and row["version"] is not None:
            changed["version"] = row["version"]
        if changed:
            connection.execute(runs.update().where(runs.c.id == row["id"]).values(**changed))


def _keep_layouts() -> None:
    """Say of tables that are read in another way how they were read before; their job knows how they are to be."""
    datasets, jobs = _tables("datasets", "jobs")
    connection = op.get_bind()
    for row in connection.execute(sa.select(datasets.c.id, datasets.c.job_id, datasets.c.layout)).all():
        layout = row.layout if isinstance(row.layout, dict) else {}
        if "before" not in layout:
            continue
        before = layout["before"]
        new_layout = {name: value for name, value in layout.items() if name != "before"}
        connection.execute(datasets.update().where(datasets.c.id == row.id).values(layout=before))
        subject = connection.scalar(sa.select(jobs.c.subject).where(jobs.c.id == row.job_id))
        if isinstance(subject, dict):
            new_subject = subject | {"layout": new_layout}
            connection.execute(jobs.update().where(jobs.c.id == row.job_id).values(subject=new_subject))


def downgrade() -> None:
    op.drop_index("ix_jobs_queued", table_name="jobs")
    op.create_table(
        "training_history",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("dataset_id", sa.String(length=32), nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=True),
        sa.Column("target_column", sa.String(length=300), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("finish_early_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("dataset_id", "job_id", "status", "user_id"):
        op.create_index(f"ix_training_history_{column}", "training_history", [column])
    kinds: dict[str, sa.types.TypeEngine[Any]] = {
        "status": sa.String(length=16), "state": sa.String(length=16), "job_id": sa.String(length=64),
        "error": sa.String(), "started_at": sa.DateTime(timezone=True), "finished_at": sa.DateTime(timezone=True),
    }  # fmt: skip
    first = {"status": "queued", "state": "profiling"}
    for table, (columns, indexed) in MOVED.items():
        for column in columns:
            begins = first.get(column)
            op.add_column(
                table, sa.Column(column, kinds[column], nullable=begins is None, server_default=begins)
            )
            value = column if column != "state" else _STATE
            op.execute(
                f"UPDATE {table} SET {column} = (SELECT {value} FROM work WHERE work.id = {table}.id)"  # noqa: S608
            )
        for column in indexed:
            op.create_index(f"ix_{table}_{column}", table, [column])
    op.execute(
        "INSERT INTO training_history (id, user_id, job_id, dataset_id, model_name, version, target_column, plan, "
        "status, metrics, finish_early_at, error, created_at, finished_at) "
        "SELECT r.id, r.user_id, r.job_id, f.dataset_id, r.name, r.version, f.target_column, f.plan, r.status, "
        "r.metrics, r.finish_early_at, r.error, r.created_at, r.finished_at "
        "FROM runs r JOIN fraud_trainings f ON f.run_id = r.id"
    )
    op.drop_table("fraud_trainings")
    op.drop_table("work")


_STATE = f"CASE WHEN status IN {ACTIVE} THEN 'profiling' WHEN status = 'done' THEN 'ready' ELSE 'failed' END"
