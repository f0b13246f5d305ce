"""Invent what disturbs the lines of public transport, as Navitia and as PRIM tell it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ecluse.apps.city.demo.days import BLOCK, ZONE, Day, Draw, block_of, block_start, day_of

Period = tuple[datetime, datetime]
#: The hours in UTC at which the feed is read, and the one day in six on which it is read as PRIM gives it.
_READ_AT: Final = (5, 8, 11, 16, 20)
_SEVERITIES: Final = {
    "blocked": ("interrompue", "NO_SERVICE", 10, "BLOQUANTE"),
    "disturbed": ("perturbée", "SIGNIFICANT_DELAYS", 30, "PERTURBEE"),
    "information": ("information", "OTHER_EFFECT", 50, "INFORMATION"),
}
_CAUSES: Final = ("panne de signalisation", "bagage oublié", "malaise voyageur", "incident d'exploitation",
                  "personnes sur les voies", "affluence")  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A line of public transport. `mode`: the name Navitia gives its kind, and the one that PRIM gives it."""

    id: str
    code: str
    mode: tuple[str, str]
    network: str


@dataclass(frozen=True)
class Incident:
    """Incident happens in a disruption, whenever that is."""

    lines: tuple[Line, ...]
    severity: str
    cause: str
    title: str


@dataclass(frozen=True)
class Disruption:
    """One disruption; periods in UTC."""

    id: str
    lines: tuple[Line, ...]
    severity: str
    cause: str
    title: str
    message: str
    periods: tuple[Period, ...]
    published: datetime

    def touches(self, begin: datetime, end: datetime) -> bool:
        return any(first < end and last > begin for first, last in self.periods)


_METRO, _RER, _TRAM, _BUS = (
    ("Métro", "Metro"),
    ("RER", "RapidTransit"),
    ("Tramway", "Tramway"),
    ("Bus", "Bus"),
)
LINES: Final = tuple(
    Line(f"line:IDFM:C9{n:04d}", code, mode, network)
    for n, (code, mode, network) in enumerate(
        [(str(number), _METRO, "RATP") for number in range(1, 15)]
        + [(letter, _RER, "RER") for letter in "ABCDE"]
        + [(f"T{number}", _TRAM, "RATP") for number in (1, 2, 3, 4, 6)]
        + [(str(number), _BUS, "RATP") for number in (20, 26, 38, 47, 62, 72, 91, 95, 96, 183)]
    )
)


def write_disruptions(day: Day) -> Iterator[tuple[str, bytes]]:
    """Key and content of the files of a day: what is known at each reading."""
    disruptions = disruptions_of(day)
    is_bulk = day.ordinal % 6 == 2
    for hour in _READ_AT:
        moment = datetime.combine(day.date, time(hour), UTC)
        published = [disruption for disruption in disruptions if disruption.published <= moment]
        body = _prim(published, moment) if is_bulk else _navitia(published, moment, day)
        name = "disruptions-bulk" if is_bulk else "line-reports"
        key = f"api/traffic/dt={moment:%Y-%m-%d}/hour={hour:02d}/{name}-demo.json"
        yield key, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def disruptions_of(day: Day) -> list[Disruption]:
    """Return the disruptions that touch a day: its incidents, those of the evening before, a strike, and planned
    works.
    """
    begin, end = day.local.begin, day.local.end
    before = day_of(day.date - timedelta(days=1), day.seed)
    disruptions = [*_incidents(before), *_incidents(day)]
    for block in (block_of(day.date) - 1, block_of(day.date)):
        disruptions += _planned(block, day.seed)
    if day.strike:
        disruptions += _strike(day)
    return [disruption for disruption in disruptions if disruption.touches(begin, end)]


def _incidents(day: Day) -> list[Disruption]:
    rng = day.chance(Draw.DISRUPTIONS)
    incidents = []
    for n in range(int(rng.poisson(9 if day.rest == 0 else 5))):
        line = LINES[int(rng.choice(len(LINES), p=_weights()))]
        first = _at(day.date, float(np.clip(rng.choice([8.2, 18.0, 13.0]) + rng.normal(0, 2.2), 5.2, 23.3)))
        length = timedelta(minutes=int(5 + rng.gamma(1.6, 42)))
        severity = "blocked" if rng.random() < 0.28 else "disturbed"
        cause = _CAUSES[int(rng.integers(0, len(_CAUSES)))]
        state = "interrompu" if severity == "blocked" else "perturbé"
        title = f"{line.mode[0]} {line.code} : {cause.capitalize()} - Trafic {state}"
        incidents.append(
            _event(
                day.seed,
                f"{day.ordinal}-{n}",
                Incident((line,), severity, "perturbation", title),
                ((first, first + length),),
                first,
            )
        )
    return incidents


def _strike(day: Day) -> list[Disruption]:
    rng = np.random.default_rng([day.seed, Draw.STRIKES, day.ordinal])
    disruptions = []
    for n, line in enumerate(LINES[:19]):
        if rng.random() > 0.6:
            continue
        severity = "blocked" if rng.random() < 0.4 else "disturbed"
        begin, end = _at(day.date, 5.0), _at(day.date, float(rng.integers(20, 24)))
        title = f"{line.mode[0]} {line.code} : Mouvement social"
        published = _at(day.date - timedelta(days=1), 18.0)
        disruptions.append(
            _event(
                day.seed,
                f"{day.ordinal}-s{n}",
                Incident((line,), severity, "mouvement social", title),
                ((begin, end),),
                published,
            )
        )
    return disruptions


@lru_cache(maxsize=64)
def _planned(block: int, seed: int) -> tuple[Disruption, ...]:
    """Works planned in a block: nights or weekends without service, and a bus on another way for weeks."""
    rng = np.random.default_rng([seed, Draw.DISRUPTIONS, block, 1])
    first = block_start(block)
    published = _at(first - timedelta(days=3), 9.0)
    metro, tram, rer = (LINES[int(rng.integers(a, b))] for a, b in ((0, 14), (19, 24), (14, 19)))
    bus = tuple(LINES[24 + n] for n in sorted(rng.choice(10, 2, replace=False).tolist()))
    nights = [first + timedelta(days=int(rng.integers(0, 14)) + n) for n in range(5)]
    weekend = first + timedelta(days=7 * int(rng.integers(0, 4)) + (5 - first.weekday()) % 7)
    begin = first + timedelta(days=int(rng.integers(0, 10)))
    evenings = tuple((_at(night, 22.25), _at(night, 25.25)) for night in nights)
    planned = (
        (Incident((metro,), "blocked", "travaux", f"Métro {metro.code} : Travaux en soirée"), evenings),
        (
            Incident((rer,), "blocked", "travaux", f"RER {rer.code} : Travaux, trafic interrompu"),
            ((_at(weekend, 1.0), _at(weekend + timedelta(days=1), 23.9)),),
        ),
        (
            Incident((tram,), "information", "information", f"Tramway {tram.code} : Ascenseur en panne"),
            ((_at(begin, 0.0), _at(begin + timedelta(days=9), 23.9)),),
        ),
        (
            Incident(bus, "disturbed", "travaux", f"Bus {bus[0].code}, {bus[1].code} : Arrêts déplacés"),
            ((_at(begin, 5.0), _at(begin + timedelta(days=20), 23.0)),),
        ),
        (
            Incident((), "information", "information", "Toutes lignes : les gestes utiles"),
            ((_at(first, 0.0), _at(first + timedelta(days=BLOCK - 1), 23.9)),),
        ),
    )
    return tuple(
        _event(seed, f"b{block}-{n}", incident, periods, published)
        for n, (incident, periods) in enumerate(planned)
    )


def _event(
    seed: int, key: str, incident: Incident, periods: tuple[Period, ...], published: datetime
) -> Disruption:
    names = ", ".join(f"{line.mode[0]} {line.code}" for line in incident.lines) or "toutes les lignes"
    message = f"<p>{incident.title}. Lignes : {names}.</p>"
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ecluse:demo:{seed}:{key}"))
    return Disruption(
        identity,
        incident.lines,
        incident.severity,
        incident.cause,
        incident.title,
        message,
        periods,
        published,
    )


def _at(day: date, hour: float) -> datetime:
    """Return a moment of the city's clocks, in UTC; hours beyond 24 are those of the night after."""
    minutes = timedelta(minutes=round(hour * 60))
    local = datetime.combine(day, time()) + minutes
    return local.replace(tzinfo=ZONE).astimezone(UTC)


@lru_cache(maxsize=1)
def _weights() -> tuple[float, ...]:
    weights = [{"Métro": 1.6, "RER": 3.0, "Tramway": 0.8, "Bus": 1.0}[line.mode[0]] for line in LINES]
    return tuple(weight / sum(weights) for weight in weights)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(ZONE).strftime("%Y%m%dT%H%M%S")


def _navitia(disruptions: list[Disruption], moment: datetime, day: Day) -> dict[str, Any]:
    records = [_navitia_record(disruption, moment) for disruption in disruptions]
    if day.ordinal % 8 == 6 and records:  # a period that is no time
        broken = dict(records[0], id="demo-broken", disruption_id="demo-broken")
        records.append(broken | {"application_periods": [{"begin": "bientôt", "end": ""}]})
    pages = {
        "start_page": 0,
        "items_on_page": len(records),
        "items_per_page": 1000,
        "total_result": len(records),
    }
    return {"pagination": pages, "disruptions": records}


def _navitia_record(disruption: Disruption, moment: datetime) -> dict[str, Any]:
    name, effect, priority, _ = _SEVERITIES[disruption.severity]
    is_over = all(end <= moment for _, end in disruption.periods)
    return {
        "id": disruption.id,
        "disruption_id": disruption.id,
        "impact_id": disruption.id,
        "application_periods": [
            {"begin": _stamp(begin), "end": _stamp(end)} for begin, end in disruption.periods
        ],
        "status": "past" if is_over else "active",
        "updated_at": _stamp(disruption.published),
        "tags": ["Actualité"],
        "cause": disruption.cause,
        "category": "Travaux" if disruption.cause == "travaux" else "Incidents",
        "severity": {"name": name, "effect": effect, "color": "#EF662F", "priority": priority},
        "messages": [
            {
                "text": disruption.title,
                "channel": {"content_type": "text/plain", "name": "titre", "types": ["title"]},
            },
            {
                "text": disruption.message,
                "channel": {"content_type": "text/html", "name": "moteur", "types": ["web"]},
            },
        ],
        "impacted_objects": [{"pt_object": _pt_object(line)} for line in disruption.lines],
        "contributor": "shortterm.tr_idfm",
    }


def _pt_object(line: Line) -> dict[str, Any]:
    mode = line.mode[0]
    return {
        "id": line.id,
        "name": f"{line.network} {mode} {line.code}",
        "quality": 0,
        "line": {
            "id": line.id,
            "name": line.code,
            "code": line.code,
            "color": "6ECA97",
            "commercial_mode": {"id": f"commercial_mode:{line.mode[1]}", "name": mode},
            "network": {"id": f"network:IDFM:{line.network}", "name": line.network},
        },
        "embedded_type": "line",
    }


def _prim(disruptions: list[Disruption], moment: datetime) -> dict[str, Any]:
    return {
        "lastUpdatedDate": moment.astimezone(ZONE).isoformat(),
        "disruptions": [
            {
                "id": disruption.id,
                "applicationPeriods": [
                    {"begin": _stamp(begin), "end": _stamp(end)} for begin, end in disruption.periods
                ],
                "lastUpdate": _stamp(disruption.published),
                "cause": disruption.cause.upper()
                if disruption.cause in ("travaux", "information")
                else "PERTURBATION",
                "severity": _SEVERITIES[disruption.severity][3],
                "tags": ["Actualité"],
                "title": disruption.title,
                "message": disruption.message,
            }
            for disruption in disruptions
        ],
        "lines": [
            {
                "id": line.id,
                "name": line.code,
                "shortName": line.code,
                "mode": line.mode[1],
                "networkId": f"network:IDFM:{line.network}",
                "impactedObjects": [{"type": "line", "id": line.id, "name": line.code, "disruptionIds": ids}],
            }
            for line in LINES
            if (ids := [disruption.id for disruption in disruptions if line in disruption.lines])
        ],
    }
