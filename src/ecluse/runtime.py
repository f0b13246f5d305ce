"""Hold everything one process keeps open: the store, the catalog, the jobs, the cache, the documents.

`Runtime.open(settings)` is what a web process, a worker or a command starts from; `Worker` is the loop of
a worker process.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ecluse.accounts import Accounts
from ecluse.catalog import Catalog, places, pointers, workers
from ecluse.catalog.tables import ModelVersion
from ecluse.catalog.tables import Worker as WorkerRow
from ecluse.disks import make_private
from ecluse.documents import Documents, open_documents
from ecluse.errors import EcluseError
from ecluse.jobs import JobKind, JobRunner, Jobs
from ecluse.limits import WORKING, Limits
from ecluse.registry import Registry
from ecluse.settings import AREAS, Settings
from ecluse.storage import PATIENCE, Cache, ObjectStore, Stores, join_key

HEARTBEAT_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 300.0
GUARD_SECONDS = 5.0
STANDSTILL_SECONDS = 120.0
#: A staged upload of this age has no one left to finish it.
UPLOAD_PATIENCE: Final = timedelta(hours=24)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """What one process holds open. Close it, or use it as a context manager."""

    settings: Settings
    stores: Stores
    catalog: Catalog
    jobs: Jobs
    cache: Cache
    accounts: Accounts
    #: Connected when it is first asked for something.
    documents: Documents

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        migrate: bool = True,
        patience: timedelta = PATIENCE,
        moves: bool = False,
        limits: Limits = WORKING,
    ) -> Self:
        """Open every part, after bringing the databases up to date.

        A store that does not answer is tried again for `patience`. `moves`: for who moves a home here or away, and
        writes while it is closed to all others. `limits`: how long databases may take to answer.

        Raises:
            HomeClosed: a home is being moved here, and has not arrived whole.
            StoreUnavailable, CatalogUnavailable, JobsUnavailable: a part does not answer.
        """
        make_home(settings.home, shared=settings.home_shared)
        catalog = Catalog(settings.database_url, moves=moves, limits=limits)
        # a package that is missing is found here
        documents = open_documents(settings.documents, catalog.expect_open, limits)
        jobs = Jobs(settings.jobs_url, catalog.expect_open)
        urls = {area: settings.area_url(area) for area in AREAS}
        stores = Stores(urls, settings.access, patience=patience)
        stores.distinct()  # an address that cannot be used is found here
        if migrate:
            catalog.migrate()
            jobs.migrate()
            if not moves:
                catalog.expect_whole()
            _fill_addresses(catalog, stores)
        stores.make_area_folders(lambda url: _is_pointed_into(catalog, url))
        return cls(
            settings=settings,
            stores=stores,
            catalog=catalog,
            jobs=jobs,
            cache=Cache(settings.home / "cache", settings.cache_max_bytes),
            accounts=Accounts(catalog),
            documents=documents,
        )

    def close(self) -> None:
        self.documents.close()
        self.jobs.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data(self) -> ObjectStore:
        """The store that new tables and results go to."""
        return self.stores.area("data")

    def registry(self, user_id: str) -> Registry:
        """Where a user's new model versions go; it cannot reach another's."""
        return self.registry_in(models_prefix(user_id))

    def registry_in(self, prefix: str) -> Registry:
        """The registry under a prefix of the store that new models go to."""
        return Registry(self.stores.area("models").scoped(prefix), self.cache)

    def registry_of(self, version: ModelVersion) -> Registry:
        """Where a published version lies, which need not be where new ones go."""
        return self.registry_at(version.url)

    def registry_at(self, url: str) -> Registry:
        """The registry that holds the version whose folder is at `url`."""
        return Registry(self.stores.folder(url.rsplit("/", 2)[0]), self.cache)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for one piece of work, removed when it ends."""
        root = self.settings.home / "scratch"
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}_", dir=root) as folder:
            yield Path(folder)

    def clear_scratch(self) -> None:
        """Remove what processes that were killed left behind."""
        root = self.settings.home / "scratch"
        for folder in root.iterdir() if root.exists() else ():
            owner = folder.name.partition("_")[0]
            if not owner.isdigit() or not _is_running(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)


def make_home(home: Path, *, shared: bool = False) -> None:
    """Make the folder of everything local, for its owner alone; one that others can read is narrowed.

    Raises:
        DiskUnusable: it cannot be made, is a file, or is another's and open to all.
    """
    make_private(home, shared=shared)


def _fill_addresses(catalog: Catalog, stores: Stores) -> None:
    with catalog.read() as transaction:
        if not places.lacks_addresses(transaction):
            return
    with catalog.write() as transaction:
        places.fill_addresses(transaction, stores.area("data").url_of, stores.area("models").url_of)


def _is_pointed_into(catalog: Catalog, url: str) -> bool:
    with catalog.read() as transaction:
        return bool(pointers.pointing_at(transaction, url, limit=1))


def uploads_prefix(user_id: str) -> str:
    return join_key("user_data", user_id, "uploads")


def predictions_prefix(user_id: str) -> str:
    return join_key("user_data", user_id, "predictions")


def models_prefix(user_id: str) -> str:
    return join_key("user_models", user_id)


class Worker:
    """A worker process: runs jobs, says that it lives, and takes over the jobs of workers that died."""

    def __init__(
        self,
        runtime: Runtime,
        kinds: Mapping[str, JobKind],
        reconcile: Callable[[Runtime], int] = lambda runtime: 0,
    ) -> None:
        """`reconcile` brings the rows of ended jobs up to date; it is called now and then."""
        self.executor_id = uuid.uuid4().hex
        self._runtime = runtime
        self._reconcile = reconcile
        self._stop = threading.Event()
        self._told: set[str] = set()
        self._runner = JobRunner(runtime.settings.jobs_url, self.executor_id, kinds, runtime, runtime.jobs)

    def start(self) -> None:
        self._runtime.clear_scratch()
        self._beat()
        self._runner.start()

    def run_until_stopped(self) -> None:
        """Beat and sweep until `stop` is called from a signal handler or another thread."""
        threading.Thread(target=self._guard, name="guard", daemon=True).start()
        swept_at = float("-inf")
        while True:
            try:
                self._beat()
                self.take_over()
                if time.monotonic() - swept_at > SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    self._sweep()
            except (
                EcluseError
            ) as error:  # a worker that ended for what one store says would run no jobs of others
                logger.warning("The next heartbeat tries again: %s", error)
            if self._stop.wait(HEARTBEAT_SECONDS):
                return

    def _guard(self) -> None:
        """End a process in which no Python runs any more, as two libraries that wait for each other leave it.

        It says where each thread stands. What started it starts another, and that takes the jobs over.
        """
        while not self._stop.wait(GUARD_SECONDS):
            faulthandler.dump_traceback_later(
                STANDSTILL_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr
            )
        faulthandler.cancel_dump_traceback_later()

    def _sweep(self) -> None:
        """Each part by itself: what one store or row is in the way of does not stop the others."""
        self._attempt(lambda: self._reconcile(self._runtime))
        self._attempt(self._runtime.jobs.forget_old)
        for store in self._runtime.stores.distinct():
            self._attempt(partial(store.remove_stale_uploads, UPLOAD_PATIENCE))

    def _attempt(self, part: Callable[[], object]) -> None:
        try:
            part()
        except EcluseError as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                logger.warning("A part of the upkeep is left for later: %s", error)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        """Take no more jobs. Those that run here are left to the next worker, which knows at once."""
        self._runner.close()
        with self._runtime.catalog.write(closed=True) as transaction:
            workers.retire(transaction, self.executor_id)

    def take_over(self) -> int:
        """Queue again the jobs of dead workers; how many jobs that were."""
        with self._runtime.catalog.read() as transaction:
            dead = [
                worker.executor_id
                for worker in workers.list_workers(transaction)
                if worker.executor_id != self.executor_id and not is_alive(worker)
            ]
        taken = self._runner.recover(dead) if dead else 0
        if dead:
            with self._runtime.catalog.write(closed=True) as transaction:
                for executor_id in dead:
                    workers.remove_worker(transaction, executor_id)
        return taken

    def _beat(self) -> None:
        with self._runtime.catalog.write(closed=True) as transaction:
            workers.beat(transaction, self.executor_id, socket.gethostname(), os.getpid())


def living_workers(runtime: Runtime) -> list[WorkerRow]:
    """The workers that take jobs now."""
    with runtime.catalog.read() as transaction:
        return [worker for worker in workers.list_workers(transaction) if is_alive(worker)]


def is_alive(worker: WorkerRow) -> bool:
    """Neither silent for long nor a process of this very machine that is gone."""
    here = worker.host == socket.gethostname()
    return not workers.is_silent(worker) and (not here or _is_running(worker.pid))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
