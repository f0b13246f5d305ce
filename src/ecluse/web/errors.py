"""Answer every error with one JSON shape, a page or a fragment, and never with a stack trace."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Match, Mount

from ecluse.application import guarded, ours_first, part
from ecluse.disks import what_is_wrong
from ecluse.errors import (
    DiskUnusable,
    EcluseError,
    HomeClosed,
    LinkOver,
    ModelStopped,
    NotSignedIn,
    Overloaded,
    SecondFactorMissing,
    TooManyAttempts,
)
from ecluse.sentences import _
from ecluse.web.outages import OUTAGES
from ecluse.web.security import remember_target
from ecluse.web.templating import render

logger = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """What went wrong. `code` is stable; `message` says the way out; `reference` finds it in the log.

    `nearest`: where a day is not known, the dates around it that are.
    """

    code: str
    message: str
    reference: str | None = None
    nearest: list[str] | None = None


@dataclass(frozen=True)
class ErrorPage:
    """How an application shows an error of its own: a template with its context, and what the JSON says beside it."""

    template: str
    context: Mapping[str, Any]
    detail: Mapping[str, Any]


class ErrorBody(BaseModel):
    """The one shape of every error answer."""

    error: ErrorDetail


_MEANINGS: Final = {
    400: "The request cannot be understood",
    401: "Not signed in, or the token is not known",
    402: "The plan of the account allows no more, or has ended",
    403: "Not allowed, or sent by another site",
    404: "Not there, or someone else's",
    409: "Contradicts what is stored",
    413: "The upload is too large",
    416: "The file has no such bytes",
    422: "A value cannot be used",
    429: "Too many attempts",
    503: "The store or the catalog does not answer, or their disk is full; nothing was recorded",
    507: "The disk of the cache has no room for a model; nothing was kept",
}
#: What an operation may answer by what it takes, whoever wrote it: the body is read and limited before it is asked.
_OF_BODIES: Final = (400, 413, 507)
#: What one that changes something may answer, as others change things meanwhile.
_OF_CHANGES: Final = (409, 429)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the error answers of a route, for OpenAPI."""
    return {status: {"model": ErrorBody, "description": _MEANINGS[status]} for status in sorted(statuses)}


def declare_errors(description: dict[str, Any]) -> dict[str, Any]:
    """Add to the description of the API what operations answer by their nature; the description itself.

    Each declares what it alone answers; what any answers stands where they are joined (`api.make_router`).
    """
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/api/"):
                continue
            more = [*(_OF_BODIES if "requestBody" in operation else ())]
            more += _OF_CHANGES if method not in ("get", "head") else ()
            for status in more:
                operation["responses"].setdefault(str(status), _described(status))
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return description


def _described(status: int) -> dict[str, Any]:
    shape = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}
    return {"description": _MEANINGS[status], "content": {"application/json": {"schema": shape}}}


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(EcluseError, _on_ecluse_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)


def refuse_cross_site(request: Request) -> Response:
    """Answer a request that another site sent."""
    return _answer(request, 403, "cross_site", _("This request came from another site and was refused."))


def refuse_large_body(request: Request) -> Response:
    """Answer a body that is larger than a form or a JSON document needs."""
    return _answer(
        request, 413, "body_too_large", _("This request is larger than 1 MB. Send files to /api/upload.")
    )


def answer_error(request: Request, error: EcluseError) -> Response:
    """Answer an error that was raised before any route was found."""
    return _on_ecluse_error(request, error)


def _on_ecluse_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EcluseError)  # noqa: S101 (registered for this class)
    if isinstance(error, NotSignedIn) and not _wants_json(request):
        return _to(request, "/sign-in")
    if isinstance(error, SecondFactorMissing) and not _wants_json(request):
        return _to(request, "/account/second-factor")
    if (own_answer := _answer_of_application(request, error)) is not None:
        return own_answer
    if isinstance(error, Overloaded | ModelStopped | TooManyAttempts):
        answer = _answer(request, error.status, error.code, str(error))
        answer.headers["retry-after"] = str(error.seconds)
        return answer
    if error.status < 500 or isinstance(error, HomeClosed):
        # A sentence within an f-string would no longer know what it was made of.
        said = f"{error} Call: {error.call}" if error.call and _wants_json(request) else str(error)
        return _answer(request, error.status, error.code, said, is_link=isinstance(error, LinkOver))
    reference = request.app.state.outages.note(error.code, error) or _note(request, error)
    outage = OUTAGES.get(error.code)
    message = outage.words if outage else _("A fault of ours stopped this. Nothing more is known here.")
    return _answer(request, error.status, error.code, message, reference)


def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    names = _names_of_body(request)
    parts = [_said_of(each, names) for each in error.errors()]
    return _answer(request, 422, "invalid_input", " ".join(dict.fromkeys(parts)))


def _names_of_body(request: Request) -> list[str]:
    """Return the names that the body of a request may have; none where it takes no body of names."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return list(getattr(getattr(body, "type_", None) or _annotation_of(body), "model_fields", {}))


def _annotation_of(field: Any) -> Any:
    return getattr(getattr(field, "field_info", None), "annotation", None)


def _said_of(problem: Mapping[str, Any], names: list[str]) -> str:
    """Say one problem of a request: what lacks, what is too much, or what the value had to be."""
    names = list(problem.get("ctx", {}).get("names", names))
    place = ".".join(str(part) for part in problem["loc"][1:])
    if problem["type"] == "missing" and place:
        return _("%(name)s is missing.", name=place)
    if problem["type"] == "extra_forbidden":
        if names and len(problem["loc"]) == 2:
            return _("There is no %(name)s. Known: %(values)s.", name=place, values=", ".join(names))
        return _("There is no %(name)s.", name=place)
    reason = str(problem["msg"]).removeprefix("Value error, ").removesuffix(".")
    return _("%(name)s: %(reason)s.", name=place or str(problem["loc"][0]), reason=reason)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = {404: "not_found", 405: "method_not_allowed", 416: "range_not_satisfiable"}.get(
        error.status_code, "http_error"
    )
    message = {
        400: _("The body of this request cannot be read. Send JSON in UTF-8, or a form."),
        404: _("There is nothing at this address."),
        405: _("This address does not take this method."),
    }
    answer = _answer(request, error.status_code, code, message.get(error.status_code, str(error.detail)))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """List what the address takes. The framework names only the methods of the first route that has its path."""
    place = {"type": "http", "path": request.scope["path"], "root_path": "", "headers": []}
    routes = [route for route in request.app.router.routes if not isinstance(route, Mount)]
    candidates = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return [
        method
        for method in candidates
        if any(route.matches({**place, "method": method})[0] is Match.FULL for route in routes)
    ] or ["GET", "HEAD"]


def _on_fault(request: Request, error: Exception) -> Response:
    if (reason := what_is_wrong(error)) is not None:
        return _on_ecluse_error(request, DiskUnusable(reason))
    reference = _note(request, error)
    return _answer(
        request, 500, "fault", _("A fault of ours stopped this. Nothing more is known here."), reference
    )


def _note(request: Request, error: Exception) -> str:
    reference = uuid.uuid4().hex[:8]
    place = getattr(request.scope.get("route"), "path", "a request")  # a path may hold a secret
    logger.error("%s %s failed; reference %s", request.method, place, reference, exc_info=error)
    return reference


def _answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    reference: str | None = None,
    *,
    is_link: bool = False,
) -> Response:
    message = _sendable(message)
    if _is_open_inference(request):
        text = f"{message} Reference: {reference}" if reference else str(message)
        return JSONResponse(
            {"error": text}, status, {"www-authenticate": "Bearer"} if status == 401 else None
        )
    if _wants_json(request):
        detail = {"code": code, "message": message} | ({"reference": reference} if reference else {})
        asks_for_token = status == 401 and request.url.path.startswith("/api/")
        return JSONResponse(
            {"error": detail}, status, {"www-authenticate": "Bearer"} if asks_for_token else None
        )
    fragment = request.headers.get("hx-request") == "true"
    template = "_notice.html" if fragment else "error.html"
    return render(
        request,
        template,
        {
            "status": status,
            "message": message,
            "reference": reference,
            "of_disk": code in OUTAGES and OUTAGES[code].of_disk,
            "is_link": is_link,
        },
        status=status,
    )


def _sendable(message: str) -> str:
    """Return what an answer can say: a half character that was sent, which no encoding has, is a question mark."""
    try:
        message.encode()
    except UnicodeEncodeError:
        return message.encode(errors="replace").decode()
    return message


def _answer_of_application(request: Request, error: EcluseError) -> Response | None:
    """Answer as the application does that an error belongs to; None where it belongs to none."""
    for application in ours_first():
        reference = application.errors.get(error.code, "")
        show = part(application, "errors", reference) if reference else None
        if show is not None:
            with guarded(application, f"errors: {reference}"):
                return _answer_with_page(request, error, show(error))
    return None


def _answer_with_page(request: Request, error: EcluseError, page: ErrorPage) -> Response:
    if _is_open_inference(request):
        return _answer(request, error.status, error.code, str(error))
    if _wants_json(request):
        detail = {"code": error.code, "message": _sendable(str(error)), **page.detail}
        return JSONResponse({"error": detail}, error.status)
    return render(request, page.template, dict(page.context), status=error.status)


def _is_open_inference(request: Request) -> bool:
    """Say whether a program asks by the Open Inference Protocol, whose errors have a shape of their own."""
    return request.url.path == "/v2" or request.url.path.startswith("/v2/")


def _wants_json(request: Request) -> bool:
    if _is_open_inference(request) or request.url.path.startswith(("/api/", "/livez", "/readyz", "/metrics")):
        return True
    return (
        "text/html" not in request.headers.get("accept", "*/*") and request.headers.get("hx-request") is None
    )


def _to(request: Request, address: str) -> Response:
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={"HX-Redirect": address})
    response = RedirectResponse(address, 303)
    if address == "/sign-in":
        remember_target(request, response)
    return response
