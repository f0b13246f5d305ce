"""Name every number that a rule rests on, with its unit and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from ecluse.errors import SettingsError
from ecluse.sentences import _

#: Of these there must be more than nothing: speeds and occupancies divide, and no spell has no hour.
POSITIVE: Final = ("km/h", "% occupancy", "hours in a row")


def _of(default: float, unit: str, source: str) -> Any:
    return field(default=default, metadata={"unit": unit, "source": source})


@dataclass(frozen=True)
class Thresholds:
    """The numbers of the city's rules. Each can be set: ECLUSE_CITY_THRESHOLDS=rain=4,wind=40."""

    presaturated: float = _of(15, "% occupancy", "the state Pré-saturé begins here in the published data")
    congested: float = _of(30, "% occupancy", "the state Saturé begins here in the published data")
    blocked: float = _of(50, "% occupancy", "the state Bloqué begins here in the published data")
    speed_street: float = _of(30, "km/h", "limit in Paris since 30 August 2021 but for the axes")
    speed_axis: float = _of(
        50,
        "km/h",
        "limit of the axes left out on 30 August 2021 (boulevards des Maréchaux, Champs-Élysées, Foch, "
        "Grande-Armée, rue Royale, voie Georges-Pompidou), of ramps, and of every street before that day",
    )
    speed_ring: float = _of(
        50, "km/h", "limit of the boulevard périphérique, everywhere since 10 October 2024"
    )
    speed_ring_before: float = _of(
        70, "km/h", "limit of the boulevard périphérique from 10 January 2014 to the change of October 2024"
    )
    capacity_occupancy: float = _of(
        30,
        "% occupancy",
        "where the flow is largest and the speed e times less than free (Underwood 1961); measured on two arcs 21 and "
        "37, and the state Saturé begins between them",
    )
    speed_floor: float = _of(
        5, "km/h", "a walking pace; without it, what an hour's vehicles lose would grow without end"
    )
    alert_hours: float = _of(2, "hours in a row", "an hour alone may be one bad measurement")
    far_outside: float = _of(
        2,
        "times the usual band",
        "twice as far from the median as the band that holds 99 % of such hours reaches; from here an alert is one "
        "degree more severe",
    )
    flow_alert_hours: float = _of(
        4,
        "hours in a row",
        "measured on two road sensors over 13 months: 1.3 % of their days have four such hours, 6 % have two",
    )
    severe_hours: float = _of(
        4, "hours in a row", "twice alert_hours; from here an alert of congestion is one degree more severe"
    )
    gravest_hours: float = _of(
        8, "hours in a row", "a third of the day; from here an alert of flow is one degree more severe"
    )
    largest_flow: float = _of(
        12000,
        "vehicles per hour",
        "five lanes at 2,400 each, the capacity of a motorway lane in the Highway Capacity Manual; the boulevard "
        "périphérique has four for most of its length; a higher value is impossible",
    )
    largest_bikes: float = _of(
        6000,
        "bikes per hour",
        "more than four times the most that 56 counters of Paris had in 455,163 hours of 2020 and 2021 (1,275); a "
        "higher value is impossible",
    )
    constant_hours: float = _of(
        6,
        "hours in a row",
        "in 16,599 measured hours of two arcs no flow was the same for three, and in 19,026 measured days of bike "
        "counters no count of at least `constant_least` for five",
    )
    constant_least: float = _of(
        5, "vehicles or bikes per hour", "a smaller count of bikes was the same for six hours by chance alone"
    )
    rain: float = _of(5, "mm a day", "design of the mobility score")
    wind: float = _of(30, "km/h", "design of the mobility score")
    cold: float = _of(10, "°C", "design of the mobility score")
    hot: float = _of(25, "°C", "design of the mobility score")
    service_hours: float = _of(
        20, "hours a day", "the metro of Paris runs from about 5:30 to 1:15, which is 19 h 45 min"
    )
    critical_works: float = _of(3, "sites in a zone", "a zone with more active sites is critical")
    works_radius: float = _of(150, "m", "arcs nearer than this to a site are compared before and after")
    bottleneck_share: float = _of(
        0.5,
        "share of measured days",
        "a convention: what queues on every other day of its kind or more is bad again and again, the rest is chance",
    )
    bottleneck_days: float = _of(
        5,
        "measured days",
        "of fewer days of one kind no recurrence is told; eight weeks have eight Saturdays",
    )
    queue_turn: float = _of(
        60,
        "degrees",
        "a convention: a queue goes on over a crossing into the arc that turns off by less than this, so that it "
        "follows a way and not every street that meets it",
    )

    @classmethod
    def changed(cls, values: Mapping[str, float]) -> Self:
        """Return the defaults, but for `values`.

        Raises:
            SettingsError: a name is not one of them, or a value that must be positive is not.
        """
        units = {field_.name: field_.metadata["unit"] for field_ in fields(cls)}
        for name, value in values.items():
            if name not in units:
                raise SettingsError(
                    _(
                        "%(value)s is no threshold of the city; there are %(known)s.",
                        value=repr(name),
                        known=", ".join(units),
                    )
                )
            if units[name] in POSITIVE and value <= 0:
                raise SettingsError(
                    _(
                        "ECLUSE_CITY_THRESHOLDS: %(name)s=%(value)s must be more than 0 %(unit)s.",
                        name=name,
                        value=f"{value:g}",
                        unit=units[name],
                    )
                )
        return replace(cls(), **values)
