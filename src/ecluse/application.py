"""Say what an application is to the core and the shell, and find the applications that are installed.

An application is a package with one value, `APPLICATION = Application(name="birds", …)`, and an entry point that
names it:

    [project.entry-points."ecluse.apps"]
    birds = "birds.application:APPLICATION"

Core and shell know no application by name: their menus, pages, commands, jobs and checks are loops over `installed()`.
What an application brings is data, or a reference "package.module:attribute" that is imported when it is used, so that
`ecluse --help` and the menu of a page import no application.

An application that cannot be loaded, or does what it must not, takes nothing down. What it brings is checked by the
type of its field and left out where that is wrong; of two that take one name the later comer is, and ours come first.
What is left out is listed with its reason by `ecluse doctor`, named by `/readyz`, and logged once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, Final, TypeVar

from ecluse.errors import ApplicationBroken
from ecluse.metrics import Metric
from ecluse.shapes import Address, Message, fault, faults, formats

GROUP: Final = "ecluse.apps"
#: The distribution of this package.
OURS: Final = "ecluse"
#: Names of applications are words of addresses, of folders and of rows of the catalog.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,15}")
#: First words of addresses of pages and, behind /api, of the API; commands of the shell, its folders of templates and
#: static files, and the table of its migrations: no application takes one.
RESERVED: Final = frozenset(
    {
        "account",
        "administration",
        "alembic",
        "analyze",
        "api",
        "apply_unlabeled",
        "apps",
        "backup",
        "cache",
        "core",
        "datasets",
        "docs",
        "doctor",
        "documents",
        "download_s3_predictions",
        "ensembles",
        "health",
        "history",
        "import",
        "inspections",
        "jobs",
        "join",
        "labels",
        "layout",
    }
    | {
        "live",
        "livez",
        "login",
        "logout",
        "me",
        "metrics",
        "migrate",
        "migrations",
        "models",
        "move",
        "oauth",
        "openapi",
        "organisations",
        "orgs",
        "password",
        "plan",
        "plans",
        "predict",
        "predictions",
        "ready",
        "readyz",
        "references",
        "runs",
        "secret-key",
    }
    | {
        "servers",
        "shared",
        "shares",
        "sharing",
        "static",
        "status",
        "storage",
        "tables",
        "token",
        "train",
        "up",
        "upload",
        "uploads",
        "usage",
        "upgrade",
        "users",
        "v2",
        "vendor",
        "web",
        "worker",
    }
)
#: The file that names the value of an application which is installed in a folder of a home.
POINT: Final = "entry_point"
#: What is said of applications that are installed in a home, in place of a distribution.
HOME: Final = "this home"
logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
#: Functions whose answers depend on which applications are installed.
_remembered: list[Any] = []


def remembered(function: F) -> F:
    """Remember what a function returns for as long as the same applications are installed."""
    cached: Any = cache(function)
    _remembered.append(cached)
    return cached  # type: ignore[no-any-return]


def ngettext(singular: str, plural: str) -> tuple[str, str]:
    """Mark a message that counts, and its plural, for translation without translating them."""
    return singular, plural


@dataclass(frozen=True)
class Command:
    """Where a command or group of commands is, and the line that `ecluse --help` shows for it."""

    reference: str
    line: str


@dataclass(frozen=True)
class StoredKind:
    """What a person is told of a kind of files: what to call all of them and what a row's, and the pages of both.

    The page of a row is an address with `{id}`, `{name}` and `{version}` where these go.
    """

    title: Message
    item: Message
    page: Address = ""
    item_page: Annotated[Address, formats(id="", name="", version="")] = ""


@dataclass(frozen=True)
class Application:
    """What an application tells the core and the shell. Every text is English, marked by `sentences.N_`.

    A reference is "package.module:attribute"; the types that are named after it are those of the attribute.
    """

    name: str
    #: What the menu and the pages call it; empty: it has no page of its own and stands in no menu.
    title: Message = ""
    #: Places in the menu and on the first page, the smallest first.
    order: int = 100
    #: Content of an SVG symbol of 20 by 20 units that stands beside its title.
    icon: str = ""
    #: Where its first page is; by default "/" and its name.
    address: Address = ""
    #: Beginnings of addresses, beside its own, whose pages are its own as well.
    addresses: tuple[Address, ...] = ()
    #: The package that its folders `templates`, `static` and `locale` stand in; by default that of its module.
    package: str = ""
    #: The distribution that brings it; the core writes it.
    distribution: str = ""
    #: Routers of its pages and of its API (below /api): `fastapi.APIRouter`.
    pages: tuple[str, ...] = ()
    api: tuple[str, ...] = ()
    #: What the documentation of the API says of the tags of its operations.
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Addresses to which files are sent: a body of any other is held to a megabyte.
    uploads: tuple[Address, ...] = ()
    #: What its models are judged by, the most important first: `Sequence[ecluse.metrics.Metric]`.
    metrics: str = ""
    #: What there is to say of its trainings: `tracking.kinds.TrackedRuns`.
    runs: str = ""
    #: A template that is part of the page of every run, such as "birds/_run.html"; it is given `run`.
    run_part: str = ""
    #: What a web process holds for it: `Callable[[FastAPI], None]`, called once when the process begins.
    web: str = ""
    #: How a version of its own answers requests: `(runtime, version) -> inference.Loaded`.
    inference: str = ""
    #: The page on which a table is scored by a version of its own, where that is done in its own way.
    scores: Annotated[Address, formats(name="", version="")] = ""
    #: A table that was uploaded to it, for any model: `(runtime, user_id, id) -> tables.Readable | None`.
    tables: str = ""
    #: Its card on the first page, the template `_home.html`: `(transaction, user) -> dict` of what that needs.
    card: str = ""
    #: Its newest results: `(transaction, user_id, versions, limit, say) -> list[web.pages.home.Result]`; `versions` are
    #: the newest of its models.
    latest: str = ""
    #: How a version of its own is shown: `(runtime, version, manifest, say) -> web.pages.models.ModelPage | None`.
    #: Without it, or where that is None, the figures and details that were published with it are.
    model_page: str = ""
    #: What the page of two versions shows of its own: `(runtime, user_id, versions, dataset, say) -> dict`.
    model_comparison: str = ""
    #: What versions were made from, by their ids: `(transaction, versions) -> dict[str, jobs.Link]`.
    sources: str = ""
    #: Filters of its templates: `(language, value) -> text`.
    filters: Mapping[str, str] = field(default_factory=dict)
    #: How errors of its own are shown, by their code: `(error) -> web.errors.ErrorPage`.
    errors: Mapping[str, str] = field(default_factory=dict)
    #: Modules of its tables (`catalog.tables.Base`), whose names begin with its own. A folder `migrations` of its
    #: package makes them, see `catalog.migrations_of_applications`.
    rows: tuple[str, ...] = ()
    #: What it keeps for a person, as it is named to them, and the class of its rows, which have a `user_id`.
    owned: Mapping[str, str] = field(default_factory=dict)
    #: Kinds of its things that people share (`shares.Kind`), by a word: `nests` of birds is `birds_nests`.
    sharable: Mapping[str, str] = field(default_factory=dict)
    #: What it writes down of who did what, by the action: `{"birds.ring": N_("bird ringed")}`.
    logged: Mapping[str, Message] = field(default_factory=dict)
    #: Kinds of its files that are counted (`kind` of `catalog.filed.FileKind`); another one is called by its kind.
    stored: Mapping[str, StoredKind] = field(default_factory=dict)
    #: What it reads of the environment: `settings.Section`.
    settings: str = ""
    commands: Mapping[str, Command] = field(default_factory=dict)
    #: Kinds of jobs: `Mapping[str, JobKind]`.
    jobs: tuple[str, ...] = ()
    #: What a worker does now and then; each returns how many rows or jobs that were: `Callable[[Runtime], int]`.
    due: tuple[str, ...] = ()
    #: What is done after each job of others (of the core too) that ended well: `Callable[[Runtime, Task], None]`.
    after_jobs: tuple[str, ...] = ()
    #: Record a version that an administrator imports for everyone, `ecluse models import --prefix`:
    #: `(runtime, user_id, registry, manifest, files) -> list[str]` of what could not be read of it.
    shared: str = ""
    #: What is done before pages or a worker begin, once the settings are read: `(settings) -> None`.
    begin: str = ""
    #: Give what belongs to the installation to another administrator: `(transaction, user_id, heir_id) -> None`.
    hand_over: str = ""


@dataclass(frozen=True)
class Refused:
    """An application that is installed and cannot be used, and why."""

    name: str
    source: str
    reason: str


@dataclass(frozen=True)
class Installed:
    """The applications that can be used, in the order of the menu, and those that cannot."""

    applications: tuple[Application, ...]
    refused: tuple[Refused, ...]


@dataclass(frozen=True)
class EntryPoint:
    """A line of an installed distribution: the name of an application, and where its value is."""

    name: str
    reference: str
    distribution: str


def look_in(folder: Path) -> None:
    """Take the applications that are installed in a folder, `NAME/entry_point`, for installed; others of before go."""
    global _folder, _in_folder
    points = tuple(_points_in(folder))
    if points != _in_folder:
        for function in _remembered:
            function.cache_clear()
    _folder, _in_folder = folder, points


def folder_of_home() -> Path | None:
    """Return the folder that `look_in` was given last."""
    return _folder


def _points_in(folder: Path) -> Iterator[tuple[EntryPoint, int]]:
    """List the applications in a folder, each with the moment of its installation."""
    for file in sorted(folder.glob(f"*/{POINT}")):
        try:
            reference, changed = file.read_text("utf-8").strip(), file.stat().st_mtime_ns
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("The application in %s is left out: it cannot be read: %s", file.parent, error)
            continue
        yield EntryPoint(file.parent.name, reference, HOME), changed


def is_in_one_file(reference: str) -> bool:
    """Say whether an entry point names `app = App(…)`, which is described once and never imported here."""
    module, _colon, attribute = reference.partition(":")
    places: Any = None
    spec = None
    for name in module.split("."):
        spec = PathFinder.find_spec(name, places)
        if spec is None:
            return False
        places = spec.submodule_search_locations
    try:
        text = Path(spec.origin or "").read_text("utf-8") if spec is not None else ""
    except (OSError, UnicodeDecodeError):
        return False
    return (
        re.search(rf"^{re.escape(attribute)}\s*(?::[^=\n]+)?=\s*(?:\w+\.)*App\(", text, re.MULTILINE)
        is not None
    )


@remembered
def installed() -> Installed:
    """Find the applications that are installed, once in a process."""
    usable: dict[str, Application] = {}
    refused: list[Refused] = []
    points = [
        point for point in entry_points() if point.distribution == OURS or not is_in_one_file(point.reference)
    ]
    points += [point for point, _changed in _in_folder]
    for point in sorted(points, key=lambda point: (point.distribution != OURS, point.distribution)):
        try:
            application = _application(point, usable)
        except ApplicationBroken as error:
            refused.append(Refused(point.name, point.distribution, str(error)))
            logger.warning("Application %s of %s is left out: %s", point.name, point.distribution, error)
            continue
        usable[application.name] = application
    in_order = sorted(usable.values(), key=lambda application: (application.order, application.name))
    return Installed(tuple(in_order), tuple(refused))


def applications() -> tuple[Application, ...]:
    """Return the applications that can be used, in the order of the menu."""
    return installed().applications


def ours_first() -> list[Application]:
    """Return the applications that can be used, ours before those of others: what comes first keeps its name."""
    return sorted(applications(), key=lambda application: application.distribution != OURS)


def application_named(name: str) -> Application | None:
    return next((application for application in applications() if application.name == name), None)


def load(reference: str) -> Any:
    """Import what a reference names.

    Raises:
        ApplicationBroken: it cannot be imported, or is not there.
    """
    module, _, attribute = reference.partition(":")
    try:
        value: Any = importlib.import_module(module)  # noqa: TID251 (a name that an installed package declares)
        for name in filter(None, attribute.split(".")):
            value = getattr(value, name)
    except (Exception, SystemExit) as error:  # whatever a package of another does when it is imported
        raise ApplicationBroken(f"{reference} cannot be imported: {type(error).__name__}: {error}") from error
    return value


@remembered
def known_metrics() -> Mapping[str, Metric]:
    """List what models of any application are judged by, by name; the first application to name one describes it."""
    metrics: dict[str, Metric] = {}
    for _application, brought in parts("metrics"):
        for metric in brought:
            metrics.setdefault(metric.name, metric)
    return MappingProxyType(metrics)


def _is_row(value: Any) -> str:
    columns = ("__tablename__", "user_id")
    is_row = isinstance(value, type) and all(hasattr(value, name) for name in columns)
    return "" if is_row else f"{value!r:.100} is no class of rows with a user_id"


#: What a reference of a field names: a type, or the reference of one that core and shell keep in a layer above.
TYPES: Final[Mapping[str, Any]] = {
    "pages": "fastapi:APIRouter",
    "api": "fastapi:APIRouter",
    "metrics": Sequence[Metric],
    "runs": "ecluse.tracking.kinds:TrackedRuns",
    "web": Callable[..., Any],
    "inference": Callable[..., Any],
    "tables": Callable[..., Any],
    "card": Callable[..., Any],
    "latest": Callable[..., Any],
    "model_page": Callable[..., Any],
    "model_comparison": Callable[..., Any],
    "sources": Callable[..., Any],
    "filters": Callable[..., Any],
    "errors": Callable[..., Any],
    "rows": ModuleType,
    "owned": Annotated[Any, _is_row],
    "sharable": "ecluse.shares:Kind",
    "settings": "ecluse.settings:Section",
    "commands": "click:Command",
    "jobs": "ecluse.jobs:JobKinds",
    "due": Callable[..., Any],
    "after_jobs": Callable[..., Any],
    "shared": Callable[..., Any],
    "hand_over": Callable[..., Any],
    "begin": Callable[..., Any],
}


def parts(name: str) -> Iterator[tuple[Application, Any]]:
    """Import what each application brings in a field, ours first: `for application, router in parts("pages")`.

    What cannot be imported, or is not of the type of the field, is left out: see `leave_out`.
    """
    for application in ours_first():
        for reference in _references(application, name):
            if (value := part(application, name, reference)) is not None:
                yield application, value


def part(application: Application, name: str, reference: str = "") -> Any | None:
    """Import what an application names in a field; None where it names nothing, or nothing that can be used.

    `reference`: which, of a field that has several.
    """
    reference = reference or next(iter(_references(application, name)), "")
    if not reference:
        return None
    try:
        value = load(reference)
    except ApplicationBroken as error:
        leave_out(application, reference, str(error))
        return None
    if _checked.get((name, reference)) is not value:
        hint = TYPES[name]
        if reason := fault(value, load(hint) if isinstance(hint, str) else hint):
            leave_out(application, reference, f"{name}: {reference}: {reason}.")
            return None
        _checked[name, reference] = value
    return value


def leave_out(application: Application, what: str, reason: str) -> None:
    """Note that a part of an application is not used: it is logged once, and listed by `failures`."""
    if (application.name, what) not in _failures:
        _failures[application.name, what] = reason
        logger.warning("A part of the application %s is left out: %s", application.name, reason)


@contextmanager
def guarded(
    application: Application, what: str, *, passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Keep what an application raises, other than `passing`, from what is done for the others.

    It is logged once, and listed by `failures` until the same works again.
    """
    try:
        yield
    except passing:
        raise
    except Exception as error:
        if (application.name, what) not in _failures:
            logger.exception("What %s does in %s failed", application.name, what)
        leave_out(application, what, f"{what} failed: {type(error).__name__}: {error}")
    else:
        _failures.pop((application.name, what), None)


def failures() -> list[Refused]:
    """List the applications, and the parts of applications, that are left out, and why."""
    broken = [Refused(name, what, reason) for (name, what), reason in sorted(_failures.items())]
    return [*installed().refused, *broken]


def references(application: Application) -> Iterator[tuple[str, str]]:
    """List every reference of an application, with the name of its field: what it brings beside data."""
    for name in TYPES:
        for reference in _references(application, name):
            yield name, reference


def _references(application: Application, name: str) -> Iterator[str]:
    value = getattr(application, name)
    if isinstance(value, Mapping):
        value = [item.reference if isinstance(item, Command) else item for item in value.values()]
    yield from filter(None, [value] if isinstance(value, str) else value)


def folder_of(application: Application, name: str) -> Path | None:
    """Find the folder `templates`, `static`, `locale` … of an application; None where it has none."""
    try:
        spec = importlib.util.find_spec(application.package)
    except Exception as error:  # noqa: BLE001 (whatever a package of another does when it is imported)
        leave_out(
            application, name, f"{application.package} cannot be imported: {type(error).__name__}: {error}"
        )
        return None
    places = () if spec is None else spec.submodule_search_locations or ()
    return next((folder for place in places if (folder := Path(place) / name).is_dir()), None)


@remembered
def folders(name: str) -> dict[str, Path]:
    """Find the folders of this name that applications have, by the name of the application."""
    every = {application.name: folder_of(application, name) for application in ours_first()}
    return {name: folder for name, folder in every.items() if folder is not None}


def entry_points() -> Iterator[EntryPoint]:
    """Read which applications the installed distributions bring, each distribution once.

    `importlib.metadata` finds the same, and to import it takes half as long as all of `ecluse --help`.
    """
    seen = set[str]()
    for place in dict.fromkeys(sys.path):
        try:
            every = os.listdir(place or ".")  # noqa: PTH208 (paths of all that is there cost as much as the rest)
        except (FileNotFoundError, NotADirectoryError):
            continue  # nothing at all, or an archive
        except OSError as error:
            logger.warning("Applications in %s are left out: it cannot be read: %s", place or ".", error)
            continue
        for name in sorted(name for name in every if name.endswith(".dist-info")):
            distribution = re.sub(r"[-_.]+", "-", name.removesuffix(".dist-info").rpartition("-")[0]).lower()
            if distribution in seen:
                continue
            seen.add(distribution)
            try:
                text = Path(place or ".", name, "entry_points.txt").read_text("utf-8", errors="replace")
            except (FileNotFoundError, NotADirectoryError):
                continue  # it brings none
            except OSError as error:
                logger.warning("Applications of %s are left out: %s", distribution, error)
                continue
            yield from _entry_points_in(text, distribution)


def _entry_points_in(text: str, distribution: str) -> Iterator[EntryPoint]:
    if f"[{GROUP}]" not in text:
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == GROUP and "=" in line and not line.startswith(("#", ";")):
            name, _, reference = line.partition("=")
            yield EntryPoint(name.strip(), reference.split("[")[0].strip(), distribution)


def _application(point: EntryPoint, others: Mapping[str, Application]) -> Application:
    """Load the value that an entry point names. Raises ApplicationBroken where there is none that can be used."""
    value = load(point.reference)
    if not isinstance(value, Application):
        raise ApplicationBroken(f"{point.reference} is a {type(value).__name__} and not an Application.")
    if not isinstance(value.name, str) or _NAME.fullmatch(value.name) is None or value.name in RESERVED:
        raise ApplicationBroken(
            f"{value.name!r:.100} cannot be the name of an application: small letters, digits and _, 16 at most, and "
            "no word that the shell uses itself."
        )
    if value.name in others:
        raise ApplicationBroken(f'There is an application "{value.name}" already. Remove one of the two.')
    value = _with_defaults(value)
    package = value.package or point.reference.partition(":")[0].rpartition(".")[0]
    return replace(
        value, package=package, address=value.address or f"/{value.name}", distribution=point.distribution
    )


def _with_defaults(application: Application) -> Application:
    """Leave out what is not of the type of its field: the default stands in its place."""
    wrong = faults(application)
    for name, reason in wrong.items():
        leave_out(application, name, f"{name}: {reason}.")
    defaults: dict[str, Any] = {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(application)
        if each.name in wrong
    }
    return replace(application, **defaults)


_failures: dict[tuple[str, str], str] = {}
#: Where applications of this home are installed, and what was there.
_folder: Path | None = None
_in_folder: tuple[tuple[EntryPoint, int], ...] = ()
#: What has been imported and is of the type of its field, by that and its reference.
_checked: dict[tuple[str, str], Any] = {}
