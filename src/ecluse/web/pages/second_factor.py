"""Let people set up a second factor, turn it off, and enter its code when they sign in."""

from __future__ import annotations

from typing import Annotated, Final

import segno
from fastapi import Form, Request
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import BROWSER_COOKIE, STEP_COOKIE, SignedIn
from ecluse.accounts.second_factors import Setup
from ecluse.errors import AccountError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.web.declarations import Declarations
from ecluse.web.pages.account import answer_form, browser_name, enter
from ecluse.web.security import CurrentUser, RuntimeDep, clear_step, client_of, cookies_of, is_from_here
from ecluse.web.templating import words_of

router = Declarations()
Field = Annotated[str, Form(max_length=1024)]
#: Pixels of one point of the picture.
POINT: Final = 5


@router.get("/sign-in/code")
def show_code(request: Request) -> Response:
    """Ask for the code of the second factor, where the password was right in this browser."""
    if STEP_COOKIE not in cookies_of(request):
        return RedirectResponse("/sign-in", 303)
    return _code_page(request)


@router.post("/sign-in/code")
def enter_code(request: Request, runtime: RuntimeDep, code: Field = "") -> Response:
    """Start a session by the code of the second factor."""
    try:
        user, secret = runtime.accounts.finish_sign_in(
            cookies_of(request).get(STEP_COOKIE, ""),
            code,
            browser_name(request),
            client_of(request),
            cookies_of(request).get(BROWSER_COOKIE),
        )
    except (AccountError, InvalidInput) as error:
        return _code_page(request, error)
    response = enter(request, runtime, user.id, secret)
    clear_step(request, response)
    return response


@router.get("/account/second-factor")
def show_second_factor(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    return _page(request, runtime, user)


@router.post("/account/second-factor")
def begin(request: Request, runtime: RuntimeDep, user: CurrentUser, current: Field = "") -> Response:
    """Show the secret of a new second factor, which takes the password."""
    try:
        setup = runtime.accounts.begin_second_factor(
            user, current, here=is_from_here(request), issuer=_issuer(request)
        )
    except (AccountError, InvalidInput) as error:
        return _page(request, runtime, user, error=error)
    return _page(request, runtime, user, setup=setup)


@router.post("/account/second-factor/confirm")
def confirm(request: Request, runtime: RuntimeDep, user: CurrentUser, code: Field = "") -> Response:
    """Ask for the second factor from now on, and show the recovery codes, this once."""
    try:
        codes = runtime.accounts.confirm_second_factor(user, code)
    except (AccountError, InvalidInput) as error:
        begun = runtime.accounts.begun_second_factor(user, issuer=_issuer(request))
        return _page(request, runtime, user, error=error, setup=begun)
    return _page(request, runtime, user, codes=codes)


@router.post("/account/second-factor/codes")
def make_codes(
    request: Request, runtime: RuntimeDep, user: CurrentUser, current: Field = "", code: Field = ""
) -> Response:
    """Show new recovery codes, which takes the password and a code."""
    try:
        codes = runtime.accounts.new_recovery_codes(user, current, code, here=is_from_here(request))
    except (AccountError, InvalidInput) as error:
        return _page(request, runtime, user, error=error)
    return _page(request, runtime, user, codes=codes)


@router.post("/account/second-factor/off")
def turn_off(
    request: Request, runtime: RuntimeDep, user: CurrentUser, current: Field = "", code: Field = ""
) -> Response:
    """Ask for the second factor no longer, which takes the password and a code."""
    try:
        runtime.accounts.end_second_factor(user, current, code, here=is_from_here(request))
    except (AccountError, InvalidInput) as error:
        return _page(request, runtime, user, error=error)
    changed = words_of(request)._("The second factor is off. Every other browser was signed out.")
    return _page(request, runtime, user, changed=changed)


def _page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    *,
    error: AccountError | InvalidInput | None = None,
    setup: Setup | None = None,
    codes: list[str] | None = None,
    changed: str | None = None,
) -> Response:
    context = {
        "user": user.user,
        "factor": runtime.accounts.second_factor(user.user.id),
        "is_obliged": user.lacks_second_factor,
        "setup": setup,
        "picture": None if setup is None else _picture(setup.address),
        "codes": codes,
        "changed": changed,
        "error": str(error) if error else None,
    }
    return answer_form(request, "second_factor.html", context, error)


def _code_page(request: Request, error: AccountError | InvalidInput | None = None) -> Response:
    context = {"error": str(error) if error else None}
    return answer_form(request, "sign_in_code.html", context, error)


def _picture(address: str) -> Markup:
    """Draw an address as a picture (QR) that telephones read: black on white in any theme, without styles."""
    drawn = segno.make(address, error="m", micro=False)
    return Markup(drawn.svg_inline(scale=POINT, border=4, dark="#000", light="#fff"))  # noqa: S704 (it draws points alone)


def _issuer(request: Request) -> str:
    """Return what a telephone calls this Écluse: those of several hosts stand in one list there."""
    return f"Ecluse {request.url.hostname or ''}".strip()
