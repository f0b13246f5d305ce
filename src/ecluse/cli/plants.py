"""Import, audit and learn from labelled images. Each command is in a file that is imported when it is run."""

from __future__ import annotations

import importlib
from typing import Final

import click

#: Command → module, attribute, and the line `ecluse plants --help` shows for it.
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
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


class _LazyGroup(click.Group):
    """A group that imports a command when it is run and knows its help line before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"ecluse.cli.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 (the table above says so)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup)
def plants() -> None:
    """Import, audit and learn from labelled images.

    SET is the name of a set of images, or its id.
    """
