"""Make of the description of an application what the core knows an application by.

The core imports this for every installed application, also for `ecluse --help`: it reads one small file, no code
of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ecluse.application import Application, Command, folder_of_home
from ecluse.apps.hosted.snapshot import Snapshot, read_from
from ecluse.errors import ApplicationBroken

_PARTS: Final = "ecluse.apps.hosted.parts:of"
ICON: Final = '<rect x="3" y="4" width="14" height="12" rx="2"/><path d="M3 8h14M7 12h6"/>'


class _Installed:
    """`of.churn` is the value of the application `churn` of this home."""

    def __getattr__(self, name: str) -> Application:
        folder = folder_of_home()
        if folder is None or name.startswith("_"):
            raise AttributeError(name)
        snapshot = read_from(folder / name)
        if snapshot.name != name:
            raise ApplicationBroken(name)
        return application_of(snapshot.value)


of: Final = _Installed()


def application_of(description: Mapping[str, Any]) -> Application:
    """Return the value of an application that is described so."""
    snapshot = Snapshot(description)
    name = snapshot.name
    part = f"{_PARTS}.{name}"
    return Application(
        name=name,
        title=snapshot.title.replace("%", "%%"),
        order=60,
        icon=ICON,
        package="ecluse.apps.hosted",
        pages=(f"{part}.pages",),
        api=(f"{part}.api",),
        tags={name: snapshot.description or snapshot.title},
        uploads=(
            f"/api/{name}/files",
            f"/api/{name}/predict",
            *(f"{door}/{name}/score" for door in ("", "/api")),
            *(f"{door}/{name}/{verb.name}" for verb in snapshot.verbs.values() for door in ("", "/api")),
        ),
        commands={name: Command(f"{part}.command", _line(snapshot))},
        jobs=(f"{part}.kinds",),
        runs=f"{part}.runs",
        # Without a function of its own, the core asks the model as it is packed.
        inference=f"{part}.inference" if "predict" in snapshot.verbs else "",
    )


def _line(snapshot: Snapshot) -> str:
    """Return the line of `ecluse --help`."""
    said = (snapshot.description or snapshot.title).strip().splitlines()[0][:100]
    return said if said.endswith(".") else f"{said}."
