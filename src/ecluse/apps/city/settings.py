"""Read what the environment says of the city."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ecluse.errors import SettingsError
from ecluse.settings import Secret, Section, fits_a_header, store_or_folder

VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_RAW_FALLBACK_URL": "Store or folder with a copy of the raw data, read where the other lacks a file or does "
    "not answer; reports say so",
    "ECLUSE_CITY_NAME": "Name of the city. Default: Paris",
    "ECLUSE_CITY_ZONE": "Time zone whose days are counted, such as Europe/Paris, the default",
    "ECLUSE_CITY_THRESHOLDS": "Numbers of the city's rules to change, such as rain=4,wind=40",
    "ECLUSE_MAP_TILES_URL": "Tiles behind the map of a city, such as https://tiles.example.org/{z}/{x}/{y}.png, which "
    "browsers fetch. Default: none, and the map needs no network",
    "ECLUSE_MAP_TILES_CREDIT": "Whose tiles they are, shown below the map, such as © OpenStreetMap contributors",
    "IDFM_API_KEY": "Key of the portal prim.iledefrance-mobilites.fr, to fetch disruptions of public transport",
}


@dataclass(frozen=True)
class CitySettings:
    """Which city it is, whose clocks count its days, and what is changed of the numbers of its rules."""

    name: str = "Paris"
    zone: str = "Europe/Paris"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    #: A second place with the raw layout, for what the first lacks.
    raw_fallback_url: str | None = None
    #: Address with {z}, {x} and {y} of the tiles behind the map, and whose they are.
    map_tiles_url: str | None = None
    map_tiles_credit: str | None = None
    #: For disruptions of public transport.
    idfm_api_key: Secret | None = field(default=None, repr=False)


def read(env: Mapping[str, str]) -> CitySettings:
    """Read the variables of `VARIABLES`. Raises SettingsError for one that cannot be used."""
    usual = CitySettings()
    return CitySettings(
        name=env.get("ECLUSE_CITY_NAME", usual.name),
        zone=_zone(env, usual.zone),
        thresholds=_thresholds(env.get("ECLUSE_CITY_THRESHOLDS", "")),
        raw_fallback_url=_fallback_url(env),
        map_tiles_url=_tiles_url(env),
        map_tiles_credit=env.get("ECLUSE_MAP_TILES_CREDIT"),
        idfm_api_key=_idfm_key(env.get("IDFM_API_KEY", "")),
    )


def _idfm_key(text: str) -> Secret | None:
    """Return a key that a header can carry, or none; one that cannot would stand in the message of the fault."""
    key = text.strip()
    if not fits_a_header(key):
        raise SettingsError("IDFM_API_KEY holds blanks or characters that no key has. Copy it again.")
    return Secret(key) if key else None


def _zone(env: Mapping[str, str], usual: str) -> str:
    zone = env.get("ECLUSE_CITY_ZONE", usual)
    try:
        return ZoneInfo(zone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Also for what is no name at all, and for folders of zones.
        raise SettingsError(
            f"ECLUSE_CITY_ZONE={zone} is no time zone that is known here; write it as Europe/Paris or America/Lima."
        ) from None


def _thresholds(text: str) -> dict[str, float]:
    """{name: number} of "rain=4,wind=40"; which names there are, the rules of the city know."""
    thresholds: dict[str, float] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, written = (part.strip() for part in pair.partition("="))
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value) or name in thresholds:
            raise SettingsError(
                f"ECLUSE_CITY_THRESHOLDS: {pair} is not a name and its number, each once, such as rain=4,wind=40."
            )
        thresholds[name] = value
    return thresholds


def _fallback_url(env: Mapping[str, str]) -> str | None:
    place = env.get("ECLUSE_RAW_FALLBACK_URL")
    return None if place is None else store_or_folder("ECLUSE_RAW_FALLBACK_URL", place)


def _tiles_url(env: Mapping[str, str]) -> str | None:
    """Return the address of the tiles; it may carry a key, so that no message repeats it."""
    url = env.get("ECLUSE_MAP_TILES_URL")
    if url is None:
        return None
    is_whole = re.match(r"https?://[A-Za-z0-9.-]+(:\d+)?/", url) and all(
        part in url for part in ("{z}", "{x}", "{y}")
    )
    if not is_whole:
        raise SettingsError(
            "ECLUSE_MAP_TILES_URL is no address of tiles; write it as https://tiles.example.org/{z}/{x}/{y}.png."
        )
    if not env.get("ECLUSE_MAP_TILES_CREDIT"):
        raise SettingsError("ECLUSE_MAP_TILES_URL needs ECLUSE_MAP_TILES_CREDIT: whose tiles they are.")
    return url


SECTION: Final = Section(CitySettings, VARIABLES, read)
