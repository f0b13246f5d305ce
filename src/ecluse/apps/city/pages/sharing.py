"""Share the report of a day by a link, see and take back such links, and show the report to who holds one."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.accounts import SignedIn
from ecluse.apps.city import shared_days
from ecluse.apps.city.pages import view as city
from ecluse.apps.city.pages.subjects import printed_report
from ecluse.apps.city.settings import CitySettings
from ecluse.errors import EcluseError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.shares import LINK_DAYS, MOST_DAYS
from ecluse.web.declarations import Declarations
from ecluse.web.security import CurrentUser, RuntimeDep, address_of
from ecluse.web.templating import render, words_of

router = Declarations()
#: The report of a link has its styles inside, and runs, sends and loads nothing.
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)


@router.get("/city/link/{secret}")
def open_link(request: Request, secret: str, runtime: RuntimeDep) -> Response:
    """Show the report that a link leads to, to whoever holds it, signed in or not."""
    day = shared_days.day_of_link(runtime, secret)
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-robots-tag": "noindex, nofollow",
    }
    text = printed_report(runtime, day, words_of(request).language)
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/city/{day}/sharing")
def show_links(request: Request, day: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show the links to a day's report that the person made, and the form that makes one."""
    return _page(request, runtime, user, day)


@router.post("/city/{day}/sharing")
def make_link(
    request: Request,
    day: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    days: Annotated[str, Form(max_length=10)] = str(LINK_DAYS),
) -> Response:
    """Make a link, which is shown this once; the page again where it cannot be."""
    try:
        _link, secret = shared_days.share(runtime, user.user, city.date_of(day), _days(days))
    except InvalidInput as error:
        return _page(request, runtime, user, day, error=error)
    return _page(request, runtime, user, day, url=f"{address_of(request)}/city/link/{secret}")


@router.post("/city/{day}/sharing/{link}/take-back")
def take_back(day: str, link: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Take a link back."""
    at = city.date_of(day)
    shared_days.unshare(runtime, user.user, at, link)
    return RedirectResponse(f"/city/{at}/sharing", 303)


def _days(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(_("%(value)s is no number of days.", value=repr(text))) from None


def _page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    day: str,
    *,
    url: str | None = None,
    error: EcluseError | None = None,
) -> Response:
    documents = runtime.documents
    bodies = city.read_day(documents, city.date_of(day), ())
    context = {
        **city.naming(documents, runtime.settings.of(CitySettings).name, bodies),
        "day": bodies,
        "links": shared_days.links(runtime, user.user, bodies.date),
        "administers": user.user.role == "admin",
        "url": url,
        "most_days": MOST_DAYS,
        "usual_days": LINK_DAYS,
        "error": str(error) if error else None,
    }
    return render(request, "city/sharing.html", context, status=422 if error else 200)
