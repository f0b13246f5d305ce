"""Let a person take along everything that is kept of the account, and close it for good."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from ecluse import people
from ecluse.accounts import SignedIn
from ecluse.errors import EcluseError, InvalidInput
from ecluse.people import closing
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.api.account import send_archive
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep, clear_session, is_from_here
from ecluse.web.templating import render

router = Declarations()
Field = Annotated[str, Form()]


@router.get("/account/data")
def show_data(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show what is kept of the account, to take along or to remove."""
    return _page(request, runtime, user)


@router.get("/account/export.zip")
def export(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Send everything that is kept of the account."""
    return send_archive(runtime, user.user)


@router.post("/account/delete")
def delete(
    request: Request, runtime: RuntimeDep, user: CurrentUser, email: Field = "", current: Field = ""
) -> Response:
    """Close the account, and remove everything that it has; takes the password, and the address once more."""
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
        if email.strip().lower() != user.user.email:
            raise InvalidInput(
                _("Write %(email)s in the field, so that nothing goes by mistake.", email=user.user.email)
            )
        closing.start_removal(runtime, user.user.email, user.user)
    except EcluseError as error:
        if error.status >= 500:
            raise
        return _page(request, runtime, user, error)
    response = render(request, "account_closed.html", {"email": user.user.email})
    clear_session(request, response)
    return response


def _page(request: Request, runtime: Runtime, user: SignedIn, error: EcluseError | None = None) -> Response:
    context = {
        "signed_in": user,
        "there": people.belongings(runtime, user.user),
        "error": str(error) if error else None,
    }
    status = 200 if error is None else error.status if error.status in (403, 409, 429) else 422
    return render(request, "account_data.html", context, status=status)
