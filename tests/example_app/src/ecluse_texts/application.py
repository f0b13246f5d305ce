"""Tell Écluse what this application is."""

from __future__ import annotations

from typing import Final

from ecluse.application import Application, Command
from ecluse.sentences import N_

APPLICATION: Final = Application(
    name="texts",
    title=N_("Texts"),
    order=50,
    icon='<path d="M4 4h12M4 8h12M4 12h8M4 16h5"/>',
    pages=("ecluse_texts.pages:router",),
    api=("ecluse_texts.api:router",),
    tags={"texts": "Sets of labelled texts, and what the words of others say."},
    commands={"texts": Command("ecluse_texts.commands:texts", "Classify texts by those of a set.")},
    jobs=("ecluse_texts.jobs:KINDS",),
    rows=("ecluse_texts.rows",),
    owned={"sets_of_texts": "ecluse_texts.rows:TextSet"},
)
