"""Give a person out everything that is kept of the account; let administrators remove one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import StreamingResponse

from ecluse.catalog.tables import User
from ecluse.people import archive, closing
from ecluse.runtime import Runtime
from ecluse.web.api.schemas import Accepted
from ecluse.web.declarations import Declarations
from ecluse.web.downloads import joined, saved_as
from ecluse.web.errors import answers
from ecluse.web.security import Administrator, MayManage, RuntimeDep

router = Declarations(tags=["account"])


@router.get("/account/export", response_class=StreamingResponse)
def export_account(runtime: RuntimeDep, user: MayManage) -> StreamingResponse:
    """Send everything that is kept of your account as one zip: every row as JSON, every object with its digest.

    Its `README.txt` says what is what. It is written as it is sent: it has no length, cannot be asked for in part, and
    is whole if it has `manifest.json`.
    """
    return send_archive(runtime, user.user)


@router.delete("/users/{email}", status_code=202, responses=answers(404))
def remove_account(
    email: Annotated[str, Path(max_length=320)], runtime: RuntimeDep, user: Administrator
) -> Accepted:
    """Close an account at once, and remove everything that it has by a job. For administrators.

    The job is done when every folder of the account was listed and is empty, and no table has a row of it; the log of
    who did what stays. 409: it is the last that administers, or the last owner of an organisation.
    """
    job = closing.start_removal(runtime, email, user.user)
    return Accepted(job=job, status_url=f"/api/status/{job}")


def send_archive(runtime: Runtime, owner: User) -> StreamingResponse:
    """Answer with the archive of an owner. A fault before the first bytes is answered as any other."""
    archive.note(runtime, owner, owner.id)
    chunks = archive.archive_of(runtime, owner)
    headers = {"content-disposition": saved_as(archive.filename_of(owner))}
    return StreamingResponse(joined(next(chunks), chunks), media_type="application/zip", headers=headers)
