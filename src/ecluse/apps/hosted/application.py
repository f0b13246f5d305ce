"""Tell the core what this application is: the host of those that are written in one file."""

from __future__ import annotations

from typing import Final

from ecluse.application import Application, Command, StoredKind
from ecluse.sentences import N_

APPLICATION: Final = Application(
    name="hosted",
    order=95,
    settings="ecluse.apps.hosted.settings:SECTION",
    commands={
        "apps": Command(
            "ecluse.apps.hosted.manage:apps",
            "Make, install, check and remove applications of your own in one file.",
        )
    },
    rows=("ecluse.apps.hosted.tables",),
    owned={"files_of_applications": "ecluse.apps.hosted.tables:AppFile"},
    stored={"app_files": StoredKind(N_("Files of your own applications"), N_("File of an application"))},
    tables="ecluse.apps.hosted.files:readable",
    web="ecluse.apps.hosted.answering:hold_processes",
    begin="ecluse.apps.hosted.snapshot:install_listed",
    due=("ecluse.apps.hosted.due:queue_due",),
)
