"""Import, audit and learn from labelled images. Each command is in a file that is imported when it is run."""

from __future__ import annotations

from typing import Final

import click

from ecluse.cli.groups import LazyGroup, Table

#: Command → module, attribute, and the line `ecluse plants --help` shows for it.
COMMANDS: Final[Table] = {
    "demo": ("plants_audit", "demo", "Draw leaves, healthy and spotted, and import them."),
    "import": (
        "plants_images",
        "import_images",
        "Import a folder, an archive, a list of URLs or a store's prefix.",
    ),
    "sets": ("plants_images", "sets", "List the sets of images."),
    "show": ("plants_images", "show", "Show the images of a set by label, and what was rejected and why."),
    "audit": (
        "plants_audit",
        "audit",
        "Look for near duplicates, suspect labels and labels with few images.",
    ),
    "split": ("plants_audit", "split", "Divide a set into what is learned from, chosen by, and tested on."),
    "export": ("plants_audit", "export", "Write the images of a set to a folder."),
    "relabel": ("plants_images", "relabel", "Give images of a set another label."),
    "exclude": ("plants_images", "exclude", "Leave images of a set out of use."),
    "include": ("plants_images", "include", "Take excluded images of a set back into use."),
    "train": ("plants_training", "train", "Train a classifier on a set and publish it."),
    "predict": ("plants_training", "predict", "Ask a published classifier what images show."),
    "remove": ("plants_images", "remove", "Remove a set with its images and splits."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def plants() -> None:
    """Import, audit and learn from labelled images.

    SET is the name of a set of images, or its id.
    """
