"""Call the modes of transit as readers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: The modes of transit as PRIM names them (https://doc.navitia.io/#physical-mode), in English and in French.
MODES: Final[Mapping[str, tuple[str, str]]] = {
    "Bus": ("Bus", "Bus"),
    "Funicular": ("Funicular", "Funiculaire"),
    "LocalTrain": ("Suburban train", "Train de banlieue"),
    "Metro": ("Metro", "Métro"),
    "RailShuttle": ("Rail shuttle", "Navette ferroviaire"),
    "RapidTransit": ("RER", "RER"),
    "Tramway": ("Tram", "Tramway"),
}


def mode_in(language: str, mode: str | None) -> str | None:
    """Return a mode of transit as a reader of that language calls it; one that is not known, as it stands."""
    return MODES.get(mode, (mode, mode))[language == "fr"] if mode else mode
