"""Describe the tables of the catalog that this application keeps; `catalog.tables` describes those of the core."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Select, String, UniqueConstraint, null, select
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.filed import NOWHERE, FileKind, HasFile, of_file
from ecluse.catalog.tables import Base, SentenceText, new_id, now


class ImageSet(HasFile, Base):
    """A person's images with their labels. `job_id` is that of the last import or audit.

    `staged_url`: the folder of what was uploaded for an import, until that has ended. `last_import`: how many files
    were added, known, duplicates, contested and rejected.
    """

    __tablename__ = "image_sets"
    __table_args__ = (UniqueConstraint("user_id", "name"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    job_id: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    imported_at: Mapped[datetime | None]
    last_import: Mapped[dict[str, Any]] = mapped_column(default=dict)
    audited_at: Mapped[datetime | None]

    FILE = FileKind("image_sets", kind="staged", application="plants", form="folder")
    staged_url = of_file("url", NOWHERE)

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]]:
        return select(cls.id, cls.name, null())


class Image(HasFile, Base):
    """A file that was imported. `state` is valid, rejected (`reason` says why; nothing is stored) or excluded.

    `origin` is where it came from, `seen_again` other places with the same bytes; `contested` says that one of these
    had another label, and that nobody chose since. Of a file that was never read, such as one that could not be
    fetched, `sha256` is the digest of its origin. `perceptual_hash`: 64 bits as 16 hex digits. `group` is the id of
    the first of those that look nearly the same. `suspicion`: how improbable its label is by models that have not
    seen it, 0 to 1; `suggested_label` what they say instead, or the label itself where a person chose or confirmed it.
    """

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("set_id", "sha256"),
        Index("ix_images_state", "set_id", "state", "label"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    set_id: Mapped[str] = mapped_column(ForeignKey("image_sets.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(8), default="")
    width: Mapped[int | None]
    height: Mapped[int | None]
    label: Mapped[str] = mapped_column(String(100))
    imported_label: Mapped[str] = mapped_column(String(100))
    origin: Mapped[str] = mapped_column(String(1200))
    seen_again: Mapped[list[Any]] = mapped_column(default=list)
    contested: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default="valid")
    reason: Mapped[str | None] = mapped_column(SentenceText)
    perceptual_hash: Mapped[str | None] = mapped_column(String(16))
    group: Mapped[str | None] = mapped_column("near_group", String(32), index=True)
    suspicion: Mapped[float | None]
    suggested_label: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)

    #: Files of the set, each by the id of its image. That of a rejected image has no address: nothing is kept of it.
    FILE = FileKind(
        "image_sets",
        kind="images",
        application="plants",
        area="images",
        counted=True,
        place=4,
        id_column="set_id",
        name_column="id",
    )
    url = of_file("url", "")
    size_bytes = of_file("size_bytes", 0)


class ImageSplit(HasFile, Base):
    """Which image is learned from, chosen by, or tested on. The manifest at `url` says it of each by its digest.

    `counts`: {part: {label: images}}.
    """

    __tablename__ = "image_splits"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    set_id: Mapped[str] = mapped_column(ForeignKey("image_sets.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    seed: Mapped[int]
    shares: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    data_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = FileKind("image_splits", kind="splits", application="plants")
    url = of_file("url", "")
    sha256 = of_file("sha256", "")
    size_bytes = of_file("size_bytes", 0)
