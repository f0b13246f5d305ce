"""Let people make an account, sign in and out, and look after their password, tokens and sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import MIN_PASSWORD, SignedIn
from ecluse.errors import AccountError, Forbidden, InvalidInput
from ecluse.runtime import Runtime
from ecluse.web.security import CurrentUser, RuntimeDep, Visitor, clear_session, set_session
from ecluse.web.templating import render, words_of

router = APIRouter()
Field = Annotated[str, Form()]


@router.get("/sign-in")
def show_sign_in(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    if visitor is not None:
        return RedirectResponse("/", 303)
    return _sign_in_page(request, runtime)


@router.post("/sign-in")
def sign_in(request: Request, runtime: RuntimeDep, email: Field = "", password: Field = "") -> Response:
    """Start a session; the form again when the address or the password is not right."""
    try:
        _, secret = runtime.accounts.sign_in(
            email, password, _browser(request), request.client.host if request.client else ""
        )
    except AccountError as error:
        return _sign_in_page(request, runtime, email, error)
    return _enter(request, secret)


@router.get("/sign-up")
def show_sign_up(request: Request, runtime: RuntimeDep) -> Response:
    _check_open(runtime)
    return _sign_up_page(request)


@router.post("/sign-up")
def sign_up(
    request: Request, runtime: RuntimeDep, email: Field = "", password: Field = "", name: Field = ""
) -> Response:
    """Make an account and enter it."""
    _check_open(runtime)
    try:
        user = runtime.accounts.sign_up(email, password, name)
    except (AccountError, InvalidInput) as error:
        return _sign_up_page(request, email, name, error)
    return _enter(request, runtime.accounts.open_session(user.id, _browser(request)))


@router.get("/sign-in/link/{secret}")
def show_link(request: Request, secret: str) -> Response:
    """Ask before the link is used up, as programs that preview links would use it up."""
    return render(request, "sign_in_link.html", {"secret": secret})


@router.post("/sign-in/link/{secret}")
def use_link(request: Request, secret: str, runtime: RuntimeDep) -> Response:
    """Sign in by a link that works once."""
    try:
        _, session = runtime.accounts.redeem_link(secret, _browser(request))
    except AccountError as error:
        return _sign_in_page(request, runtime, "", error)
    return _enter(request, session)


@router.post("/sign-out")
def sign_out(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    """End the session of this browser."""
    if visitor is not None:
        runtime.accounts.sign_out(visitor)
    response = RedirectResponse("/sign-in", 303)
    clear_session(request, response)
    return response


@router.get("/account")
def show_account(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    return _account_page(request, runtime, user)


@router.post("/account/identity")
def change_identity(
    request: Request, runtime: RuntimeDep, user: CurrentUser, email: Field = "", name: Field = ""
) -> Response:
    """Change the address to sign in with and the name."""
    try:
        runtime.accounts.change_email(user.user.id, email, name)
    except (AccountError, InvalidInput) as error:
        return _account_page(request, runtime, user, error=error)
    return RedirectResponse("/account", 303)


@router.post("/account/password")
def change_password(
    request: Request, runtime: RuntimeDep, user: CurrentUser, new: Field = "", current: Field = ""
) -> Response:
    """Set a new password; every other session ends."""
    try:
        runtime.accounts.change_password(user, current, new)
    except (AccountError, InvalidInput) as error:
        return _account_page(request, runtime, user, error=error)
    changed = words_of(request)._("The password is set. Every other session was signed out.")
    return _account_page(request, runtime, user, changed=changed)


@router.post("/account/tokens")
def make_token(request: Request, runtime: RuntimeDep, user: CurrentUser, name: Field = "") -> Response:
    """Make a token and show it, this once."""
    try:
        secret, _ = runtime.accounts.create_token(user.user.id, name)
    except InvalidInput as error:
        return _account_page(request, runtime, user, error=error)
    return _account_page(request, runtime, user, new_token=secret)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(token_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    runtime.accounts.revoke_token(user.user.id, token_id)
    return RedirectResponse("/account", 303)


@router.post("/account/sessions/{session_id}/end")
def end_session(session_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Sign another browser out."""
    runtime.accounts.end_session(user.user.id, session_id)
    return RedirectResponse("/account", 303)


def _sign_in_page(
    request: Request, runtime: Runtime, email: str = "", error: AccountError | None = None
) -> Response:
    context = {
        "email": email,
        "error": str(error) if error else None,
        "open_sign_up": runtime.settings.open_sign_up,
    }
    # 422: a form to correct. 401 would make the browser's own dialog a possibility.
    return render(request, "sign_in.html", context, status=_status(error))


def _sign_up_page(
    request: Request, email: str = "", name: str = "", error: AccountError | InvalidInput | None = None
) -> Response:
    context = {
        "email": email,
        "name": name,
        "error": str(error) if error else None,
        "min_password": MIN_PASSWORD,
    }
    return render(request, "sign_up.html", context, status=_status(error))


def _account_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    *,
    error: AccountError | InvalidInput | None = None,
    new_token: str | None = None,
    changed: str | None = None,
) -> Response:
    context = {
        "signed_in": user,
        "sessions": runtime.accounts.sessions(user.user.id),
        "tokens": runtime.accounts.tokens(user.user.id),
        "new_token": new_token,
        "changed": changed,
        "error": str(error) if error else None,
        "min_password": MIN_PASSWORD,
    }
    return render(request, "account.html", context, status=_status(error))


def _status(error: AccountError | InvalidInput | None) -> int:
    if error is None:
        return 200
    return error.status if error.status in (409, 429) else 422


def _enter(request: Request, secret: str) -> Response:
    response = RedirectResponse("/", 303)
    set_session(request, response, secret)
    return response


def _browser(request: Request) -> str:
    return request.headers.get("user-agent", "")[:300]


def _check_open(runtime: Runtime) -> None:
    if not runtime.settings.open_sign_up:
        raise Forbidden("Accounts are made by an administrator here. Ask one of yours.")
