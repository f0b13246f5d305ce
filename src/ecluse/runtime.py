"""Hold everything one process keeps open: the store, the catalog, the jobs, the cache, the documents.

`Runtime.open(settings)` is what a web process, a worker or a command starts from; `Worker` is the loop of
a worker process.
"""

from __future__ import annotations

import faulthandler
import logging
import shutil
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
from ecluse.application import look_in
from ecluse.catalog import Catalog, files, jobs, old_jobs, workers
from ecluse.catalog.tables import ModelVersion
from ecluse.catalog.tables import Worker as WorkerRow
from ecluse.disks import make_private
from ecluse.documents import Documents, open_documents
from ecluse.errors import EcluseError
from ecluse.jobs import Apart, JobKind, JobRunner, Jobs
from ecluse.limits import WORKING, Limits
from ecluse.processes import Process, is_gone
from ecluse.registry import Registry
from ecluse.settings import AREAS, Settings
from ecluse.storage import PATIENCE, Cache, ObjectStore, Stores, join_key

HEARTBEAT_SECONDS: Final = 5.0
#: The same for a process that runs a single job.
ONLY_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 300.0
GUARD_SECONDS = 5.0
#: How long no Python code may run before the process counts as stuck. Long, as code that holds the interpreter for
#: minutes may still be working on a machine under load.
STANDSTILL_SECONDS = 600.0
#: After this long an unfinished upload counts as abandoned.
UPLOAD_PATIENCE: Final = timedelta(hours=24)
#: How long the scratch folder of a process that cannot be seen from here may stay untouched before it is removed.
SCRATCH_PATIENCE: Final = timedelta(days=3)
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
            StoreUnavailable, CatalogUnavailable: a part does not answer.
            JobsUnavailable: the jobs of an older Écluse cannot be read.
        """
        make_home(settings.home, shared=settings.home_shared)
        look_in(settings.home / "apps")
        catalog = Catalog(settings.database_url, moves=moves, limits=limits)
        # a package that is missing is found here
        documents = open_documents(settings.documents, catalog.expect_open, limits)
        urls = {area: settings.area_url(area) for area in AREAS}
        stores = Stores(urls, settings.access, patience=patience)
        stores.distinct()  # an address that cannot be used is found here
        if migrate:
            catalog.migrate()
            old_jobs.bring(catalog, settings.jobs_url)
            if not moves:
                catalog.expect_whole()
            _fill_addresses(catalog, stores)
        stores.make_area_folders(lambda url: _is_pointed_into(catalog, url))
        return cls(
            settings=settings,
            stores=stores,
            catalog=catalog,
            jobs=Jobs(catalog),
            cache=Cache(settings.home / "cache", settings.cache_max_bytes),
            accounts=Accounts(catalog),
            documents=documents,
        )

    def close(self) -> None:
        self.documents.close()
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def data(self) -> ObjectStore:
        """Return the store that new tables and results go to."""
        return self.stores.area("data")

    def registry(self, user_id: str) -> Registry:
        """Return where a user's new model versions go; it cannot reach another's."""
        return self.registry_in(models_prefix(user_id))

    def registry_in(self, prefix: str) -> Registry:
        """Return the registry under a prefix of the store that new models go to."""
        return Registry(self.stores.area("models").scoped(prefix), self.cache)

    def registry_of(self, version: ModelVersion) -> Registry:
        """Return where a published version lies, which need not be where new ones go."""
        return self.registry_at(version.url)

    def registry_at(self, url: str) -> Registry:
        """Return the registry that holds the version whose folder is at `url`."""
        return Registry(self.stores.folder(url.rsplit("/", 2)[0]), self.cache)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a folder for one piece of work, removed when it ends."""
        root = self.settings.home / "scratch"
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{Process.current().label}_", dir=root) as folder:
            yield Path(folder)

    def clear_scratch(self) -> None:
        """Remove what processes that were killed left behind; of those that cannot be seen from here, after days."""
        root = self.settings.home / "scratch"
        for folder in root.iterdir() if root.exists() else ():
            is_over = is_gone(folder.name.partition("_")[0])
            if is_over is None:
                is_over = time.time() - folder.stat().st_mtime > SCRATCH_PATIENCE.total_seconds()
            if is_over:
                shutil.rmtree(folder, ignore_errors=True)


def make_home(home: Path, *, shared: bool = False) -> None:
    """Make the folder of everything local, for its owner alone; one that others can read is narrowed.

    Raises:
        DiskUnusable: it cannot be made, is a file, or is another's and open to all.
    """
    make_private(home, shared=shared)


def _fill_addresses(catalog: Catalog, stores: Stores) -> None:
    with catalog.read() as transaction:
        if not files.lacks_addresses(transaction):
            return
    with catalog.write() as transaction:
        files.fill_addresses(transaction, lambda area, key: stores.area(area).url_of(key))


def _is_pointed_into(catalog: Catalog, url: str) -> bool:
    with catalog.read() as transaction:
        return bool(files.files_at(transaction, url, limit=1))


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
        *,
        only: str | None = None,
        apart: Callable[[str], Apart] | None = None,
    ) -> None:
        """`reconcile` brings the rows of ended jobs up to date; it is called now and then.

        `only`: the one job that it runs, with which it ends. `apart`: see `JobRunner`.
        """
        self.executor_id = uuid.uuid4().hex
        self._runtime = runtime
        self._reconcile = reconcile
        self._kinds = sorted(kinds)
        self._process = Process.current()
        self._only = only
        self._stop = threading.Event()
        self._said: set[str] = set()
        self._runner = JobRunner(runtime.catalog, self.executor_id, kinds, runtime, only=only, apart=apart)

    def start(self) -> None:
        self._runtime.clear_scratch()
        self._beat()
        self._runner.start()

    def run_until_stopped(self) -> None:
        """Beat and sweep until `stop` is called from a signal handler or another thread."""
        beside = [
            threading.Thread(target=self._guard, name="guard", daemon=True),
            threading.Thread(target=self._keep_beating, name="beat", daemon=True),
        ]
        for thread in beside:
            thread.start()
        try:
            self._sweep_until_stopped()
        finally:
            self._stop.set()
            for thread in beside:  # what called this may close the catalog next
                thread.join()

    def _sweep_until_stopped(self) -> None:
        """Settle, take over and sweep now and then; return when stopped, or when the only job is over."""
        swept_at = float("-inf")
        while True:
            self._attempt(self._runner.settle)
            if self._only is None:
                self._attempt(self.take_over)
                if time.monotonic() - swept_at > SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    self._sweep()
            elif self._runner.is_over():
                return
            if self._stop.wait(HEARTBEAT_SECONDS if self._only is None else ONLY_SECONDS):
                return

    def _keep_beating(self) -> None:
        """Beat in a thread of its own, as upkeep may wait for a store; and hand the jobs back once it is to stop."""
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self._attempt(self._beat)
        self._attempt(self._runner.close)

    def _guard(self) -> None:
        """End the process if no Python code runs any more, as after a deadlock between two libraries.

        The stack of every thread is written to stderr first. The supervisor starts another worker, which takes the
        jobs over.
        """
        while not self._stop.wait(GUARD_SECONDS):
            faulthandler.dump_traceback_later(
                STANDSTILL_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr
            )
        faulthandler.cancel_dump_traceback_later()

    def _sweep(self) -> None:
        self._attempt(lambda: self._reconcile(self._runtime))
        self._attempt(self._runtime.jobs.forget_old)
        for store in self._runtime.stores.distinct():
            self._attempt(partial(store.remove_stale_uploads, UPLOAD_PATIENCE))

    def _attempt(self, part: Callable[[], object]) -> None:
        """Run one part of the upkeep; its failure is logged and stops neither the other parts nor the worker."""
        try:
            part()
        except Exception as error:
            if not isinstance(error, EcluseError):  # a fault of ours stops no worker
                logger.exception("A part of the upkeep failed")
            elif str(error) not in self._said:
                self._said.add(str(error))
                logger.warning("A part of the upkeep is left for later: %s", error)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        """Take no more jobs, and hand back those that run here: the next worker takes them at once."""
        self._runner.close()
        with self._runtime.catalog.write(closed=True) as transaction:
            workers.remove(transaction, self.executor_id)

    def take_over(self) -> int:
        """Queue again the jobs of workers that died; how many jobs that were."""
        catalog = self._runtime.catalog
        with catalog.read() as transaction:
            dead = [worker.executor_id for worker in workers.dead(transaction)]
        lost_jobs = [self._take_from(executor_id) for executor_id in dead if executor_id != self.executor_id]
        with catalog.write(closed=True) as transaction:
            lost_jobs.append(jobs.take_expired(transaction))
        for lost_of_worker in lost_jobs:
            self._runner.give_up(lost_of_worker.given_up)
        return sum(lost_of_worker.queued for lost_of_worker in lost_jobs)

    def _take_from(self, executor_id: str) -> jobs.Lost:
        with self._runtime.catalog.write(closed=True) as transaction:
            if not workers.hold_dead(transaction, executor_id):
                return jobs.Lost(0, ())
            lost_jobs = jobs.take_from(transaction, executor_id)
            transaction.flush()
            workers.remove(transaction, executor_id)
        return lost_jobs

    def _beat(self) -> None:
        running = self._runner.running()
        catalog = self._runtime.catalog
        with catalog.write(closed=True) as transaction:
            workers.beat(transaction, self.executor_id, self._process, self._kinds)
        with catalog.write(closed=True) as transaction:
            jobs.renew(transaction, self.executor_id, running)


def living_workers(runtime: Runtime, kind: str | None = None) -> list[WorkerRow]:
    """Return the workers that take jobs now; with `kind`, those that know this kind of job."""
    with runtime.catalog.read() as transaction:
        alive = workers.living(transaction)
    return [worker for worker in alive if kind is None or kind in worker.kinds]
