"""Show the tables of a person, take one in, hand one out, and score one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from ecluse import handovers, models, tables
from ecluse.catalog import sharing
from ecluse.catalog.tables import UserTable
from ecluse.errors import EcluseError, NotSignedIn
from ecluse.formulas import writable
from ecluse.inference import scoring
from ecluse.later import Later
from ecluse.roles import MAKING_ROLES
from ecluse.runtime import Runtime
from ecluse.tabular.formats import ACCEPTED, format_names
from ecluse.web.admission import admission_of
from ecluse.web.api.tables import Format, receive, send_table
from ecluse.web.declarations import Declarations
from ecluse.web.file_forms import open_file_form
from ecluse.web.pages.models import readable_version
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.receiving import keeping_room
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

router = Declarations()
#: Characters of the field that says whose a table is to be: a handle.
LONGEST_OWNER: Final = 41
#: Rows and columns of a table that its page shows.
SHOWN_ROWS: Final = 10
SHOWN_COLUMNS: Final = 30


@router.get("/tables")
def list_tables(request: Request, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1) -> Response:
    """Show the tables of the user, and where to drop one."""
    return _list_page(request, runtime, user.user.id, page=page)


@router.post("/tables/upload")
async def upload(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Keep a table, then show it; with the field `model`, score it. A script that asks for JSON is told where."""
    try:
        address = await _received(request, runtime, user.user.id)
    except EcluseError as error:
        if error.status >= 500 or isinstance(error, NotSignedIn):
            raise
        if request.headers.get("accept") == "application/json":
            message = words_of(request).phrase(str(error))
            return JSONResponse({"error": {"code": error.code, "message": message}}, error.status)
        return await run_in_threadpool(_list_page, request, runtime, user.user.id, error=error)
    if request.headers.get("accept") == "application/json":
        return JSONResponse({"location": address}, 201)
    return RedirectResponse(address, 303)


async def _received(request: Request, runtime: Runtime, user_id: str) -> str:
    """Keep the table of a form; return the address of the table, or of the job that scores it."""
    async with admission_of(request).arriving(request, user_id) as admitted:
        form = await open_file_form(admitted, runtime.settings.upload_max_bytes, 1)
        owner = form.fields.get("owner", "")[:LONGEST_OWNER]
        maker = await run_in_threadpool(tables.maker_called, runtime, user_id, owner)
        async with keeping_room(request, runtime, maker) as (_room, most, refusal):
            form.bound(most, refusal)
            rows = [await receive(runtime, maker, incoming) async for incoming in form.files()]
    if not rows:
        return "/tables"
    if reference := form.fields.get("model"):
        return f"/jobs/{await run_in_threadpool(scoring.start, runtime, user_id, reference, rows[0].id)}"
    return f"/tables/{rows[0].id}"


@router.get("/tables/{table}")
def show_table(request: Request, table: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show the first rows of a table, and the ways to have it."""
    row = tables.table_of(runtime, user.user.id, table)
    with runtime.scratch() as folder:
        tables.find(runtime, user.user.id, table).write(folder / "table.parquet")
        frame = pl.scan_parquet(folder / "table.parquet", glob=False)
        names = frame.collect_schema().names()
        # Of a table that was scored the answers, which stand last, are shown first.
        order = names if row.model is None else dict.fromkeys([*names[-SHOWN_COLUMNS // 2 :], *names])
        first = writable(frame.select([*order][:SHOWN_COLUMNS]).head(SHOWN_ROWS).collect())
    context: dict[str, Any] = {
        "table": row,
        "notes": tables.notes_of(row),
        "names": first.columns,
        "rows": [["" if value is None else str(value)[:80] for value in values] for values in first.rows()],
        "more": len(names) - first.width,
        "line": f'ecluse.table("{row.id}")',
        "owners": _owners(runtime, user.user.id) if row.user_id == user.user.id else [],
    } | _whose(runtime, user.user.id, row)
    return render(request, "table.html", context)


@router.get("/tables/{table}/file")
def download(
    request: Request, table: str, runtime: RuntimeDep, user: CurrentUser, format: Format = "csv"
) -> Response:
    """Send a table as a file."""
    return send_table(runtime, user.user.id, table, format, request)


@router.post("/tables/{table}/remove")
def remove(table: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Remove a table."""
    tables.remove(runtime, user.user.id, table)
    return RedirectResponse("/tables", 303)


@router.post("/tables/{table}/hand-over")
def hand_over(
    table: str, runtime: RuntimeDep, user: CurrentUser, owner: Annotated[str, Form(max_length=41)] = ""
) -> Response:
    """Give a table to an organisation, and show the job."""
    return RedirectResponse(f"/jobs/{handovers.start(runtime, user.user.id, table, owner)}", 303)


@router.post("/models/{name}/{version}/use/table")
def score(
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    table: Annotated[str, Form(max_length=64)],
) -> Response:
    """Queue the scoring of a table with this very version, and show the job."""
    row = readable_version(runtime, user.user.id, name, version)
    reference = f"{models.address_of(runtime, user.user.id, row)}@{row.version}"
    job = scoring.start(runtime, user.user.id, reference, table)
    return RedirectResponse(f"/jobs/{job}", 303)


def _whose(runtime: Runtime, user_id: str, row: UserTable) -> dict[str, Any]:
    """Say to someone whose a table is, where it is another's, and whether they may change it."""
    if row.user_id == user_id:
        return {"owner": None, "may_change": True, "model": row.model}
    with runtime.catalog.read() as transaction:
        may_change = row.user_id in sharing.makers_of(transaction, user_id)
        owner = sharing.handle_of(transaction, row.user_id)
    model = tables.model_of(row, owner) if may_change else None
    return {"owner": owner, "may_change": may_change, "model": model}


def _owners(runtime: Runtime, user_id: str) -> list[str]:
    """List the handles of the organisations in which someone makes things."""
    return [each.handle for each in runtime.accounts.organisations(user_id) if each.role in MAKING_ROLES]


def _list_page(
    request: Request, runtime: Runtime, user_id: str, *, page: int = 1, error: EcluseError | None = None
) -> Response:
    _first, total = tables.list_tables(runtime, user_id, limit=1)
    pager = page_of(total, page)
    rows, _total = tables.list_tables(runtime, user_id, limit=PAGE_ROWS, offset=pager.offset)
    with runtime.catalog.read() as transaction:
        others, others_total = sharing.tables_of_others(transaction, user_id, limit=PAGE_ROWS)
    context: dict[str, Any] = {
        "tables": rows,
        "pager": pager,
        "others": others,
        "others_total": others_total,
        "owners": _owners(runtime, user_id),
        "error": error,
    } | upload_context(runtime)
    return render(request, "tables.html", context, status=error.status if error else 200)


def upload_context(runtime: Runtime) -> dict[str, Any]:
    """Return what the form to upload a table needs."""
    return {
        "max_bytes": runtime.settings.upload_max_bytes,
        "formats": format_names(),
        "accept": ACCEPTED,
    }
