"""Draw a template as an answer, in the reader's language, theme and time zone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import HTMLResponse

from ecluse.application import (
    Application,
    applications,
    folders,
    leave_out,
    ours_first,
    part,
    remembered,
)
from ecluse.models import segment_of
from ecluse.sentences import Sentence
from ecluse.web import charts
from ecluse.web.i18n import Words, choose_language, languages, zone_named
from ecluse.web.security import COOKIE, cookies_of, is_secure
from ecluse.web.whitespace import WithoutIndentation
from ecluse.work import kind_of

HERE: Final = Path(__file__).parent
THEMES: Final = ("system", "light", "dark")
YEAR: Final = 365 * 24 * 3600
FILTERS: Final = (
    "num",
    "metric",
    "signed",
    "qty",
    "percent",
    "threshold",
    "interval",
    "as_given",
    "day",
    "brief_day",
    "when",
    "duration",
    "bytes",
    "money",
    "calendar_day",
    "weekday_day",
    "dated",
    "short_day",
    "weekday",
    "hour",
)


def render(
    request: Request,
    name: str,
    context: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Fill the template `name` with `context`; each template says at its top what it needs.

    `?lang=fr` and `?theme=dark` are remembered by a cookie.
    """
    layout = {"invented": False, **_layout(request)}
    html = environment().get_template(name).render({**layout, **(context or {})})
    response = HTMLResponse(html, status, headers)
    for cookie, allowed in (("lang", tuple(languages())), ("theme", THEMES)):
        chosen = request.query_params.get(cookie)
        if chosen is not None and chosen in allowed:
            response.set_cookie(cookie, chosen, max_age=YEAR, samesite="lax", secure=is_secure(request))
    return response


def draw(request: Request, name: str, context: Mapping[str, Any]) -> Markup:
    """Draw a part of a page, which another template takes in as it is."""
    return Markup(environment().get_template(name).render({**_layout(request), **context}))  # noqa: S704 (of a template)


def words_of(request: Request) -> Words:
    """Return the language of this request, and its time zone as `theme.js` noted it."""
    language = choose_language(
        request.query_params.get("lang"),
        request.cookies.get("lang"),
        request.headers.get("accept-language", ""),
    )
    return Words(language, zone_named(request.cookies.get("zone")))


@remembered
def environment() -> Environment:
    """Make the Jinja environment: strict, escaping, with `_`, `ngettext`, `static` and the filters of `Words`."""
    env = Environment(
        loader=ChoiceLoader([FileSystemLoader(HERE / "templates"), PrefixLoader(_loaders())]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do", WithoutIndentation],
    )
    env.globals |= {
        "_": _say,
        "ngettext": _say_count,
        "static": static_url,
        "charts": charts,
        "kind_of": kind_of,
        "installed_applications": applications,
    }
    env.filters |= {name: _filter(name) for name in FILTERS}
    env.filters["phrase"] = _phrase
    env.filters["segment"] = segment_of
    env.tests["message"] = _is_message
    for application in ours_first():
        for name, reference in application.filters.items():
            if name in env.filters:
                leave_out(application, f"filter {name}", f'There is a filter "{name}" already.')
            else:
                env.filters[name] = _filter_of(application, reference)
    env.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    return env


def _loaders() -> dict[str, FileSystemLoader]:
    """Loaders of the templates of applications, which are named by theirs: "birds/day.html"."""
    return {name: FileSystemLoader(folder) for name, folder in folders("templates").items()}


@remembered
def static_url(path: str) -> str:
    """Return the address of a static file, with its digest so that a browser may keep it."""
    digest = hashlib.sha256(static_file(path).read_bytes()).hexdigest()[:10]
    return f"/static/{path}?v={digest}"


def static_file(path: str) -> Path:
    """Find the static file of an address below /static: an application's begins with its name."""
    name, _, rest = path.partition("/")
    folder = folders("static").get(name) if rest else None
    return HERE / "static" / path if folder is None else folder / rest


def _layout(request: Request) -> dict[str, Any]:
    """Return what `base.html` needs whatever the page."""
    me = getattr(request.state, "me", None)
    theme = request.query_params.get("theme") or request.cookies.get("theme")

    def here(**changed: str) -> str:
        """Return this page's address with other query values; the home page where this one takes no GET."""
        if request.method not in ("GET", "HEAD"):
            return "/?" + "&".join(f"{key}={value}" for key, value in changed.items())
        url = request.url.include_query_params(**changed)
        return f"{url.path}?{url.query}"

    return {
        "say": words_of(request),
        "me": me,
        "knows_you": me is not None or COOKIE in cookies_of(request),
        "path": request.url.path,
        "theme": theme if theme in THEMES else "system",
        "themes": THEMES,
        "languages": languages(),
        "here": here,
    }


@pass_context
def _say(context: Context, message: str, **values: object) -> str:
    words: Words = context["say"]
    return words._(message, **values)


@pass_context
def _say_count(context: Context, singular: str, plural: str, count: int, **values: object) -> str:
    words: Words = context["say"]
    return words.ngettext(singular, plural, count, **values)


def _filter(name: str) -> Callable[..., str]:
    @pass_context
    def apply(context: Context, value: Any, *args: Any, **kwargs: Any) -> str:
        text: str = getattr(context["say"], name)(value, *args, **kwargs)
        return text

    return apply


def _filter_of(application: Application, reference: str) -> Callable[..., Any]:
    """Return a filter of an application; it is imported when a template first uses it."""

    @pass_context
    def apply(context: Context, value: Any) -> Any:
        filter_value = part(application, "filters", reference)
        return value if filter_value is None else filter_value(context["say"].language, value)

    return apply


@pass_context
def _phrase(context: Context, text: str) -> str:
    say: Words = context["say"]
    return say.phrase(text)


def _is_message(text: object) -> bool:
    """Return whether a text has its translation, rather than being the same in every language."""
    return isinstance(text, Sentence)
