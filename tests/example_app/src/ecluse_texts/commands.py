"""Classify texts from a terminal."""

from __future__ import annotations

from pathlib import Path

import click

from ecluse.cli.output import Record, reports
from ecluse.cli.session import acting, home_option, user_option
from ecluse_texts import actions


@click.group()
def texts() -> None:
    """Classify texts by those of a set."""


@texts.command("classify")
@click.argument("set_id", metavar="SET")
@click.argument("text")
@user_option
@home_option
@reports
def classify(set_id: str, text: str, email: str | None, home: Path | None) -> Record:
    """Say how probable each label of SET is for TEXT."""
    with acting(home, email) as (runtime, user):
        labels = actions.classify(runtime, user.id, set_id, text)
    return Record({"labels": labels}, "\n".join(f"{label}: {share:.0%}" for label, share in labels.items()))
