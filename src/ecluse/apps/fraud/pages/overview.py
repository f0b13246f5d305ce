"""Show the tables and the scored tables; take a table in; add the sample."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from ecluse import shares
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.pages.datasets import label_of
from ecluse.apps.fraud.rows import datasets, predictions, references
from ecluse.errors import EcluseError, NotSignedIn
from ecluse.runtime import Runtime
from ecluse.storage.to_the_end import to_the_end
from ecluse.tabular.formats import ACCEPTED, format_names
from ecluse.web.declarations import Declarations
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.receiving import receiving
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of
from ecluse.web.uploads import open_upload

router = Declarations()
SHOWN = 10


@router.get("/fraud")
def show_fraud(request: Request, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1) -> Response:
    """Show the user's tables, the latest scores, and where to drop a table."""
    return _fraud_page(request, runtime, user.user.id, page=page)


@router.post("/fraud/upload")
async def upload(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Stream a table into the store, then show it; a script that asks for JSON is told where."""
    scripted = request.headers.get("accept") == "application/json"
    try:
        async with receiving(request, runtime, user.user.id) as arrival:
            incoming = await open_upload(arrival.request, arrival.most, arrival.refusal)
            stored = await workflows.store_upload(runtime, user.user.id, incoming.filename, incoming.chunks)
            row = await to_the_end(workflows.record_dataset, runtime, user.user.id, incoming.filename, stored)
    except EcluseError as error:
        if error.status >= 500 or isinstance(error, NotSignedIn):
            raise
        if scripted:
            message = words_of(request).phrase(str(error))
            return JSONResponse({"error": {"code": error.code, "message": message}}, error.status)
        return await run_in_threadpool(_fraud_page, request, runtime, user.user.id, error=error)
    address = f"/fraud/d/{row.id}"
    return JSONResponse({"location": address}, 201) if scripted else RedirectResponse(address, 303)


@router.post("/fraud/sample")
def add_sample(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Put both sample tables among the user's, and open the one to train on."""
    labelled, _ = workflows.add_sample(runtime, user.user.id)
    return RedirectResponse(f"/fraud/d/{labelled.id}", 303)


def _fraud_page(
    request: Request, runtime: Runtime, user_id: str, *, page: int = 1, error: EcluseError | None = None
) -> Response:
    with runtime.catalog.read() as transaction:
        pager = page_of(datasets.count_datasets(transaction, user_id), page)
        tables = datasets.list_datasets(transaction, user_id, limit=PAGE_ROWS, offset=pager.offset)
        scored = predictions.list_predictions(transaction, user_id, limit=SHOWN)
        scored_total = predictions.count_predictions(transaction, user_id)
        names = datasets.filenames(transaction, user_id, [row.dataset_id for row in scored])
        library = references.count_references(transaction)
    others, others_total = shares.of_others(runtime.catalog, user_id, datasets.TABLES, limit=PAGE_ROWS)
    context = {
        "datasets": tables,
        "label_of": label_of,
        "pager": pager,
        "others": others,
        "others_total": others_total,
        "predictions": scored,
        "predictions_total": scored_total,
        "names": names,
        "library": library,
        "max_bytes": runtime.settings.upload_max_bytes,
        "formats": format_names(),
        "accept": ACCEPTED,
        "error": str(error) if error else None,
    }
    return render(request, "fraud/overview.html", context, status=error.status if error else 200)
