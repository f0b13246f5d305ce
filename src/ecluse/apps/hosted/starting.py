"""Start a process for an application that is installed, with the variables that it names."""

from __future__ import annotations

from pathlib import Path

from ecluse.apps.hosted.errors import AppFailed
from ecluse.apps.hosted.process import AppProcess
from ecluse.apps.hosted.snapshot import Snapshot
from ecluse.sentences import _
from ecluse.settings import inherited


def start(snapshot: Snapshot, folder: Path, memory: int) -> AppProcess:
    """Start a process for functions of an application, with the variables that it names.

    Raises:
        AppFailed: one of them is not set.
    """
    variables = inherited(snapshot.variables)
    if missing := [name for name in snapshot.variables if name not in variables]:
        raise AppFailed(
            _(
                "The application %(name)s needs the variables %(values)s, which are not set where Écluse runs. Set "
                "them, and start it again.",
                name=snapshot.name,
                values=", ".join(missing),
            )
        )
    return AppProcess(snapshot.source, folder, memory, variables)
