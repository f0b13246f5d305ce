"""Tell the core what this application is: a city's daily indicators, forecasts, alerts and reports."""

from __future__ import annotations

from typing import Final

from ecluse.application import Application, Command
from ecluse.sentences import N_

APPLICATION: Final = Application(
    name="city",
    title=N_("City"),
    order=20,
    icon='<path d="M3 17h14M5 17V8l4-2v11m0-8h6v8"/><path d="M11.5 12h1m-1 2.5h1"/>',
    runs="ecluse.apps.city.runs:RUNS",
    card="ecluse.apps.city.pages.home:card",
    pages=(
        "ecluse.apps.city.pages.home:router",
        "ecluse.apps.city.pages.periods:router",
        "ecluse.apps.city.pages.arcs:router",
        "ecluse.apps.city.pages.days:router",
        "ecluse.apps.city.pages.subjects:router",
    ),
    api=("ecluse.apps.city.api:router",),
    settings="ecluse.apps.city.settings:SECTION",
    commands={
        "city": Command(
            "ecluse.apps.city.commands.main:city",
            "Compute a city's daily indicators, forecasts, alerts and reports.",
        )
    },
    filters={
        "traffic_state": "ecluse.apps.city.names:state_in",
        "transit_mode": "ecluse.apps.city.names:mode_in",
        "sensor_reason": "ecluse.apps.city.names:reason_in",
        "alert_kind": "ecluse.apps.city.names:alert_in",
        "alert_cause": "ecluse.apps.city.names:cause_in",
        "disruption_cause": "ecluse.apps.city.names:disruption_in",
        "source_title": "ecluse.apps.city.names:source_in",
    },
    errors={"no_such_day": "ecluse.apps.city.pages.errors:no_such_day"},
    rows=("ecluse.apps.city.rows",),
    hand_over="ecluse.apps.city.rows:hand_over",
    jobs=("ecluse.apps.city.jobs:KINDS", "ecluse.apps.city.sample:KINDS", "ecluse.apps.city.schedule:KINDS"),
    due=("ecluse.apps.city.schedule:queue_due",),
)
