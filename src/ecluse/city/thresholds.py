"""Name every number that a rule rests on, with its unit and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from ecluse.errors import SettingsError


def _of(default: float, unit: str, source: str) -> Any:
    return field(default=default, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Thresholds:
    """The numbers of the city's rules. Each can be set: ECLUSE_CITY_THRESHOLDS=rain=4,wind=40."""

    presaturated: float = _of(15, "% occupancy", "the state Pré-saturé begins here in the published data")
    congested: float = _of(30, "% occupancy", "the state Saturé begins here in the published data")
    blocked: float = _of(50, "% occupancy", "the state Bloqué begins here in the published data")
    alert_hours: float = _of(2, "hours in a row", "an hour alone may be one bad measurement")
    rain: float = _of(5, "mm a day", "design of the mobility score")
    wind: float = _of(30, "km/h", "design of the mobility score")
    cold: float = _of(10, "°C", "design of the mobility score")
    hot: float = _of(25, "°C", "design of the mobility score")
    critical_works: float = _of(3, "sites in a zone", "a zone with more active sites is critical")
    works_radius: float = _of(150, "m", "arcs nearer than this to a site are compared before and after")

    @classmethod
    def changed(cls, values: Mapping[str, float]) -> Self:
        """The defaults, but for `values`.

        Raises:
            SettingsError: a name is not one of them.
        """
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                raise SettingsError(f"{name!r} is no threshold of the city; there are {', '.join(known)}.")
        return replace(cls(), **values)
