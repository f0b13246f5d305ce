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
        "ecluse.apps.city.pages.sharing:router",
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
    logged={
        "city.day_failed": N_("day of the city failed"),
        "city.forecast_failed": N_("forecasts of the city failed"),
        "city.remove": N_("days of the city removed"),
        "city.run": N_("run over days of the city begun"),
        "city.run_failed": N_("run over days of the city failed"),
        "city.sample": N_("sample of the city begun"),
        "city.sample_failed": N_("sample of the city failed"),
        "city.sample_removed": N_("sample of the city removed"),
        "city.schedule": N_("daily run of the city set up"),
        "city.schedule_off": N_("daily run of the city ended"),
    },
    errors={"no_such_day": "ecluse.apps.city.pages.errors:no_such_day"},
    rows=("ecluse.apps.city.rows",),
    hand_over="ecluse.apps.city.rows:hand_over",
    jobs=("ecluse.apps.city.jobs:KINDS", "ecluse.apps.city.sample:KINDS", "ecluse.apps.city.schedule:KINDS"),
    due=("ecluse.apps.city.schedule:queue_due",),
)
