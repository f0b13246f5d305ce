"""Compute a city's days, show them, and say when they are computed."""

from __future__ import annotations

import click

from ecluse.cli.city_data import demo


@click.group()
def city() -> None:
    """Compute a city's daily indicators, forecasts, alerts and reports."""


#: Commands of the group that have a file of their own: import it above and name its command here.
OTHERS: tuple[click.Command, ...] = (demo,)
for command in OTHERS:
    city.add_command(command)
