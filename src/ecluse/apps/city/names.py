"""Call what the data names in codes as readers do: states of traffic, modes of transit, causes, reasons, sources.

Each table gives the English of a code, marked for translation; `…_in(language, code)` says it in a language, and are
the filters of the templates. A code that is not known stays as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ecluse.sentences import N_
from ecluse.web.i18n import Words

#: The states of traffic and of arcs as the source writes them.
STATES: Final = {
    "Inconnu": N_("Unknown"),
    "Fluide": N_("Free-flowing"),
    "Pré-saturé": N_("Pre-saturated"),
    "Saturé": N_("Saturated (traffic)"),
    "Bloqué": N_("Blocked"),
    "Ouvert": N_("Open (arc)"),
    "Barré": N_("Closed"),
    "Invalide": N_("Invalid"),
}
#: The modes of transit as PRIM names them (https://doc.navitia.io/#physical-mode).
MODES: Final = {
    "Bus": N_("Bus"),
    "Funicular": N_("Funicular"),
    "LocalTrain": N_("Suburban train"),
    "Metro": N_("Metro"),
    "RailShuttle": N_("Rail shuttle"),
    "RapidTransit": N_("RER"),
    "Tramway": N_("Tram"),
}
#: Why a sensor is called failing.
REASONS: Final = {
    "silent": N_("silent: no value all day"),
    "constant": N_("the same value for hours"),
    "all_zero": N_("only zeros, where there is usually more"),
    "impossible": N_("values that cannot be"),
}
ALERTS: Final = {"congestion": N_("congestion"), "flow": N_("unusual flow")}
#: What may be why there was an alert.
CAUSES: Final = {
    "closed": N_("arc closed"),
    "sensor": N_("sensor in doubt"),
    "downstream": N_("queue ahead"),
    "upstream": N_("queue behind"),
    "works": N_("new works near"),
    "public_holiday": N_("public holiday"),
    "school_holiday": N_("school holidays"),
    "school_back": N_("back to school"),
    "weather": N_("weather"),
    "transit": N_("transit blocked"),
}
#: The causes of disruptions that PRIM knows, in whatever case a feed writes them (https://prim.iledefrance-mobilites.fr).
DISRUPTIONS: Final = {
    "travaux": N_("works (transit)"),
    "perturbation": N_("disruption"),
    "information": N_("information"),
}


def state_in(language: str, state: str) -> str:
    """Say a state of traffic or of an arc in a language."""
    # The mark in brackets keeps apart what English says with one word and other languages with two.
    return _said(language, STATES, state).partition(" (")[0]


def mode_in(language: str, mode: str | None) -> str | None:
    """Say a mode of transit in a language."""
    return _said(language, MODES, mode) if mode else mode


def reason_in(language: str, reason: str) -> str:
    """Say in a language why a sensor is called failing."""
    return _said(language, REASONS, reason)


def alert_in(language: str, kind: str) -> str:
    """Say a kind of alert in a language."""
    return _said(language, ALERTS, kind)


def cause_in(language: str, cause: str) -> str:
    """Say in a language what may be why there was an alert."""
    return _said(language, CAUSES, cause)


def disruption_in(language: str, cause: str | None) -> str | None:
    """Say in a language what a feed of transit names as the cause of a disruption."""
    key = (cause or "").casefold()
    return _said(language, DISRUPTIONS, key).partition(" (")[0] if key in DISRUPTIONS else cause


def source_in(language: str, source: str | None) -> str:
    """Say in a language what a source is called."""
    from ecluse.apps.city.sources import SOURCES

    return Words(language)._(SOURCES[source].title) if source in SOURCES else source or ""


def _said(language: str, names: Mapping[str, str], code: str) -> str:
    return Words(language)._(names[code]) if code in names else code
