"""Show a service account of an organisation to its owners, and let them make and end its tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import TOKEN_DAYS, SignedIn
from ecluse.accounts.scopes import MEANINGS
from ecluse.accounts.services import OF_VIEWERS
from ecluse.accounts.tokens import NewToken
from ecluse.errors import AccountError, EcluseError, InvalidInput
from ecluse.registry import checked_address
from ecluse.roles import SERVICE_ROLES
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.pages.account import answer_form, days_of
from ecluse.web.pages.organisations import organisation_page, to_correct
from ecluse.web.security import CurrentUser, RuntimeDep, is_from_here

router = Declarations(prefix="/organisations/{handle}/services")
Field = Annotated[str, Form()]


@router.post("")
def add_service(
    request: Request,
    handle: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    name: Field = "",
    role: Field = "viewer",
) -> Response:
    """Make a service account; its page makes tokens."""
    try:
        row = runtime.accounts.add_service(user.user.id, handle, name.strip(), role)
    except EcluseError as error:
        return organisation_page(request, runtime, user, handle, error=to_correct(error))
    return RedirectResponse(f"/organisations/{handle}/services/{row.id}", 303)


@router.get("/{service}")
def show_service(
    request: Request, handle: str, service: str, runtime: RuntimeDep, user: CurrentUser
) -> Response:
    """Show a service account and its tokens, to owners."""
    return _page(request, runtime, user, handle, service)


@router.post("/{service}")
def change_service(
    request: Request,
    handle: str,
    service: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    action: Field = "",
) -> Response:
    """Change the role of a service account, or remove it with its tokens."""
    if action == "remove":
        runtime.accounts.remove_service(user.user.id, handle, service)
        return RedirectResponse(f"/organisations/{handle}", 303)
    if action not in SERVICE_ROLES:
        error = InvalidInput(_("Choose what is to be done with the service account."))
        return _page(request, runtime, user, handle, service, error=error)
    runtime.accounts.set_service_role(user.user.id, handle, service, action)
    return RedirectResponse(f"/organisations/{handle}/services/{service}", 303)


@router.post("/{service}/tokens")
def make_service_token(
    request: Request,
    handle: str,
    service: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    name: Field = "",
    current: Field = "",
    days: Field = "",
    scopes: Annotated[tuple[str, ...], Form()] = (),
    model: Field = "",
) -> Response:
    """Make a token of a service account, which takes the owner's password, and show it, this once."""
    accounts = runtime.accounts
    try:
        new = NewToken(
            name, days_of(days), tuple(scopes), checked_address(model.strip()) if model.strip() else None
        )
        accounts.prove(user, current, here=is_from_here(request))
        secret, _rest = accounts.create_service_token(user.user.id, handle, service, new, proved=user)
    except (AccountError, InvalidInput) as error:
        return _page(request, runtime, user, handle, service, error=error)
    return _page(request, runtime, user, handle, service, new_token=secret)


@router.post("/{service}/tokens/{token_id}/revoke")
def revoke_service_token(
    handle: str, service: str, token_id: str, runtime: RuntimeDep, user: CurrentUser
) -> Response:
    """End a token of a service account."""
    runtime.accounts.revoke_service_token(user.user.id, handle, service, token_id)
    return RedirectResponse(f"/organisations/{handle}/services/{service}", 303)


def _page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    handle: str,
    service_id: str,
    *,
    new_token: str | None = None,
    error: AccountError | InvalidInput | None = None,
) -> Response:
    service, tokens = runtime.accounts.service(user.user.id, handle, service_id)
    allowed = OF_VIEWERS if service.role == "viewer" else frozenset(MEANINGS)
    context = {
        "handle": handle,
        "service": service,
        "tokens": tokens,
        "new_token": new_token,
        "token_days": TOKEN_DAYS,
        "token_scopes": {scope: words for scope, words in MEANINGS.items() if scope in allowed},
        "error": str(error) if error else None,
    }
    return answer_form(request, "service_account.html", context, error)
