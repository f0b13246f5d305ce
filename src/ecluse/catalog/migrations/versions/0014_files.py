"""Say in one table what lies in the stores: of every file its owner, the row it serves, address, digest and bytes.

The columns of other tables that said so go; what was in them is in the table of files. A run keeps of each file of its
version the name, digest and bytes, and no address: that follows from its own.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TEXT, _STORED, _MOMENT = sa.String(), sa.JSON(), sa.DateTime(timezone=True)
_AT_ONCE = 1000


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("table_name", sa.String(length=40), nullable=False),
        sa.Column("row_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=32), nullable=True),
        sa.Column("application", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("form", sa.String(length=16), nullable=False),
        sa.Column("area", sa.String(length=16), nullable=False),
        sa.Column("url", sa.String(length=1200), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("owned", sa.Boolean(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("table_name", "row_id", "name"),
    )
    for values in _files():
        _keep(**values)
    op.create_index("ix_files_owner", "files", ["user_id", "kind"])
    op.create_index("ix_files_url", "files", ["url"])
    _forget_addresses_of_artifacts()
    _rewrite_journal()
    _drop_columns()


def _files() -> list[dict[str, Any]]:
    """Return what each table says of its files: (from where, the columns of files, which rows have one)."""
    descriptions: list[dict[str, Any]] = [
        _from("datasets", kind="uploads", application="fraud", counted=True)
        | {"key": "key", "sha256": "sha256", "size_bytes": "size_bytes"},
        _from("predictions", kind="results", application="fraud", counted=True)
        | {"key": "key", "sha256": "sha256", "size_bytes": "size_bytes", "having": ("url", "key")},
        _from("model_versions", kind="models", application=None, counted=True, form="version", area="models")
        | {"key": "prefix", "sha256": "manifest_digest", "size_bytes": "size_bytes"},
        _from("publications", kind="publications", application=None, form="version", area="models", owned=False),
        _from("image_sets", kind="staged", application="plants", form="folder")
        | {"url": "staged_url", "having": ("staged_url",)},
        _from("images", kind="images", application="plants", counted=True, area="images")
        | {"table": "image_sets", "row_id": "set_id", "name": "id", "sha256": "sha256", "size_bytes": "size_bytes"},
        _from("image_splits", kind="splits", application="plants")
        | {"sha256": "sha256", "size_bytes": "size_bytes"},
        _from("runs", kind="runs", application=None, form="version", area="models", owned=False)
        | {"having": ("url",)},
        _from("reference_models", kind="references", application="fraud", form="version", area="models")
        | {"key": "prefix", "sha256": "manifest_digest", "size_bytes": "size_bytes", "user_id": None},
    ]  # fmt: skip
    if sa.inspect(op.get_bind()).has_table("training_history"):
        run = _from("training_history", kind="runs", application="fraud", form="version", area="models")
        descriptions.append(
            run | {"table": "runs", "url": "model_path", "owned": False, "having": ("model_path",)}
        )
    return descriptions


def _from(source: str, **constants: Any) -> dict[str, Any]:
    return {
        "source": source, "table": source, "row_id": "id", "name": None, "user_id": "user_id", "url": "url",
        "key": None, "sha256": None, "size_bytes": None, "form": "object", "area": "data", "counted": False,
        "owned": True, "having": (),
    } | constants  # fmt: skip


def _keep(source: str, table: str, having: tuple[str, ...], **of: Any) -> None:
    """Make the files of the rows of a table, in one statement."""
    columns = ("row_id", "name", "user_id", "url", "key", "sha256", "size_bytes")
    names = {of[column] for column in columns if of[column]} | {"created_at", *having}
    names |= {"storage_type", "bucket"} if source == "reference_models" else set()
    names |= {"application"} if of["application"] is None else set()
    rows = sa.table(source, *(sa.column(name) for name in names))

    def column(name: str, otherwise: Any = None) -> Any:
        return (
            rows.c[of[name]] if of[name] else sa.literal(otherwise, _TEXT) if otherwise == "" else sa.null()
        )

    url: Any = sa.func.coalesce(column("url"), "")
    if source == "reference_models":
        in_bucket = rows.c.storage_type + "://" + rows.c.bucket + "/" + rows.c.prefix
        url = sa.case((sa.and_(url == "", rows.c.bucket.is_not(None)), in_bucket), else_=url)
    chosen = {
        "table_name": sa.literal(table, _TEXT),
        "row_id": column("row_id"),
        "name": column("name", ""),
        "user_id": column("user_id"),
        "application": rows.c.application if of["application"] is None else sa.literal(of["application"], _TEXT),
        "kind": sa.literal(of["kind"], _TEXT),
        "form": sa.literal(of["form"], _TEXT),
        "area": sa.literal(of["area"], _TEXT),
        "url": url,
        "key": column("key"),
        "sha256": sa.func.nullif(column("sha256"), "") if of["sha256"] else sa.null(),
        "size_bytes": column("size_bytes") if source != "reference_models"
        else sa.func.nullif(rows.c.size_bytes, 0),
        "counted": sa.true() if of["counted"] else sa.false(),
        "owned": sa.true() if of["owned"] else sa.false(),
        "created_at": rows.c.created_at,
    }  # fmt: skip
    query = sa.select(*(value.label(name) for name, value in chosen.items()))
    if having:
        query = query.where(sa.or_(*(sa.func.coalesce(rows.c[name], "") != "" for name in having)))
    if source == "training_history":
        there = sa.table("files", sa.column("table_name"), sa.column("row_id"))
        query = query.where(rows.c.id.not_in(sa.select(there.c.row_id).where(there.c.table_name == "runs")))
    files = sa.table("files", *(sa.column(name) for name in chosen))
    op.execute(files.insert().from_select(list(chosen), query))


def _runs() -> sa.TableClause:
    return sa.table("runs", sa.column("id", _TEXT), sa.column("artifacts", _STORED))


def _addresses() -> sa.TableClause:
    names = ("table_name", "row_id", "name", "url")
    return sa.table("files", *(sa.column(name, _TEXT) for name in names))


def _forget_addresses_of_artifacts() -> None:
    """Keep the address of an artifact only where it does not follow from that of its run."""
    runs, files, connection = _runs(), _addresses(), op.get_bind()
    of_runs = sa.select(files.c.row_id, files.c.url).where(files.c.table_name == "runs")
    at = {row_id: url for row_id, url in connection.execute(of_runs)}  # noqa: C416
    changed = []
    for run_id, artifacts in connection.execute(sa.select(runs)).all():
        kept = [_without_address(artifact, at.get(run_id)) for artifact in artifacts or []]
        if kept != artifacts:
            changed.append({"run": run_id, "kept": kept})
    if changed:
        statement = (
            runs.update().where(runs.c.id == sa.bindparam("run")).values(artifacts=sa.bindparam("kept"))
        )
        connection.execute(statement, changed)


def _without_address(artifact: Any, folder: str | None) -> Any:
    if not isinstance(artifact, dict) or artifact.get("url") != f"{folder}/{artifact.get('name')}":
        return artifact
    return {name: value for name, value in artifact.items() if name != "url"}


def _rewrite_journal() -> None:
    """Let the journal of migrations tell of files what it told of rows."""
    connection = op.get_bind()
    old = sa.table(
        "migration_rows", *(sa.column(name, _TEXT) for name in ("migration_id", "table_name", "row_id")),
        sa.column("before", _STORED),
    )  # fmt: skip
    images = sa.table("images", sa.column("id"), sa.column("set_id"))
    sets = dict(connection.execute(sa.select(images.c.id, images.c.set_id).where(
        images.c.id.in_(sa.select(old.c.row_id).where(old.c.table_name == "images"))
    )).all())  # fmt: skip
    written: dict[tuple[str, str, str, str], str] = {}
    for migration, table, row_id, before in connection.execute(sa.select(old)).all():
        key = {
            "images": ("image_sets", sets[row_id], row_id) if row_id in sets else ("images", row_id, ""),
            "training_history": ("runs", row_id, ""),
        }.get(table, (table, row_id, ""))
        written.setdefault((migration, *key), before.get("url") or before.get("model_path") or "")
    op.drop_table("migration_rows")
    new = op.create_table(
        "migration_rows",
        sa.Column("migration_id", sa.String(length=32), nullable=False),
        sa.Column("table_name", sa.String(length=40), nullable=False),
        sa.Column("row_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("url", sa.String(length=1200), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migrations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("migration_id", "table_name", "row_id", "name"),
    )
    names = ("migration_id", "table_name", "row_id", "name")
    rows = [dict(zip(names, key, strict=True)) | {"url": url} for key, url in written.items()]
    for start in range(0, len(rows), _AT_ONCE):
        connection.execute(new.insert(), rows[start : start + _AT_ONCE])


#: Table → the columns that go, which the table of files has now.
_GONE: dict[str, tuple[str, ...]] = {
    "datasets": ("key", "url", "size_bytes", "sha256"),
    "predictions": ("key", "url", "size_bytes", "sha256"),
    "model_versions": ("prefix", "url", "size_bytes", "manifest_digest"),
    "publications": ("url",),
    "image_sets": ("staged_url",),
    "images": ("url", "size_bytes"),
    "image_splits": ("url", "sha256", "size_bytes"),
    "runs": ("url",),
    "reference_models": ("storage_type", "bucket", "prefix", "url", "manifest_digest", "size_bytes"),
    "training_history": ("model_path",),
}


def _drop_columns() -> None:
    op.drop_index("ix_datasets_url", "datasets")
    op.drop_index("ix_images_url", "images")
    op.drop_index("ix_reference_models_changes", "reference_models")
    for table, names in _GONE.items():
        if not sa.inspect(op.get_bind()).has_table(table):
            continue
        # SQLite makes a table anew to drop what is unique, and drops anything else by itself.
        with op.batch_alter_table(table, recreate="auto" if "key" in names else "never") as batch:
            for name in names:
                batch.drop_column(name)
    op.create_index("ix_reference_models_changes", "reference_models", ["name", "updated_at", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_reference_models_changes", "reference_models")
    numbers = {"size_bytes": sa.BigInteger()}
    for table, names in _GONE.items():
        if not sa.inspect(op.get_bind()).has_table(table):
            continue
        for name in names:
            required = name != "bucket" and table not in (
                "predictions",
                "runs",
                "training_history",
                "image_sets",
            )
            default = ("0" if name == "size_bytes" else "") if required else None
            kind = numbers.get(name, sa.String(length=1200))
            op.add_column(table, sa.Column(name, kind, nullable=not required, server_default=default))
        _give_back(table, names)
    _give_back_journal()
    op.create_index("ix_datasets_url", "datasets", ["url"])
    op.create_index("ix_images_url", "images", ["url"])
    op.create_index(
        "ix_reference_models_changes", "reference_models", ["name", "updated_at", "created_at", "size_bytes"]
    )
    op.drop_table("files")


def _give_back(table: str, names: tuple[str, ...]) -> None:
    """Write what the table of files says into the columns of its rows again."""
    of = {"prefix": "key", "manifest_digest": "sha256", "staged_url": "url", "model_path": "url"}
    kept = [name for name in names if name not in ("storage_type", "bucket")]
    columns = {"table_name", "row_id", "name", *(of.get(name, name) for name in kept)}
    files = sa.table("files", *(sa.column(name) for name in columns))
    rows = sa.table(table, *(sa.column(name) for name in {"id", "set_id", *kept}))
    if table == "images":
        is_own = (
            files.c.table_name == "image_sets",
            files.c.row_id == rows.c.set_id,
            files.c.name == rows.c.id,
        )
    else:
        own = {"training_history": "runs"}.get(table, table)
        is_own = (files.c.table_name == own, files.c.row_id == rows.c.id, files.c.name == "")
    there = sa.exists().where(*is_own)
    values = {}
    for name in kept:
        value: Any = sa.select(files.c[of.get(name, name)]).where(*is_own).scalar_subquery()
        if table not in ("predictions", "runs", "training_history", "image_sets"):
            value = sa.func.coalesce(value, 0 if name == "size_bytes" else "")
        elif of.get(name, name) == "url":
            value = sa.func.nullif(value, "")
        values[name] = value
    op.execute(rows.update().where(there).values(values))


def _give_back_journal() -> None:
    connection = op.get_bind()
    names = ("migration_id", "table_name", "row_id", "name", "url")
    new = sa.table("migration_rows", *(sa.column(name, _TEXT) for name in names))
    rows = connection.execute(sa.select(new)).all()
    op.drop_table("migration_rows")
    old = op.create_table(
        "migration_rows",
        sa.Column("migration_id", sa.String(length=32), nullable=False),
        sa.Column("table_name", sa.String(length=40), nullable=False),
        sa.Column("row_id", sa.String(length=32), nullable=False),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["migration_id"], ["migrations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("migration_id", "table_name", "row_id"),
    )
    for migration, table, row_id, name, url in rows:
        former = ("images", name) if table == "image_sets" and name else (table, row_id)
        values = dict(zip(("migration_id", "table_name", "row_id"), (migration, *former), strict=True))
        connection.execute(old.insert().values(**values, before={"url": url}))
