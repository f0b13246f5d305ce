"""Receive an upload: keep room for it within the plan of its sender, wait for its turn, give the room back.

async with receiving(request, runtime, user_id) as arrival:
    incoming = await open_upload(arrival.request, arrival.most, arrival.refusal)
    ...  # store it, and write its rows before the block ends: until then its bytes are reserved
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CancelScope
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from ecluse.catalog import quotas
from ecluse.errors import EcluseError
from ecluse.runtime import Runtime
from ecluse.web.admission import admission_of
from ecluse.web.multipart import BESIDE
from ecluse.web.uploads import too_large


@dataclass(frozen=True)
class Receiving:
    """An upload whose turn comes as it is read. `most`: bytes of its files; beyond, `refusal` is raised."""

    request: Request
    most: int
    refusal: EcluseError
    runtime: Runtime
    room: quotas.Room

    async def give_to_job(self, job_id: str) -> None:
        """Let the room of the upload end with the job that imports it."""
        if self.room.id is not None:
            await run_in_threadpool(self._give_to_job, self.room.id, job_id)

    def _give_to_job(self, room_id: str, job_id: str) -> None:
        with self.runtime.catalog.write() as transaction:
            quotas.give_to_job(transaction, room_id, job_id)


@asynccontextmanager
async def receiving(
    request: Request, runtime: Runtime, user_id: str, *, images: bool = False
) -> AsyncIterator[Receiving]:
    """Yield an upload that its sender's plan has room for; before any of it is read, one without room is refused.

    `images`: it brings images.

    Raises:
        PlanEnded, LimitReached, UploadTooLarge: as `quotas.reserve`, or it is larger than the server takes.
        Overloaded: as `Admission.arriving`.
    """
    async with (
        keeping_room(request, runtime, user_id, images=images) as (room, most, refusal),
        admission_of(request).arriving(request, user_id) as admitted,
    ):
        yield Receiving(admitted, most, refusal, runtime, room)


@asynccontextmanager
async def keeping_room(
    request: Request, runtime: Runtime, owner_id: str, *, images: bool = False
) -> AsyncIterator[tuple[quotas.Room, int, EcluseError]]:
    """Yield the room that the plan of whose an upload is to be has for it, the most bytes, and what is said beyond.

    Raises:
        PlanEnded, LimitReached, UploadTooLarge: as `quotas.reserve`, or it is larger than the server takes.
    """
    room = await run_in_threadpool(_reserve, runtime, owner_id, _announced(request), images)
    try:
        most, refusal = runtime.settings.upload_max_bytes, None
        if room.most is not None and room.most < most:
            most, refusal = room.most, room.refusal
        with quotas.held_room(room.id):
            yield room, most, refusal or too_large(most)
    finally:
        if room.id is not None:
            with CancelScope(shield=True):
                await run_in_threadpool(_give_back, runtime, room.id)


def _announced(request: Request) -> int | None:
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isdigit() and len(declared) < 20 else None


def _reserve(runtime: Runtime, user_id: str, announced: int | None, images: bool) -> quotas.Room:
    with runtime.catalog.read() as transaction:
        if not quotas.is_limited(transaction, user_id):
            return quotas.Room()
    if announced is not None and announced > runtime.settings.upload_max_bytes + BESIDE:
        raise too_large(runtime.settings.upload_max_bytes)
    with runtime.catalog.write() as transaction:
        return quotas.reserve(transaction, user_id, announced, beside=BESIDE, images=images)


def _give_back(runtime: Runtime, room_id: str) -> None:
    with runtime.catalog.write(closed=True) as transaction:
        quotas.give_back(transaction, room_id)
