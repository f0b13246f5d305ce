"""What many tests stand on: real servers, and a runtime in a temporary folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from hypothesis import settings
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from ecluse import accounts
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import ensure_bucket
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
from tests.thorough import is_thorough

# What a machine does beside the tests must not decide them.
settings.register_profile("ecluse", deadline=None)
settings.load_profile("ecluse")

# As strong as it is, a hash takes a quarter of a second, and the suite signs up hundreds of people.
accounts._hasher = lambda: PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))

#: The modules that take longest, the longest first. Begun last, they would leave all but one process idle.
LONGEST = (
    "apps/city/test_city_jobs.py",
    "test_main_job.py",
    "test_servers.py",
    "apps/plants/test_training_job.py",
    "journeys/test_unlabelled.py",
    "contracts/test_store.py",
    "apps/fraud/test_library.py",
    "journeys/test_watching.py",
    "journeys/test_city.py",
    "journeys/test_plants.py",
    "web/test_api.py",
    "test_main_job_faults.py",
    "apps/fraud/test_cli_references.py",
    "apps/plants/test_finetune.py",
    "test_models.py",
    "apps/fraud/ensembles/test_unlabelled.py",
    "test_jobs.py",
    "journeys/test_main_job.py",
    "journeys/test_labelling.py",
    "test_migration_kills.py",
    "web/test_watching.py",
    "test_cli.py",
    "test_lambda.py",
    "contracts/test_documents.py",
    "contracts/test_remote_store.py",
    "apps/fraud/test_scoring.py",
    "apps/fraud/ensembles/test_ensemble.py",
    "test_upkeep.py",
)
TESTS = Path(__file__).parent
assert all((TESTS / name).is_file() for name in LONGEST)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="also the tests of tests/thorough.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the modules of `LONGEST`. Of all tests leave the thorough ones out; a file's own are run with it."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
    if config.option.thorough or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    left, kept = [], []
    for item in items:
        module = item.path.relative_to(TESTS).as_posix()
        (left if is_thorough(module, item.name) else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


T = TypeVar("T")
SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
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
    with _installed(azurite(tmp_path_factory.mktemp("azurite"))) as environment:
        settings = Settings.from_environment(environment)
        assert ensure_bucket(settings.store_url, settings.access)
        yield environment


@pytest.fixture(scope="session")
def s3rver_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a store without conditional writes."""
    with _installed(s3rver(tmp_path_factory.mktemp("s3rver"))) as environment:
        yield environment


@contextmanager
def _installed(server: AbstractContextManager[T]) -> Iterator[T]:
    """The server, or a skipped test where it cannot be installed."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(server)
        except ServerMissing as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
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
def secantus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with secantusdb(tmp_path_factory.mktemp("secantusdb")) as url:
        yield url


@pytest.fixture(scope="session")
def dynalite_url() -> Iterator[str]:
    with _installed(dynalite()) as url:
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
def runtime(tmp_path: Path, empty_home: Path) -> Iterator[Runtime]:
    """The embedded default, in a temporary folder."""
    shutil.copytree(empty_home, tmp_path / "home")
    with Runtime.open(Settings.from_environment({}, home=tmp_path / "home")) as opened:
        yield opened


@pytest.fixture(scope="session")
def fraud_tables() -> Path:
    """The folder of real tables that stands beside the checkout."""
    folder = SHARED / "fraud"
    if not folder.is_dir():
        pytest.skip(f"no real tables at {folder}")
    return folder
