"""Say what an application is to the core and the shell, and find the applications that are installed.

An application is a package with one value, `APPLICATION = Application(name="birds", …)`, and an entry point that
names it:

    [project.entry-points."ecluse.apps"]
    birds = "birds.application:APPLICATION"

Core and shell know no application by name: their menus, pages, commands, jobs and checks are loops over `installed()`.
What an application brings is data, or a reference "package.module:attribute" that is imported when it is used, so that
`ecluse --help` and the menu of a page import no application.

An application that cannot be loaded takes nothing down: it is listed with its reason by `ecluse doctor` and by the
detail of readiness, and logged once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from ecluse.errors import ApplicationBroken
from ecluse.metrics import Metric

GROUP: Final = "ecluse.apps"
#: The distribution of this package.
OURS: Final = "ecluse"
#: Names of applications are words of addresses, of folders and of rows of the catalog.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,15}")
#: Addresses and commands of the shell, which no application takes.
RESERVED: Final = frozenset(
    {"account", "api", "core", "cache", "documents", "doctor", "health", "jobs", "live", "metrics", "migrate"}
    | {
        "migrations",
        "models",
        "move",
        "ready",
        "runs",
        "servers",
        "static",
        "storage",
        "up",
        "users",
        "web",
        "worker",
    }
)
logger = logging.getLogger(__name__)


def ngettext(singular: str, plural: str) -> tuple[str, str]:
    """Mark a message that counts, and its plural, for translation without translating them."""
    return singular, plural


@dataclass(frozen=True)
class Command:
    """A command or group of commands: where it is, and the line that `ecluse --help` shows for it."""

    reference: str
    line: str


@dataclass(frozen=True)
class StoredKind:
    """What a person is told of a kind of files: what to call all of them and what a row's, and the pages of both.

    The page of a row is an address with `{id}`, `{name}` and `{version}` where these go.
    """

    title: str
    item: str
    page: str = ""
    item_page: str = ""


@dataclass(frozen=True)
class Application:
    """What an application tells the core and the shell. Every text is English, marked by `sentences.N_`.

    A reference is "package.module:attribute"; the types that are named after it are those of the attribute.
    """

    name: str
    #: What the menu and the pages call it; empty: it has no page of its own and stands in no menu.
    title: str = ""
    #: Places in the menu and on the first page, the smallest first.
    order: int = 100
    #: Content of an SVG symbol of 20 by 20 units that stands beside its title.
    icon: str = ""
    #: Where its first page is; by default "/" and its name.
    address: str = ""
    #: Beginnings of addresses, beside its own, whose pages are its own as well.
    addresses: tuple[str, ...] = ()
    #: The package that its folders `templates`, `static` and `locale` stand in; by default that of its module.
    package: str = ""
    #: Routers of its pages and of its API (below /api): `fastapi.APIRouter`.
    pages: tuple[str, ...] = ()
    api: tuple[str, ...] = ()
    #: What the documentation of the API says of the tags of its operations.
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Addresses to which files are sent: a body of any other is held to a megabyte.
    uploads: tuple[str, ...] = ()
    #: What its models are judged by, the most important first: `Sequence[ecluse.metrics.Metric]`.
    metrics: str = ""
    #: What there is to say of its trainings: `tracking.kinds.TrackedRuns`.
    runs: str = ""
    #: A template that is part of the page of every run, such as "birds/_run.html"; it is given `run`.
    run_part: str = ""
    #: What a web process holds for it: `Callable[[FastAPI], None]`, called once when the process begins.
    web: str = ""
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
    #: Modules of its tables (`catalog.tables.Base`), whose names begin with its own. A folder `migrations` of its
    #: package makes them, see `catalog.migrations_of_applications`.
    rows: tuple[str, ...] = ()
    #: What it keeps for a person, as it is named to them, and the class of its rows, which have a `user_id`.
    owned: Mapping[str, str] = field(default_factory=dict)
    #: Kinds of its files that are counted (`kind` of `catalog.filed.FileKind`); another one is called by its kind.
    stored: Mapping[str, StoredKind] = field(default_factory=dict)
    #: What it reads of the environment: `settings.Section`.
    settings: str = ""
    commands: Mapping[str, Command] = field(default_factory=dict)
    #: Kinds of jobs: `Mapping[str, JobKind]`.
    jobs: tuple[str, ...] = ()
    #: What a worker does now and then; each returns how many rows or jobs that were: `Callable[[Runtime], int]`.
    due: tuple[str, ...] = ()
    #: What is done at the end of every job of any application: `Callable[[Runtime], None]`.
    after_jobs: tuple[str, ...] = ()
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


@cache
def installed() -> Installed:
    """Find the applications that are installed, once in a process."""
    usable: dict[str, Application] = {}
    refused: list[Refused] = []
    for point in sorted(
        entry_points(), key=lambda point: (point.distribution != "ecluse", point.distribution)
    ):
        try:
            application = _application(point, usable)
        except ApplicationBroken as error:
            refused.append(Refused(point.name, point.distribution, str(error)))
            logger.warning("Application %s of %s is left out: %s", point.name, point.distribution, error)
            continue
        usable[application.name] = application
    return Installed(tuple(sorted(usable.values(), key=lambda one: (one.order, one.name))), tuple(refused))


def applications() -> tuple[Application, ...]:
    """The applications that can be used, in the order of the menu."""
    return installed().applications


def application_named(name: str) -> Application | None:
    return next((application for application in applications() if application.name == name), None)


def load(reference: str) -> Any:
    """Import what a reference names.

    Raises:
        ApplicationBroken: it cannot be imported, or is not there.
    """
    module, _, attribute = reference.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for name in filter(None, attribute.split(".")):
            value = getattr(value, name)
    except (Exception, SystemExit) as error:  # whatever a package of another does when it is imported
        raise ApplicationBroken(f"{reference} cannot be imported: {type(error).__name__}: {error}") from error
    return value


def known_metrics() -> dict[str, Metric]:
    """List what models of any application are judged by, by name; the first application to name one describes it."""
    found: dict[str, Metric] = {}
    for _application, metrics in parts("metrics"):
        for metric in metrics:
            found.setdefault(metric.name, metric)
    return found


def parts(
    references: str, *, among: Sequence[Application] | None = None
) -> Iterator[tuple[Application, Any]]:
    """Import what each application brings under this field, in order: `for application, router in parts("pages")`.

    What cannot be imported is left out, logged once, and from then on listed by `failures`.
    """
    for application in applications() if among is None else among:
        named = getattr(application, references)
        for reference in (named,) if isinstance(named, str) else named:
            if reference and (value := part(application, reference)) is not None:
                yield application, value


def part(application: Application, reference: str) -> Any | None:
    """Import one thing of an application; None where it cannot be imported: it is left out."""
    try:
        return load(reference)
    except ApplicationBroken as error:
        leave_out(application, reference, str(error))
        return None


def leave_out(application: Application, what: str, reason: str) -> None:
    """Note that a part of an application cannot be used: logged once, and listed by `failures`."""
    if (application.name, what) not in _failures:
        _failures[application.name, what] = reason
        logger.warning("A part of the application %s is left out: %s", application.name, reason)


def failures() -> list[Refused]:
    """The applications, and the parts of applications, that are left out, and why."""
    broken = [Refused(name, reference, reason) for (name, reference), reason in sorted(_failures.items())]
    return [*installed().refused, *broken]


def references(application: Application) -> Iterator[str]:
    """Every reference of an application: what it brings beside data."""
    single = (
        "model_page",
        "model_comparison",
        "sources",
        "settings",
        "card",
        "latest",
        "runs",
        "web",
        "hand_over",
    )
    for name in (*single, "rows", "pages", "api", "jobs", "due", "after_jobs"):
        value = getattr(application, name)
        yield from [value] if isinstance(value, str) and value else value
    yield from application.filters.values()
    yield from application.owned.values()
    yield from (command.reference for command in application.commands.values())


def folder_of(application: Application, name: str) -> Path | None:
    """The folder `templates`, `static`, `locale` … of an application; None where it has none."""
    try:
        spec = importlib.util.find_spec(application.package)
    except Exception as error:  # noqa: BLE001 (whatever a package of another does when it is imported)
        leave_out(
            application, name, f"{application.package} cannot be imported: {type(error).__name__}: {error}"
        )
        return None
    places = () if spec is None else spec.submodule_search_locations or ()
    return next((folder for place in places if (folder := Path(place) / name).is_dir()), None)


@cache
def folders(name: str) -> dict[str, Path]:
    """The folders of this name that applications have, by the name of the application."""
    found = {application.name: folder_of(application, name) for application in applications()}
    return {name: folder for name, folder in found.items() if folder is not None}


def entry_points() -> Iterator[EntryPoint]:
    """Read which applications the installed distributions bring, each distribution once.

    `importlib.metadata` finds the same, and to import it takes half as long as all of `ecluse --help`.
    """
    seen = set[str]()
    for place in dict.fromkeys(sys.path):
        try:
            every = os.listdir(place or ".")  # noqa: PTH208 (paths of all that is there cost as much as the rest)
        except OSError:  # an archive, or nothing at all
            continue
        for name in sorted(name for name in every if name.endswith(".dist-info")):
            distribution = re.sub(r"[-_.]+", "-", name.removesuffix(".dist-info").rpartition("-")[0]).lower()
            if distribution in seen:
                continue
            seen.add(distribution)
            try:
                text = Path(place or ".", name, "entry_points.txt").read_text(encoding="utf-8")
            except OSError:  # it brings none
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
    if _NAME.fullmatch(value.name) is None or value.name in RESERVED:
        raise ApplicationBroken(
            f'"{value.name}" cannot be the name of an application: small letters, digits and _, 16 at most, and no '
            "word that the shell uses itself."
        )
    if value.name in others:
        raise ApplicationBroken(f'There is an application "{value.name}" already. Remove one of the two.')
    package = value.package or point.reference.partition(":")[0].rpartition(".")[0]
    return replace(value, package=package, address=value.address or f"/{value.name}")


_failures: dict[tuple[str, str], str] = {}
