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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from ecluse.catalog.database import HEAD
from ecluse.catalog.tables import ModelVersion
from ecluse.catalog.tables import Worker as WorkerRow
from ecluse.disks import first_file, make_private, why_damaged, why_empty
from ecluse.documents import Documents, open_documents
from ecluse.errors import CatalogDamaged, CatalogUnavailable, DocumentsUnavailable
from ecluse.jobs import Apart, JobKind, JobRunner, Jobs
from ecluse.limits import WORKING, Limits
from ecluse.processes import Process, is_gone
from ecluse.registry import Registry
from ecluse.sentences import _
from ecluse.settings import AREAS, Settings
from ecluse.storage import OWNED, PATIENCE, Cache, ObjectStore, Stores, join_key
from ecluse.troubles import Troubles

HEARTBEAT_SECONDS: Final = 5.0
#: The same for a process that runs a single job.
ONLY_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 300.0
GUARD_SECONDS = 5.0
#: Seconds between two looks for mail to send.
MAIL_SECONDS: Final = 2.0
#: How long no Python code may run before the process counts as stuck. Long, as code that holds the interpreter for
#: minutes may still be working on a machine under load.
STANDSTILL_SECONDS = 600.0
#: How long a database file may be looked through at a start: some 500 MB on a laptop.
SOUND_SECONDS: Final = 2.0
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
            accounts=Accounts(catalog, settings.accounts),
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

    def registry_to_clear(self, url: str) -> Registry | None:
        """Return the registry that holds the version at an address from a row, to remove it there.

        None, and that is said, where the address is none of ours: the version is left.
        """
        return self.registry_at(url) if self.stores.is_removable(url) else None

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


def expect_sound(settings: Settings) -> None:
    """Look the databases of this home through before a process begins to serve, as long as `SOUND_SECONDS` each.

    Nothing is written. A file without a byte is what a first start leaves that was killed, too: it is refused only
    where the folders of stores are there, which are made after it. A file that is gone while objects of people are
    there is said, and an empty catalog begun: it may be meant.

    Raises:
        CatalogDamaged, DocumentsUnavailable: one is damaged, or empty though the home was in use.
    """
    places = settings.local_places()
    was_used = any(places[area].is_dir() for area in AREAS if area in places)
    if (file := places.get("catalog")) is not None:
        reason = why_damaged(file, SOUND_SECONDS) or (why_empty(file) if was_used else None)
        if reason is not None:
            raise CatalogDamaged(_("The catalog cannot be used. %(reason)s", reason=reason))
        _say_if_gone(file, [places[area] for area in AREAS if area in places])
    if (file := places.get("documents")) is not None and (reason := why_damaged(file, SOUND_SECONDS)):
        raise DocumentsUnavailable(_("The documents cannot be used. %(reason)s", reason=reason))


def _say_if_gone(catalog: Path, folders: Sequence[Path]) -> None:
    """Warn where there is no file of the catalog, though folders of stores hold objects that rows pointed at."""
    if catalog.exists():
        return
    left = (first_file(folder / segment) for folder in folders for segment in OWNED)
    if (example := next(filter(None, left), None)) is not None:
        logger.warning(
            "There is no catalog at %s, though objects of people are there, such as %s. An empty one is begun, which "
            "knows none of them; they stay where they are. If the catalog was lost, stop Écluse, move the new file "
            "away and restore the last backup: ecluse backup restore latest --from URL. If this is meant, nothing is "
            "to be done.",
            catalog,
            example,
        )


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
        self._kinds = {name: kind.version for name, kind in kinds.items()}
        self._process = Process.current()
        self._only = only
        self._stop = threading.Event()
        self._beat_at = time.monotonic()
        self._troubles = Troubles(
            logger, "A part of the upkeep (%s) is left for later: %s", "The upkeep goes on: %s"
        )
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
        if self._runtime.accounts.sends_mail and self._only is None:
            beside.append(threading.Thread(target=self._keep_sending, name="mail", daemon=True))
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
            self._attempt("jobs that ended", self._runner.settle)
            if self._only is None:
                self._attempt("jobs of workers that died", self.take_over)
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
            self._beat_at = time.monotonic()
            self._attempt("heartbeat", self._beat)
        self._attempt("jobs to hand back", self._runner.close)

    def silent_for(self) -> dict[str, float]:
        """Return for how many seconds each thread that this worker lives by has not come round, by its own clock.

        A database that is away stops neither: each tries again. One that is to stop has nothing to come round for.
        """
        if self._stop.is_set():
            return {}
        return {"jobs": self._runner.silent_for(), "beat": time.monotonic() - self._beat_at}

    def _keep_sending(self) -> None:
        """Send mail in a thread of its own, as a server of mail may take long to answer."""
        while not self._stop.wait(MAIL_SECONDS):
            self._attempt("mail", self._runtime.accounts.send_due)

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
        self._attempt("rows", partial(self._reconcile, self._runtime), often=False)
        self._attempt("old jobs", self._runtime.jobs.forget_old, often=False)
        for store in self._runtime.stores.distinct():
            clean = partial(store.remove_stale_uploads, UPLOAD_PATIENCE)
            self._attempt(f"uploads that were left in {store.url}", clean, often=False)

    def _attempt(self, name: str, part: Callable[[], object], *, often: bool = True) -> None:
        """Run one part of the upkeep; its failure stops neither the other parts nor the worker.

        `often`: it comes round every few seconds, so that it tells when an outage of the catalog is over.
        """
        outage = self._runner.outage
        try:
            with self._troubles.guarded(name, passing=(CatalogUnavailable,)):
                part()
        except CatalogUnavailable as error:
            if not (outage.met(name, error) if often else outage.covers(error)):
                self._troubles.met(name, error)
        else:
            outage.over(name)

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
        queued = sum(lost_of_worker.queued for lost_of_worker in lost_jobs)
        if queued:
            logger.warning("%d jobs of workers that died wait again", queued)
        return queued

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
            workers.beat(transaction, self.executor_id, self._process, self._kinds, HEAD)
        with catalog.write(closed=True) as transaction:
            jobs.renew(transaction, self.executor_id, running)


def living_workers(runtime: Runtime, kind: str | None = None, version: int = 1) -> list[WorkerRow]:
    """Return the workers that take jobs now; with `kind`, those that can run this version of that kind of job."""
    with runtime.catalog.read() as transaction:
        alive = workers.living(transaction)
    return [worker for worker in alive if kind is None or workers.can_run(worker, kind, version)]
