"""Let people make an account, sign in and out, and look after their password, tokens and sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import BROWSER_COOKIE, SESSION_IDLE, TOKEN_DAYS, SignedIn, checked_email, ways
from ecluse.accounts.scopes import MEANINGS
from ecluse.accounts.sign_ups import Invited
from ecluse.errors import AccountError, InvalidInput, NotFound, SecondFactorNeeded, TooManyAttempts
from ecluse.passwords import MIN_PASSWORD
from ecluse.registry import checked_address
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web import letters
from ecluse.web.browsers import browser_of
from ecluse.web.declarations import Declarations
from ecluse.web.security import (
    CurrentUser,
    RuntimeDep,
    Visitor,
    admission,
    clear_session,
    client_of,
    cookies_of,
    forget_target,
    invitation_of,
    is_from_here,
    keep_invitation,
    remember_browser,
    set_session,
    set_step,
    target_of,
)
from ecluse.web.templating import render, words_of

router = Declarations()
Field = Annotated[str, Form()]


@router.get("/sign-in")
def show_sign_in(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    if visitor is not None:
        return RedirectResponse("/", 303)
    return sign_in_page(request, runtime)


async def form_values(request: Request) -> dict[str, str]:
    """Read the texts of a form, by the names of its fields. Raises InvalidInput where one is no text.

    Who sends a form says in which encoding, and some bring halves of characters, which nothing can keep.
    """
    form = await request.form()
    values = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        "".join((*values, *values.values())).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(_("The form has half a character. Send it as UTF-8.")) from error
    return values


FormValues = Annotated[dict[str, str], Depends(form_values)]


@router.post("/sign-in")
def sign_in(request: Request, runtime: RuntimeDep, values: FormValues) -> Response:
    """Start a session by a password."""
    return let_in(request, runtime, ways.PASSWORD, values)


@router.post("/sign-in/{name}")
def sign_in_by(request: Request, name: str, runtime: RuntimeDep, values: FormValues) -> Response:
    """Start a session by any way that has a form on the page."""
    way = next((way for way in ways.WAYS if way.name == name and way.fields), None)
    if way is None:
        raise NotFound(_("Nobody signs in by %(name)s here.", name=name))
    return let_in(request, runtime, way, values)


@router.get("/sign-up")
def show_sign_up(request: Request, runtime: RuntimeDep) -> Response:
    runtime.accounts.expect_admission(admission(request))
    return _sign_up_page(request, runtime, {})


@router.post("/sign-up")
def sign_up(request: Request, runtime: RuntimeDep, values: FormValues) -> Response:
    """Make an account and enter it."""
    runtime.accounts.expect_admission(admission(request))
    return _make_account(request, runtime, values)


@router.get("/sign-up/{secret}")
def show_invited_sign_up(request: Request, secret: str, runtime: RuntimeDep) -> Response:
    """Show the form by which who is invited makes an account; the link stays as good as it was."""
    runtime.accounts.expect_admission(admission(request), is_invited=True)
    return _sign_up_page(request, runtime, {}, secret)


@router.post("/sign-up/{secret}")
def sign_up_invited(request: Request, secret: str, runtime: RuntimeDep, values: FormValues) -> Response:
    """Make an account by an invitation, which is used up, and enter it."""
    runtime.accounts.expect_admission(admission(request), is_invited=True)
    return _make_account(request, runtime, values, secret)


def _make_account(
    request: Request, runtime: Runtime, values: Mapping[str, str], invitation: str = ""
) -> Response:
    """Make an account of what a form says and enter it; the form again, with the reason, where that fails."""
    try:
        user = runtime.accounts.sign_up(
            values.get("email", ""),
            values.get("password", ""),
            values.get("name", ""),
            admission=admission(request),
            secret=values.get("secret", ""),
            invitation=invitation,
            client=client_of(request),
        )
    except (AccountError, InvalidInput) as error:
        return _sign_up_page(request, runtime, values, invitation, error)
    if runtime.accounts.sends_mail and runtime.accounts.by_email(user.email).verified_at is None:
        with contextlib.suppress(TooManyAttempts):  # it is asked for on the account page, too
            runtime.accounts.ask_to_verify(
                SignedIn(user, None), letters.verify(words_of(request)), client_of(request)
            )
    session = runtime.accounts.open_session(user.id, browser_name(request))
    return enter(request, runtime, user.id, session, _joined(runtime, user.id) if invitation else None)


def _joined(runtime: Runtime, user_id: str) -> str:
    """Return the page that an invitation led a new account to: its organisation, or home."""
    return next((f"/organisations/{each.handle}" for each in runtime.accounts.organisations(user_id)), "/")


@router.get("/sign-in/link/{secret}")
def show_link(request: Request, secret: str) -> Response:
    """Ask before the link is used up, as programs that preview links would use it up."""
    return render(request, "sign_in_link.html", {"secret": secret})


@router.post("/sign-in/link/{secret}")
def use_link(request: Request, secret: str, runtime: RuntimeDep) -> Response:
    """Sign in by a link that works once."""
    return let_in(request, runtime, ways.LINK, {"secret": secret})


@router.post("/sign-out")
def sign_out(request: Request, runtime: RuntimeDep, visitor: Visitor) -> Response:
    """End the session of this browser."""
    if visitor is not None:
        runtime.accounts.sign_out(visitor)
    response = RedirectResponse("/sign-in", 303)
    clear_session(request, response)
    return response


@router.get("/account")
def show_account(request: Request, runtime: RuntimeDep, user: CurrentUser, sent: bool = False) -> Response:
    """Show the account of who asks; `sent`: say that a mail is on its way."""
    changed = (
        words_of(request)._("A mail is on its way. Open its link to confirm the address.") if sent else None
    )
    return account_page(request, runtime, user, changed=changed)


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
    here = is_from_here(request)
    try:
        address = user.user.email if email == user.user.email else checked_email(email)
        waits = runtime.accounts.sends_mail and address != user.user.email
        if waits:
            runtime.accounts.prove(user, current, here=here)
        runtime.accounts.change_identity(
            user, user.user.email if waits else address, name, current, here=here, end_others=bool(end_others)
        )
        if waits:  # last, as what ends others ends links that wait
            runtime.accounts.ask_to_change_email(
                user,
                address,
                current,
                letters.verify(words_of(request)),
                here=here,
                client=client_of(request),
            )
    except (AccountError, InvalidInput) as error:
        return account_page(request, runtime, user, error=error)
    return RedirectResponse("/account?sent=1" if waits else "/account", 303)


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
        return account_page(request, runtime, user, error=error)
    say = words_of(request)
    changed = (
        say._("Your new password holds from now on. Every other browser was signed out; your tokens go on.")
        if keep_tokens
        else say._(
            "Your new password holds from now on. Every other browser was signed out, and every token ended."
        )
    )
    return account_page(request, runtime, user, changed=changed)


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
        lifetime = days_of(days)
        accounts.prove(user, current, here=is_from_here(request))
        is_for_all = bool(administers) and user.user.role == "admin"
        secret, _rest = accounts.create_token(
            user.user.id,
            name,
            days=lifetime,
            administers=is_for_all,
            scopes=scopes,
            model=checked_address(model.strip()) if model else None,
            proved=user,
        )
    except (AccountError, InvalidInput) as error:
        return account_page(request, runtime, user, error=error)
    return account_page(request, runtime, user, new_token=secret)


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
def end_session(
    request: Request, session_id: str, runtime: RuntimeDep, user: CurrentUser, current: Field = ""
) -> Response:
    """Sign another browser out, which takes the password."""
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
    except (AccountError, InvalidInput) as error:
        return account_page(request, runtime, user, error=error)
    runtime.accounts.end_session(user.user.id, session_id)
    return RedirectResponse("/account", 303)


@router.post("/account/sessions/end")
def end_other_sessions(
    request: Request, runtime: RuntimeDep, user: CurrentUser, current: Field = ""
) -> Response:
    """Sign every other browser out, which takes the password."""
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
    except (AccountError, InvalidInput) as error:
        return account_page(request, runtime, user, error=error)
    runtime.accounts.end_others(user, tokens=False)
    return RedirectResponse("/account", 303)


def let_in(
    request: Request,
    runtime: Runtime,
    way: ways.Way,
    values: Mapping[str, str],
    *,
    may_sign_up: bool = False,
    invitation: str = "",
    return_address: str = "",
) -> Response:
    """Let someone in by a way; the page again, with the reason, where that fails. See `ways.Entry`."""
    entry = ways.Entry(
        values,
        client_of(request),
        browser_name(request),
        browser=cookies_of(request).get(BROWSER_COOKIE),
        may_sign_up=may_sign_up,
        invitation=invitation,
        return_address=return_address,
    )
    if way.enter is None:
        raise NotFound(_("Nobody signs in by %(name)s here.", name=way.name))
    try:
        user, secret = way.enter(runtime.accounts, entry)
    except SecondFactorNeeded as needed:
        response = RedirectResponse("/sign-in/code", 303)
        set_step(request, response, needed.step)
        return response
    except AccountError as error:
        return sign_in_page(request, runtime, way, values, error)
    return enter(request, runtime, user.id, secret)


def sign_in_page(
    request: Request,
    runtime: Runtime,
    tried: ways.Way | None = None,
    values: Mapping[str, str] | None = None,
    error: AccountError | None = None,
) -> Response:
    """Return the page of all ways to sign in: their forms, and the links to providers."""
    admitted = runtime.accounts.admits(admission(request))
    context = {
        "ways": [way for way in ways.WAYS if way.fields],
        "leads": [lead for way in ways.WAYS if way.leads for lead in way.leads(runtime.accounts)],
        "tried": tried,
        "values": values or {},
        "error": str(error) if error else None,
        "sends_mail": runtime.accounts.sends_mail,
        "open_sign_up": admitted in ("anyone", "secret"),
        "invitation": invitation_of(request) if admitted in ("anyone", "invited") else "",
    }
    # 422: a form to correct. 401 would make the browser's own dialog a possibility.
    return answer_form(request, "sign_in.html", context, error)


def _sign_up_page(
    request: Request,
    runtime: Runtime,
    values: Mapping[str, str],
    invitation: str = "",
    error: AccountError | InvalidInput | None = None,
) -> Response:
    invited = runtime.accounts.invited(invitation) if invitation else Invited()
    context = {
        "needs_secret": runtime.accounts.admits(admission(request)) == "secret",
        "email": invited.email or values.get("email", ""),
        "name": values.get("name", ""),
        "error": str(error) if error else None,
        "min_password": MIN_PASSWORD,
        "invitation": invitation,
        "invited": invited,
        "leads": [lead for way in ways.WAYS if way.leads for lead in way.leads(runtime.accounts)]
        if invitation
        else [],
    }
    response = answer_form(request, "sign_up.html", context, error)
    if context["leads"]:
        keep_invitation(request, response, invitation)
    return response


def account_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    *,
    error: AccountError | InvalidInput | None = None,
    new_token: str | None = None,
    changed: str | None = None,
) -> Response:
    """Return the page of an account, with what has just become of it."""
    identities, providers = runtime.accounts.identities(user.user.id), runtime.accounts.providers
    linked = {identity.issuer for identity in identities}
    sessions = runtime.accounts.sessions(user.user.id)
    context = {
        "signed_in": user,
        "sessions": sessions,
        "ends": {each.id: min(each.expires_at, each.last_used_at + SESSION_IDLE) for each in sessions},
        "browsers": {session.id: browser_of(session.user_agent) for session in sessions},
        "identities": identities,
        "providers": [each for each in providers if each.issuer not in linked],
        "provider_labels": {each.name: each.label for each in providers},
        "tokens": runtime.accounts.tokens(user.user.id),
        "new_token": new_token,
        "token_days": TOKEN_DAYS,
        "token_scopes": MEANINGS,
        "changed": changed,
        "sends_mail": runtime.accounts.sends_mail,
        "factor": runtime.accounts.second_factor(user.user.id),
        "error": str(error) if error else None,
        "min_password": MIN_PASSWORD,
    }
    return answer_form(request, "account.html", context, error)


def _status(error: AccountError | InvalidInput | None) -> int:
    if error is None:
        return 200
    return error.status if error.status in (403, 409, 429, 503) else 422


def answer_form(
    request: Request, template: str, context: Mapping[str, object], error: AccountError | InvalidInput | None
) -> Response:
    """Answer with the page of a form, which has to be corrected where there is an error."""
    return _with_delay(render(request, template, dict(context), status=_status(error)), error)


def _with_delay(response: Response, error: Exception | None) -> Response:
    """Return the same answer, saying when to try again."""
    if isinstance(error, TooManyAttempts):
        response.headers["retry-after"] = str(error.seconds)
    return response


def enter(
    request: Request, runtime: Runtime, user_id: str, secret: str, target: str | None = None
) -> Response:
    """Give the browser a session, and know it from now on; show the target, or (None) what it asked for before."""
    response = RedirectResponse(target or target_of(request), 303)
    set_session(request, response, secret)
    forget_target(request, response)
    browser = runtime.accounts.remember_browser(user_id, cookies_of(request).get(BROWSER_COOKIE))
    remember_browser(request, response, browser)
    return response


def browser_name(request: Request) -> str:
    """Return what a browser says of itself."""
    return request.headers.get("user-agent", "")[:300]


def days_of(text: str) -> int | None:
    """Read how long a token lasts, as the form says it: "" is until it is ended."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(_("%(value)s is no number of days.", value=repr(text))) from None
