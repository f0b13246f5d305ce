"""Keep the files of hosted applications: what people give their jobs, and what the jobs make."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Select, String, select
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.filed import FileKind, HasFile, of_file
from ecluse.catalog.tables import Base, new_id, now


class AppFile(HasFile, Base):
    """A file of a person in an application. `purpose`: input (it was uploaded), result (a job made it), report
    (JSON, the parts that a job returned). `job_id` is the job that made it.
    """

    __tablename__ = "hosted_files"
    __table_args__ = (Index("ix_hosted_files_owner", "user_id", "application", "created_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    application: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    verb: Mapped[str] = mapped_column(String(32), default="")
    job_id: Mapped[str | None] = mapped_column(String(100), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = FileKind("hosted_files", kind="app_files", application="", counted=True)
    url = of_file("url", "")
    key = of_file("key", "")
    size_bytes = of_file("size_bytes", 0)
    sha256 = of_file("sha256", "")

    @classmethod
    def names(cls) -> Select[*tuple[str, str, str]]:
        return select(cls.id, cls.name, cls.verb)
