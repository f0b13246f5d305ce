"""Send people to the provider by which they sign in, let them in when they come back, and link and unlink it."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import WAY_LIFETIME, ways
from ecluse.errors import AccountError, Forbidden, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.pages.account import account_page, let_in, sign_in_page
from ecluse.web.security import (
    INVITATION_COOKIE,
    CurrentUser,
    RuntimeDep,
    Visitor,
    address_of,
    admission,
    cookies_of,
    give_cookie,
    is_from_here,
    take_cookie,
)
from ecluse.web.templating import render

router = Declarations()
Field = Annotated[str, Form()]
#: The secret of a way to a provider and back; it goes with the way alone.
COOKIE: Final = "ecluse_provider"
_PATH: Final = "/sign-in/by"


@router.get("/sign-in/by/{name}")
def go_to_provider(request: Request, name: str, runtime: RuntimeDep) -> Response:
    """Send a browser to a provider, where its person signs in."""
    secret = secrets.token_urlsafe(32)
    try:
        address = runtime.accounts.way_to_provider(name, _return_address(request, name), secret)
    except AccountError as error:
        return sign_in_page(request, runtime, ways.PROVIDER, error=error)
    response = RedirectResponse(address, 303)
    _keep(request, response, secret)
    return response


@router.get("/sign-in/by/{name}/callback")
def come_back(request: Request, name: str, runtime: RuntimeDep, visitor: Visitor) -> Response:
    """Let in who comes back from a provider, or link the account there to the one that is signed in to."""
    secret = cookies_of(request).get(COOKIE, "")
    values = {**request.query_params, "provider": name, "secret": secret}
    if secret and runtime.accounts.links(secret):
        response = _link(request, runtime, visitor, values)
    else:
        response = let_in(
            request,
            runtime,
            ways.PROVIDER,
            values,
            may_sign_up=_may_sign_up(request, runtime, name),
            invitation=_invitation(request, runtime, name),
            return_address=_return_address(request, name),
        )
    for cookie in (COOKIE, INVITATION_COOKIE):
        take_cookie(request, response, cookie, path=_PATH)
    return response


@router.post("/account/providers/{name}")
def link_provider(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, current: Field = "", code: Field = ""
) -> Response:
    """Go to a provider from the account page, which takes the password, to sign in by it from then on.

    The answer is a page that goes on by itself: a form is not sent on to another site (`form-action`).
    """
    accounts = runtime.accounts
    try:
        accounts.prove_to_link(user, current, code, here=is_from_here(request))
        secret = accounts.begin_linking(user, name)
        address = accounts.way_to_provider(name, _return_address(request, name), secret)
    except (AccountError, InvalidInput) as error:
        return account_page(request, runtime, user, error=error)
    label = accounts.provider(name).settings.label
    response = render(request, "provider_onward.html", {"address": address, "label": label})
    _keep(request, response, secret)
    return response


@router.post("/account/identities/{identity_id}/unlink")
def unlink_identity(
    request: Request,
    identity_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    current: Field = "",
    code: Field = "",
) -> Response:
    """Sign in by a provider no longer, which takes the password."""
    try:
        runtime.accounts.prove_to_link(user, current, code, here=is_from_here(request))
        runtime.accounts.unlink_identity(user, identity_id)
    except (AccountError, InvalidInput) as error:
        return account_page(request, runtime, user, error=error)
    return RedirectResponse("/account", 303)


def _link(request: Request, runtime: Runtime, visitor: Visitor, values: dict[str, str]) -> Response:
    """Link the identity that came back to the account that began it, which has to be signed in to still."""
    if visitor is None or visitor.session is None:
        return sign_in_page(
            request,
            runtime,
            ways.PROVIDER,
            error=Forbidden(_("You are signed out meanwhile. Sign in, and link it on your account page.")),
        )
    accounts, name = runtime.accounts, values["provider"]
    try:
        assertion = accounts.assertion(name, _return_address(request, name), values["secret"], values)
        accounts.link_identity(visitor, values["secret"], assertion)
    except AccountError as error:
        return account_page(request, runtime, visitor, error=error)
    return RedirectResponse("/account", 303)


def _return_address(request: Request, name: str) -> str:
    """Return where a provider sends a browser back to: below the address that the settings say people use.

    What a request says of its host is believed on this machine alone.

    Raises:
        Forbidden: the settings do not say it.
    """
    if not request.app.state.runtime.settings.public_url and not is_from_here(request):
        raise Forbidden(
            _(
                "Nobody is sent to %(name)s, as this Écluse does not know by which address people reach it. Whoever "
                "runs it sets ECLUSE_PUBLIC_URL. Sign in with your password.",
                name=name,
            )
        )
    return f"{address_of(request)}{_PATH}/{name}/callback"


def _may_sign_up(request: Request, runtime: Runtime, name: str) -> bool:
    """Return whether who comes from this provider may make an account by it."""
    allowed = runtime.accounts.provider(name).settings.sign_up
    return runtime.accounts.admits(admission(request)) == "anyone" if allowed is None else allowed


def _invitation(request: Request, runtime: Runtime, name: str) -> str:
    """Return the secret of the invitation by which who comes from this provider may make an account; "" of none."""
    if runtime.accounts.provider(name).settings.sign_up is False:
        return ""
    takes = runtime.accounts.admits(admission(request)) in ("anyone", "invited")
    return cookies_of(request).get(INVITATION_COOKIE, "") if takes else ""


def _keep(request: Request, response: Response, secret: str) -> None:
    """Give the browser the secret of its way to the provider."""
    give_cookie(request, response, COOKIE, secret, WAY_LIFETIME, path=_PATH)
