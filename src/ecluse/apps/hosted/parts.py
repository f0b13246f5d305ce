"""Make pages, operations, commands and kinds of jobs of the description of an application, when they are asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from ecluse.application import folder_of_home
from ecluse.apps.hosted.snapshot import Snapshot, read_from

if TYPE_CHECKING:
    import click
    from fastapi import APIRouter

    from ecluse.jobs import JobKinds
    from ecluse.tracking.kinds import TrackedRuns


class Parts:
    """What one application brings."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @cached_property
    def pages(self) -> APIRouter:
        from ecluse.apps.hosted.pages import pages_of

        return pages_of(self._snapshot)

    @cached_property
    def api(self) -> APIRouter:
        from ecluse.apps.hosted.api import operations_of

        return operations_of(self._snapshot)

    @cached_property
    def command(self) -> click.Command:
        from ecluse.apps.hosted.commands import command_of

        return command_of(self._snapshot)

    @cached_property
    def inference(self) -> Any:
        from ecluse.apps.hosted.inference import opener_of

        return opener_of(self._snapshot.name)

    @cached_property
    def kinds(self) -> JobKinds:
        from ecluse.apps.hosted.jobs import kinds_of

        return kinds_of(self._snapshot)

    @cached_property
    def runs(self) -> TrackedRuns:
        from ecluse.apps.hosted.jobs import runs_of

        return runs_of(self._snapshot)


class _Every:
    """`of.churn` are the parts of the application `churn`, made anew where it was installed anew."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Parts] = {}

    def __getattr__(self, name: str) -> Any:
        folder = folder_of_home()
        if folder is None or name.startswith("_"):
            raise AttributeError(name)
        snapshot = read_from(folder / name)
        key = (str(folder / name), str(snapshot.value.get("installed_at")))
        return self._made.setdefault(key, Parts(snapshot))


of: Final = _Every()
