"""What many tests stand on: real servers, and a runtime in a temporary folder."""

from __future__ import annotations

import faulthandler
import json
import logging
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import psycopg
import pytest
from hypothesis import settings
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from ecluse import hashing, logs
from ecluse.catalog import Catalog
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import ensure_bucket
from tests.application import Application, running
from tests.servers import (
    ObjectServer,
    ServerMissing,
    azurite,
    dynalite,
    moto,
    postgresql,
    s3rver,
    seaweedfs,
    secantusdb,
)

if TYPE_CHECKING:
    from fastapi import FastAPI
    from playwright.sync_api import Browser

    from tests.web.within import Within

# What a machine does beside the tests must not decide them.
settings.register_profile("quick", deadline=None, max_examples=30)
settings.register_profile("nightly", deadline=None)

# As strong as it is, a hash takes a quarter of a second, and the suite signs up hundreds of people.
hashing._hasher = lambda: PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))


#: By module, the seconds that its tests take; modules under a second are left out. Written by --store-durations.
DURATIONS = Path(__file__).with_name("durations.json")
#: Servers of others that the nightly tests alone start; cases are called by them.
FOREIGN = frozenset({"azure", "azurite", "s3rver", "mongodb", "dynalite", "moto"})
SERVERS = pytest.StashKey[ExitStack]()
ADDRESSES = pytest.StashKey[dict[str, str]]()
#: A folder with what each process of the tests writes as it crashes, and what is said of those that did.
LAST_WORDS = pytest.StashKey[Path]()
CRASHES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true", help="the tests marked nightly, and property tests at length"
    )
    parser.addoption(
        "--golden", action="store_true", help="write the files of tests/golden and docs/reference"
    )
    parser.addoption("--store-durations", action="store_true", help=f"write {DURATIONS.name}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("nightly" if config.option.nightly else "quick")
    if getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(_FailuresAtOnce(config))
    if config.option.store_durations:
        config.pluginmanager.register(_StoredDurations())
    if path := getattr(config, "workerinput", {}).get("last_words"):
        faulthandler.enable(Path(path).open("w"))  # noqa: SIM115  -- for as long as this process lives


class _FailuresAtOnce:
    """Names a test as soon as it fails: what many processes run takes long, and may never come to its summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            reason = getattr(report.longrepr, "reprcrash", None) or report.longrepr
            terminal.ensure_newline()
            terminal.write_line(f"FAILED {report.nodeid} ({report.when}): {str(reason)[:500]}")


class _StoredDurations:
    """Writes how long each module took."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        known: dict[str, float] = json.loads(DURATIONS.read_text())
        known |= {module: round(seconds) for module, seconds in self._seconds.items()}
        there = [module for module in sorted(known) if (session.config.rootpath / module).exists()]
        kept = {module: known[module] for module in there if known[module] >= 1}
        DURATIONS.write_text(json.dumps(kept, indent=0) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest; keep the tests of this tier, or all of a path that is named."""
    seconds: dict[str, float] = json.loads(DURATIONS.read_text())
    # A module with a long test that begins last would run alone.
    items.sort(key=lambda item: -seconds.get(item.nodeid.partition("::")[0], 0))
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    _refuse_unknown_cases(items)
    chosen = [item for item in items if _is_of_tier(item, nightly=config.option.nightly)]
    left = set(items) - set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = chosen


def _is_of_tier(item: pytest.Item, *, nightly: bool) -> bool:
    marked = any(not mark.args or _case_of(item) in mark.args for mark in item.iter_markers("nightly"))
    marked = marked or not FOREIGN.isdisjoint(_case_of(item).split("-"))
    if nightly:  # a property test runs in both tiers, longer here
        return marked or getattr(getattr(item, "function", None), "is_hypothesis_test", False)
    return not marked


def _case_of(item: pytest.Item) -> str:
    """Return the parameters of a test as its name has them: `s3` of `test_listing[s3]`."""
    return item.name.partition("[")[2].removesuffix("]")


def _refuse_unknown_cases(items: list[pytest.Item]) -> None:
    """Raise UsageError where a mark `nightly("s3")` names a case that its test does not have."""
    marked: dict[str, set[str]] = {}
    for item in items:
        for mark in item.iter_markers("nightly"):
            if not mark.args:
                continue
            test = item.nodeid.partition("[")[0]
            marked.setdefault(test, set(mark.args)).discard(_case_of(item))
    unknown = {test: cases for test, cases in marked.items() if cases}
    if unknown:
        raise pytest.UsageError(f"marked nightly, but there is no such case: {unknown}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start, before several processes run the tests (`-n`), the servers that they share."""
    if getattr(session.config.option, "numprocesses", None):
        servers = session.config.stash[SERVERS] = ExitStack()
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="seaweedfs")))
        session.config.stash[ADDRESSES] = {
            "postgresql": servers.enter_context(postgresql()),
            "seaweedfs": servers.enter_context(seaweedfs(folder, volumes=200)).endpoint,
        }
        session.config.stash[LAST_WORDS] = Path(
            servers.enter_context(tempfile.TemporaryDirectory(prefix="last_words"))
        )
        session.config.stash[CRASHES] = []


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["addresses"] = node.config.stash[ADDRESSES]
    node.workerinput["last_words"] = str(node.config.stash[LAST_WORDS] / node.gateway.id)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Keep how a process of the tests crashed: its exit code (below 0: the signal) and the stacks of its threads."""
    if error is not None:
        code = node.gateway._io.popen.wait(60)
        words = (node.config.stash[LAST_WORDS] / node.gateway.id).read_text(errors="replace")
        node.config.stash[CRASHES].append(f"{node.gateway.id} ended with code {code}\n{words}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for crash in config.stash.get(CRASHES, []):
        terminalreporter.section("a process of the tests crashed")
        terminalreporter.write_line(crash)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVERS in config.stash:
        config.stash[SERVERS].close()


def _shared(config: pytest.Config, server: str) -> str | None:
    """Return the address of a server that other processes of the tests use too; None where this one is alone."""
    addresses: dict[str, str] = getattr(config, "workerinput", {}).get("addresses", {})
    return addresses.get(server)


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    """Put back the loggers of this process, which a command that a test calls sets up for itself."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.TALKATIVE}
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)
    for name, kept in levels.items():
        logging.getLogger(name).setLevel(kept)
    logging.captureWarnings(False)


T = TypeVar("T")
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def object_server(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObjectServer]:
    if endpoint := _shared(pytestconfig, "seaweedfs"):
        yield ObjectServer(endpoint, [])
        return
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def restartable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A SeaweedFS for tests that kill it; each of them starts it again."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running Azurite with its container."""
    with installed(azurite(tmp_path_factory.mktemp("azurite"))) as environment:
        settings = Settings.from_environment(environment)
        assert ensure_bucket(settings.store_url, settings.access)
        yield environment


@pytest.fixture(scope="session")
def s3rver_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a store without conditional writes."""
    with installed(s3rver(tmp_path_factory.mktemp("s3rver"))) as environment:
        yield environment


@contextmanager
def installed(server: AbstractContextManager[T]) -> Iterator[T]:
    """The server, or a skipped test where it cannot be installed."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(server)
        except ServerMissing as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="session")
def postgresql_server(pytestconfig: pytest.Config) -> Iterator[str]:
    if url := _shared(pytestconfig, "postgresql"):
        yield url
        return
    with postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def new_postgresql_url(postgresql_server: str) -> Callable[[], str]:
    """Makes an empty database; its address."""

    def make() -> str:
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return postgresql_server.replace("/postgres?", f"/{name}?")

    return make


@pytest.fixture
def postgresql_url(new_postgresql_url: Callable[[], str]) -> str:
    """The address of an empty database of its own."""
    return new_postgresql_url()


@pytest.fixture(scope="session")
def new_migrated_url(postgresql_server: str, new_postgresql_url: Callable[[], str]) -> Callable[[], str]:
    """Makes a PostgreSQL database with the tables of the catalog, empty; its address.

    The migrations run once: the others are copies.
    """
    template = new_postgresql_url()
    catalog = Catalog(Settings.from_environment({"DATABASE_URL": template}).database_url)
    catalog.migrate()
    catalog.close()
    name = template.rpartition("?")[0].rpartition("/")[2]

    def make() -> str:
        copy = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
        return template.replace(f"/{name}?", f"/{copy}?")

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog: on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        empty: Path = request.getfixturevalue("empty_home")
        url = f"sqlite:///{shutil.copy(empty / 'catalog.db', tmp_path)}"
    else:
        url = request.getfixturevalue("new_migrated_url")()
    opened = Catalog(Settings.from_environment({"DATABASE_URL": url}).database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def secantus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with secantusdb(tmp_path_factory.mktemp("secantusdb")) as url:
        yield url


@pytest.fixture(scope="session")
def dynalite_url() -> Iterator[str]:
    with installed(dynalite()) as url:
        yield url


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh embedded installation: its databases made, nothing in them."""
    home = tmp_path_factory.mktemp("empty") / "home"
    with Runtime.open(Settings.from_environment({}, home=home)):
        return home


@pytest.fixture
def home(tmp_path: Path, empty_home: Path) -> Path:
    """The folder of an embedded installation in which nothing is yet."""
    return Path(shutil.copytree(empty_home, tmp_path / "home"))


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    """The embedded default, in a temporary folder."""
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of an installation in which nothing is yet: on SQLite, then on PostgreSQL."""
    base = {"ECLUSE_HOME": str(tmp_path / "home")}
    if request.param == "postgresql":
        return base | {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    shutil.copytree(request.getfixturevalue("empty_home"), tmp_path / "home", dirs_exist_ok=True)
    return base


@pytest.fixture
def opened(environ: dict[str, str]) -> Iterator[Runtime]:
    """The installation of `environ`, opened."""
    with Runtime.open(Settings.from_environment(environ)) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def fraud_tables() -> Path:
    """The folder of real tables that stands beside the checkout."""
    folder = SHARED / "fraud"
    if not folder.is_dir():
        pytest.skip(f"no real tables at {folder}")
    return folder


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("application") / "home") as started:
        yield started


@pytest.fixture(scope="session")
def client(application: Application) -> Iterator[httpx.Client]:
    with application.client("owner@example.org") as opened:
        yield opened


@pytest.fixture(scope="session")
def other(application: Application) -> Iterator[httpx.Client]:
    with application.client("other@example.org") as opened:
        yield opened


@pytest.fixture(scope="session")
def within_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    from ecluse.web.app import make_app

    settings = Settings.from_environment({}, home=tmp_path_factory.mktemp("within"))
    with Runtime.open(settings) as runtime:
        yield make_app(runtime)


@pytest.fixture
def web(within_app: FastAPI, tmp_path: Path) -> Within:
    """The application in this process, and a new person who asks it."""
    from tests.web.within import Within

    return Within.enter(within_app, tmp_path / "models")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one module: its event loop stays in the way of other modules' own."""
    from tests.journeys.browser import opened

    with opened() as started:
        yield started
