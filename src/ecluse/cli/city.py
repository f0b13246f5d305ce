"""Compute a city's days, show them, and say when they are computed."""

from __future__ import annotations

import click


@click.group()
def city() -> None:
    """Compute a city's daily indicators, forecasts, alerts and reports."""


#: Commands of the group that have a file of their own: import it above and name its command here.
OTHERS: tuple[click.Command, ...] = ()
for command in OTHERS:
    city.add_command(command)
