"""Let people make an account, sign in and out, and look after their password, tokens and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import BROWSER_COOKIE, SESSION_IDLE, TOKEN_DAYS, SignedIn, ways
from ecluse.accounts.scopes import MEANINGS
from ecluse.errors import AccountError, InvalidInput, NotFound, TooManyAttempts
from ecluse.passwords import MIN_PASSWORD
from ecluse.registry import checked_name
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.browsers import browser_of
from ecluse.web.security import (
    CurrentUser,
    RuntimeDep,
    Visitor,
    admission,
    clear_session,
    client_of,
    is_from_here,
    remember_browser,
    set_session,
)
from ecluse.web.templating import render, words_of

router = APIRouter()
Field = Annotated[str, Form()]


@router.get("/sign-in")
def show_sign_in(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    if visitor is not None:
        return RedirectResponse("/", 303)
    return _sign_in_page(request, runtime)


async def form_values(request: Request) -> dict[str, str]:
    """Read the texts of a form, by the names of its fields."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


FormValues = Annotated[dict[str, str], Depends(form_values)]


@router.post("/sign-in")
def sign_in(request: Request, runtime: RuntimeDep, values: FormValues) -> Response:
    """Start a session by a password."""
    return _sign_in(request, runtime, ways.PASSWORD, values)


@router.post("/sign-in/{name}")
def sign_in_by(request: Request, name: str, runtime: RuntimeDep, values: FormValues) -> Response:
    """Start a session by any way that has a form on the page."""
    way = next((way for way in ways.WAYS if way.name == name and way.fields), None)
    if way is None:
        raise NotFound(_("Nobody signs in by %(name)s here.", name=name))
    return _sign_in(request, runtime, way, values)


@router.get("/sign-up")
def show_sign_up(request: Request, runtime: RuntimeDep) -> Response:
    runtime.accounts.expect_admission(admission(request))
    return _sign_up_page(request, runtime)


@router.post("/sign-up")
def sign_up(
    request: Request,
    runtime: RuntimeDep,
    email: Field = "",
    password: Field = "",
    name: Field = "",
    secret: Field = "",
) -> Response:
    """Make an account and enter it."""
    runtime.accounts.expect_admission(admission(request))
    try:
        user = runtime.accounts.sign_up(
            email, password, name, admission=admission(request), secret=secret, client=client_of(request)
        )
    except (AccountError, InvalidInput) as error:
        return _sign_up_page(request, runtime, email, name, error)
    return _enter(request, runtime, user.id, runtime.accounts.open_session(user.id, _browser(request)))


@router.get("/sign-in/link/{secret}")
def show_link(request: Request, secret: str) -> Response:
    """Ask before the link is used up, as programs that preview links would use it up."""
    return render(request, "sign_in_link.html", {"secret": secret})


@router.post("/sign-in/link/{secret}")
def use_link(request: Request, secret: str, runtime: RuntimeDep) -> Response:
    """Sign in by a link that works once."""
    return _sign_in(request, runtime, ways.LINK, {"secret": secret})


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
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    email: Field = "",
    name: Field = "",
    current: Field = "",
    end_others: Field = "",
) -> Response:
    """Change the address to sign in with, which takes the password, and the name."""
    try:
        runtime.accounts.change_identity(
            user, email, name, current, here=is_from_here(request), end_others=bool(end_others)
        )
    except (AccountError, InvalidInput) as error:
        return _account_page(request, runtime, user, error=error)
    return RedirectResponse("/account", 303)


@router.post("/account/password")
def change_password(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    new: Field = "",
    current: Field = "",
    keep_tokens: Field = "",
) -> Response:
    """Set a new password; every other session ends, and every token unless they are to be kept."""
    try:
        runtime.accounts.change_password(
            user, current, new, here=is_from_here(request), keep_tokens=bool(keep_tokens)
        )
    except (AccountError, InvalidInput) as error:
        return _account_page(request, runtime, user, error=error)
    say = words_of(request)
    changed = (
        say._("The password is set. Every other session was signed out; the tokens go on.")
        if keep_tokens
        else say._("The password is set. Every other session was signed out, and every token ended.")
    )
    return _account_page(request, runtime, user, changed=changed)


@router.post("/account/tokens")
def make_token(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    name: Field = "",
    current: Field = "",
    days: Field = "",
    administers: Field = "",
    scopes: Annotated[tuple[str, ...], Form()] = (),
    model: Field = "",
) -> Response:
    """Make a token, which takes the password, and show it, this once."""
    accounts = runtime.accounts
    try:
        lifetime = _days(days)
        accounts.prove(user, current, here=is_from_here(request))
        is_for_all = bool(administers) and user.user.role == "admin"
        secret, _rest = accounts.create_token(
            user.user.id,
            name,
            days=lifetime,
            administers=is_for_all,
            scopes=scopes,
            model=checked_name(model) if model else None,
        )
    except (AccountError, InvalidInput) as error:
        return _account_page(request, runtime, user, error=error)
    return _account_page(request, runtime, user, new_token=secret)


@router.post("/account/tokens/revoke")
def revoke_tokens(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """End every token."""
    runtime.accounts.revoke_tokens(user.user.id)
    return RedirectResponse("/account", 303)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(token_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    runtime.accounts.revoke_token(user.user.id, token_id)
    return RedirectResponse("/account", 303)


@router.post("/account/sessions/{session_id}/end")
def end_session(session_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Sign another browser out."""
    runtime.accounts.end_session(user.user.id, session_id)
    return RedirectResponse("/account", 303)


@router.post("/account/sessions/end")
def end_other_sessions(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Sign every other browser out."""
    runtime.accounts.end_others(user, tokens=False)
    return RedirectResponse("/account", 303)


def _sign_in(request: Request, runtime: Runtime, way: ways.Way, values: Mapping[str, str]) -> Response:
    """Let someone in by a way; the page again, with the reason, where that fails."""
    entry = ways.Entry(
        values, client_of(request), _browser(request), browser=request.cookies.get(BROWSER_COOKIE)
    )
    if way.enter is None:
        raise NotFound(_("Nobody signs in by %(name)s here.", name=way.name))
    try:
        user, secret = way.enter(runtime.accounts, entry)
    except AccountError as error:
        return _sign_in_page(request, runtime, way, values, error)
    return _enter(request, runtime, user.id, secret)


def _sign_in_page(
    request: Request,
    runtime: Runtime,
    tried: ways.Way | None = None,
    values: Mapping[str, str] | None = None,
    error: AccountError | None = None,
) -> Response:
    context = {
        "ways": [way for way in ways.WAYS if way.fields],
        "tried": tried,
        "values": values or {},
        "error": str(error) if error else None,
        "open_sign_up": runtime.accounts.admits(admission(request)) is not None,
    }
    # 422: a form to correct. 401 would make the browser's own dialog a possibility.
    return _with_delay(render(request, "sign_in.html", context, status=_status(error)), error)


def _sign_up_page(
    request: Request,
    runtime: Runtime,
    email: str = "",
    name: str = "",
    error: AccountError | InvalidInput | None = None,
) -> Response:
    context = {
        "needs_secret": runtime.accounts.admits(admission(request)) == "secret",
        "email": email,
        "name": name,
        "error": str(error) if error else None,
        "min_password": MIN_PASSWORD,
    }
    return _with_delay(render(request, "sign_up.html", context, status=_status(error)), error)


def _account_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    *,
    error: AccountError | InvalidInput | None = None,
    new_token: str | None = None,
    changed: str | None = None,
) -> Response:
    sessions = runtime.accounts.sessions(user.user.id)
    context = {
        "signed_in": user,
        "sessions": sessions,
        "ends": {each.id: min(each.expires_at, each.last_used_at + SESSION_IDLE) for each in sessions},
        "browsers": {session.id: browser_of(session.user_agent) for session in sessions},
        "tokens": runtime.accounts.tokens(user.user.id),
        "new_token": new_token,
        "token_days": TOKEN_DAYS,
        "token_scopes": MEANINGS,
        "changed": changed,
        "error": str(error) if error else None,
        "min_password": MIN_PASSWORD,
    }
    return _with_delay(render(request, "account.html", context, status=_status(error)), error)


def _status(error: AccountError | InvalidInput | None) -> int:
    if error is None:
        return 200
    return error.status if error.status in (403, 409, 429) else 422


def _with_delay(response: Response, error: Exception | None) -> Response:
    """Return the same answer, saying when to try again."""
    if isinstance(error, TooManyAttempts):
        response.headers["retry-after"] = str(error.seconds)
    return response


def _enter(request: Request, runtime: Runtime, user_id: str, secret: str) -> Response:
    response = RedirectResponse("/", 303)
    set_session(request, response, secret)
    browser = runtime.accounts.remember_browser(user_id, request.cookies.get(BROWSER_COOKIE))
    remember_browser(request, response, browser)
    return response


def _browser(request: Request) -> str:
    return request.headers.get("user-agent", "")[:300]


def _days(text: str) -> int | None:
    """Read how long a token lasts, as the form says it: "" is until it is ended."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(_("%(value)s is no number of days.", value=repr(text))) from None
