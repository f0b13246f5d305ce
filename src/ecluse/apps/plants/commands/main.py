"""Import, audit and learn from labelled images. Each command is in a file that is imported when it is run."""

from __future__ import annotations

from typing import Final

import click

from ecluse.cli.groups import LazyGroup, Table

#: Command → module, attribute, and the line `ecluse plants --help` shows for it.
COMMANDS: Final[Table] = {
    "demo": (
        "ecluse.apps.plants.commands.audit",
        "demo",
        "Draw leaves, healthy and spotted, and import them.",
    ),
    "import": (
        "ecluse.apps.plants.commands.images",
        "import_images",
        "Import a folder, an archive, a list of URLs or a store's prefix.",
    ),
    "sets": ("ecluse.apps.plants.commands.images", "sets", "List the sets of images."),
    "show": (
        "ecluse.apps.plants.commands.images",
        "show",
        "Show the images of a set by label, and what was rejected and why.",
    ),
    "audit": (
        "ecluse.apps.plants.commands.audit",
        "audit",
        "Look for near duplicates, suspect labels and labels with few images.",
    ),
    "split": (
        "ecluse.apps.plants.commands.audit",
        "split",
        "Divide a set into what is learned from, chosen by, and tested on.",
    ),
    "export": ("ecluse.apps.plants.commands.audit", "export", "Write the images of a set to a folder."),
    "relabel": ("ecluse.apps.plants.commands.images", "relabel", "Give images of a set another label."),
    "exclude": ("ecluse.apps.plants.commands.images", "exclude", "Leave images of a set out of use."),
    "include": (
        "ecluse.apps.plants.commands.images",
        "include",
        "Take excluded images of a set back into use.",
    ),
    "train": ("ecluse.apps.plants.commands.training", "train", "Train a classifier on a set and publish it."),
    "predict": (
        "ecluse.apps.plants.commands.training",
        "predict",
        "Ask a published classifier what images show.",
    ),
    "share": (
        "ecluse.apps.plants.commands.sharing",
        "share",
        "Share a set with a person, an organisation or by a link, to be read.",
    ),
    "shares": (
        "ecluse.apps.plants.commands.sharing",
        "shares",
        "List with whom a set is shared, and until when.",
    ),
    "unshare": ("ecluse.apps.plants.commands.sharing", "unshare", "Take a share of a set back."),
    "remove": ("ecluse.apps.plants.commands.images", "remove", "Remove a set with its images and splits."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def plants() -> None:
    """Import, audit and learn from labelled images.

    SET is the name of a set of images, or its id.
    """
