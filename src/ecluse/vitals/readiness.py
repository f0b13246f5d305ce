"""Prove that each part can be used as it is: that the catalog and stores can be written, and disks have room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final

from ecluse.disks import look_at, what_is_wrong
from ecluse.errors import DiskUnusable, DocumentsMissing, EcluseError
from ecluse.logs import without_secrets
from ecluse.runtime import Runtime
from ecluse.settings import Area, local_folder
from ecluse.troubles import Troubles
from ecluse.vitals.asking import in_thread

logger = logging.getLogger(__name__)
Check = Callable[[Runtime], None]
#: Seconds that each part has to answer. An orchestrator that asks waits longer: tell it so (`timeoutSeconds`).
ANSWERS_WITHIN: Final = 2.0
#: The state of a part that has not answered by then.
NO_ANSWER: Final = "no_answer"
#: The state of a part that fails by a fault of ours.
FAULT: Final = "fault"
#: Seconds for which a write that was done proves that writes are; a write to a bucket costs money.
CATALOG_PROVEN: Final = 10.0
STORE_PROVEN: Final = 60.0


def _check_disks(runtime: Runtime) -> None:
    for disk in look_at(runtime.settings.local_places()):
        if disk.trouble is not None:
            raise DiskUnusable(disk.trouble)


class _CheckStores:
    """Ask every store for an object, and now and then those of `areas` to take one."""

    def __init__(self, areas: Iterable[Area]) -> None:
        self._areas = tuple(areas)
        self._proof = _Proof(self._write, STORE_PROVEN)

    def __call__(self, runtime: Runtime) -> None:
        for store in runtime.stores.hurried().distinct():
            store.exists(".ready")
        self._proof(runtime)

    def _write(self, runtime: Runtime) -> None:
        stores = runtime.stores.hurried()
        for store in {stores.area(area).url: stores.area(area) for area in self._areas}.values():
            if local_folder(store.url) is None:  # of a folder, the room on its disk is known
                store.prove_write()


class _CheckCatalog:
    """Read in the catalog, and now and then write."""

    def __init__(self) -> None:
        self._proof = _Proof(lambda runtime: runtime.catalog.prove_write(ANSWERS_WITHIN), CATALOG_PROVEN)

    def __call__(self, runtime: Runtime) -> None:
        with runtime.catalog.read() as transaction:
            transaction.connection()
        self._proof(runtime)


class _Proof:
    """A write that, once it was done, proves for some seconds that writes are; one that failed is done again."""

    def __init__(self, write: Check, seconds: float) -> None:
        self._write = write
        self._seconds = seconds
        self._done_at = float("-inf")

    def __call__(self, runtime: Runtime) -> None:
        if time.monotonic() - self._done_at > self._seconds:
            self._done_at = float("-inf")
            self._write(runtime)
            self._done_at = time.monotonic()


def _check_jobs(runtime: Runtime) -> None:
    runtime.jobs.active(limit=1)


def _check_documents(runtime: Runtime) -> None:
    with suppress(DocumentsMissing):  # it answers, and has none yet: who needs them is told how
        runtime.documents.check()


def _checks(areas: Iterable[Area]) -> dict[str, Check]:
    return {
        "disks": _check_disks,
        "store": _CheckStores(areas),
        "catalog": _CheckCatalog(),
        "jobs": _check_jobs,
        "documents": _check_documents,
    }


def checks_of_web() -> dict[str, Check]:
    """Return what a web process needs. It keeps what people upload; models it shows, and need not write."""
    return _checks(("data", "images"))


def checks_of_worker() -> dict[str, Check]:
    """Return what a worker needs, which publishes models."""
    return _checks(("data", "images", "models"))


class Readiness:
    """Ask every part beside the others, and none again while it still owes an answer.

    A part that hangs keeps one thread of this process, however often it is asked for; not one of those that answer
    requests, so that all of those may hang too.
    """

    def __init__(self, checks: Mapping[str, Check] | None = None) -> None:
        """Take `checks` by part; by default those of a web process."""
        self._checks = checks_of_web() if checks is None else checks
        self._asked: dict[str, Future[str]] = {}
        self._troubles = Troubles(logger, "Not ready: %s: %s", "Ready again: %s")

    async def look(self, runtime: Runtime, within: float = ANSWERS_WITHIN) -> dict[str, str]:
        """Look at every part; return `ok`, the code of an error, or `no_answer`, by part."""
        asked = {name: self._ask(name, runtime) for name in self._checks}
        await asyncio.wait([asyncio.wrap_future(answer) for answer in asked.values()], timeout=within)
        states = {name: answer.result() if answer.done() else NO_ANSWER for name, answer in asked.items()}
        for name, state in states.items():
            if state == NO_ANSWER:
                self._troubles.note(name, f"no answer within {within:.0f} s")
        return states

    def reasons(self) -> dict[str, str]:
        """Return why each part that was not ready at the last look was not, for operators; no secret is in it."""
        return {name: without_secrets(reason) for name, reason in self._troubles.reasons().items()}

    def _ask(self, name: str, runtime: Runtime) -> Future[str]:
        owed = self._asked.get(name)
        if owed is None or owed.done():
            self._asked[name] = in_thread(f"readiness of {name}", partial(self._state, name, runtime))
        return self._asked[name]

    def _state(self, name: str, runtime: Runtime) -> str:
        try:
            self._checks[name](runtime)
        except EcluseError as error:
            self._troubles.met(name, error)
            return error.code
        except Exception as error:  # noqa: BLE001 (it is written, with its trace where it is a fault)
            reason = what_is_wrong(error)
            if reason is None:
                self._troubles.met(name, error)
                return FAULT
            self._troubles.note(name, reason)
            return DiskUnusable.code
        self._troubles.over(name)
        return "ok"
