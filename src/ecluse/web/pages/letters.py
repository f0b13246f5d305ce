"""Let people set a new password by a link that is mailed to them, and show that an address is theirs."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.errors import AccountError, InvalidInput, NotFound
from ecluse.passwords import MIN_PASSWORD
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web import letters
from ecluse.web.declarations import Declarations
from ecluse.web.pages.account import answer_form
from ecluse.web.security import CurrentUser, RuntimeDep, client_of
from ecluse.web.templating import words_of

router = Declarations()
Field = Annotated[str, Form(max_length=1024)]


@router.get("/password")
def show_forgotten(request: Request, runtime: RuntimeDep) -> Response:
    """Ask for the address that a link is to be sent to."""
    _expect_mail(runtime)
    return _forgotten_page(request)


@router.post("/password")
def ask_for_reset(request: Request, runtime: RuntimeDep, email: Field = "") -> Response:
    """Send a link that sets a new password; the answer is the same whether or not the address has an account."""
    _expect_mail(runtime)
    try:
        runtime.accounts.ask_for_reset(email, letters.reset(words_of(request)), client_of(request))
    except (AccountError, InvalidInput) as error:
        return _forgotten_page(request, email=email, error=error)
    return _forgotten_page(request, is_sent=True)


@router.get("/password/{secret}")
def show_reset(request: Request, secret: str, runtime: RuntimeDep) -> Response:
    """Ask for the new password; the link stays as good as it was."""
    try:
        runtime.accounts.who_resets(secret)
    except AccountError as error:
        return _reset_page(request, error=error)
    return _reset_page(request, secret=secret)


@router.post("/password/{secret}")
def reset(
    request: Request, secret: str, runtime: RuntimeDep, new: Field = "", keep_tokens: Field = ""
) -> Response:
    """Set the new password; the link is used up, and every session ends."""
    try:
        user = runtime.accounts.reset_password(secret, new, keep_tokens=bool(keep_tokens))
    except InvalidInput as error:
        return _reset_page(request, secret=secret, error=error)
    except AccountError as error:
        return _reset_page(request, error=error)
    return _reset_page(request, is_done=True, is_first=user.verified_at is None)


@router.post("/account/verify")
def ask_to_verify(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Send the link again by which a person shows that the address is theirs."""
    _expect_mail(runtime)
    runtime.accounts.ask_to_verify(user, letters.verify(words_of(request)), client_of(request))
    return RedirectResponse("/account?sent=1", 303)


@router.get("/account/verify/{secret}")
def show_verify(request: Request, secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Ask before the link is used up, as programs that preview links would use it up."""
    try:
        address = runtime.accounts.address_to_verify(user, secret)
    except AccountError as error:
        return _verify_page(request, error=error)
    return _verify_page(request, secret=secret, address=address)


@router.post("/account/verify/{secret}")
def verify(request: Request, secret: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Take the address of the link as that of the account."""
    notice = letters.changed(words_of(request))
    try:
        runtime.accounts.verify_email(user, secret, notice)
    except AccountError as error:
        return _verify_page(request, error=error)
    return RedirectResponse("/account", 303)


def _expect_mail(runtime: Runtime) -> None:
    if not runtime.accounts.sends_mail:
        raise NotFound(
            _(
                "No mail is sent from here. Ask an administrator for a link that signs you in: ecluse users link EMAIL"
            )
        )


def _forgotten_page(
    request: Request,
    *,
    email: str = "",
    is_sent: bool = False,
    error: AccountError | InvalidInput | None = None,
) -> Response:
    context = {"email": email, "is_sent": is_sent, "error": str(error) if error else None}
    return answer_form(request, "password_forgotten.html", context, error)


def _reset_page(
    request: Request,
    *,
    secret: str = "",
    is_done: bool = False,
    is_first: bool = False,
    error: AccountError | InvalidInput | None = None,
) -> Response:
    context = {
        "secret": secret,
        "is_done": is_done,
        "is_first": is_first,
        "min_password": MIN_PASSWORD,
        "error": str(error) if error else None,
    }
    return answer_form(request, "password_reset.html", context, error)


def _verify_page(
    request: Request, *, secret: str = "", address: str = "", error: AccountError | None = None
) -> Response:
    context = {"secret": secret, "address": address, "error": str(error) if error else None}
    return answer_form(request, "email_verify.html", context, error)
