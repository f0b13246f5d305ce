"""Documents of an invented city, in the shapes that a run writes: a grid of streets in four zones."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.report import make_report
from ecluse.documents import Document
from ecluse.sentences import _, num

ZONE = "Europe/Paris"
LAST = date(2025, 10, 14)
WEST, EAST, SOUTH, NORTH = 2.26, 2.41, 48.82, 48.90
STATES = {"f": "Fluide", "p": "Pré-saturé", "s": "Saturé", "b": "Bloqué", "i": "Inconnu"}
FULL = 260.0


def invented_city(
    days: int = 3, streets: int = 3, blocks: int = 4, last: date = LAST, whole: int | None = None
) -> Iterator[Document]:
    """`days` days up to `last`; 2 × `streets` streets of `blocks` arcs. `whole`: days that have every arc's document."""
    arcs = invented_arcs(streets, blocks)
    for n, start in enumerate(range(0, len(arcs), 250)):
        yield Document("reference/arcs", f"{n:03d}", {"arcs": arcs[start : start + 250]})
    yield from zones()
    dates = [last - timedelta(days=back) for back in reversed(range(days))]
    for place, day in enumerate(dates):
        yield from day_documents(day, arcs, with_arcs=whole is None or len(dates) - place <= whole)
    for arc in arcs[:40]:
        yield Document("forecast/arcs", str(arc["arc"]), forecast(arc, last + timedelta(days=1)))


def invented_arcs(streets: int, blocks: int) -> list[dict[str, Any]]:
    """Streets across and down; each arc leads from one crossing to the next."""
    arcs = []
    for way in range(2 * streets):
        across, n = way < streets, way % streets
        for block in range(blocks):
            along = [block / blocks, (block + 1) / blocks]
            level = (n + 0.5) / streets
            points = [(x, level) if across else (level, x) for x in along]
            line = [[WEST + x * (EAST - WEST), SOUTH + y * (NORTH - SOUTH)] for x, y in points]
            middle = [(line[0][i] + line[1][i]) / 2 for i in (0, 1)]
            number = way * blocks + block
            arcs.append(
                {
                    "arc": 100 + number,
                    "label": f"{'Rue' if across else 'Av'}_{n + 1}",
                    "zone": 1 + (middle[0] > (WEST + EAST) / 2) + 2 * (middle[1] > (SOUTH + NORTH) / 2),
                    "length": 400.0,
                    "upstream": 10_000 * way + block,
                    "downstream": 10_000 * way + block + 1,
                    "latitude": middle[1],
                    "longitude": middle[0],
                    "coordinates": line,
                }
            )
    return arcs


def zones() -> Iterator[Document]:
    for n in range(4):
        x, y = n % 2, n // 2
        left, bottom = WEST + x * (EAST - WEST) / 2, SOUTH + y * (NORTH - SOUTH) / 2
        right, top = left + (EAST - WEST) / 2, bottom + (NORTH - SOUTH) / 2
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        body = {"zone": n + 1, "name": f"Quarter {n + 1}", "area": 25e6, "geometry": geometry}
        yield Document("reference/zones", f"{n + 1:02d}", body)


def day_documents(day: date, arcs: list[dict[str, Any]], *, with_arcs: bool = True) -> Iterator[Document]:
    """Every kind of a day's documents."""
    local = LocalDay(day, ZoneInfo(ZONE))
    key, clock = day.isoformat(), local.clock_hours
    named = {"date": key, "zone": ZONE, "hours": list(local.labels)}
    bodies = [arc_day(arc, day, clock) for arc in arcs]
    if with_arcs:
        for body in bodies:
            yield Document(f"metrics/arcs/{key}", str(body["arc"]), body)
    for n, start in enumerate(range(0, len(bodies), 400)):
        yield Document(f"metrics/map/{key}", f"{n:03d}", map_chunk(bodies[start : start + 400]))
    metrics = {kind: named | body for kind, body in metrics_of(day, bodies, clock).items()}
    for kind, body in metrics.items():
        yield Document(f"metrics/{kind}", key, body)
    yield Document("reports", key, make_report("Paris", local, metrics))
    mark = {
        "computed_at": f"{key}T23:30:00+00:00",
        "run": "r1",
        "kinds": sorted(metrics),
        "raw": "file:///raw",
        "rows": {},
    }
    yield Document("metrics/day", key, {"date": key, "coverage": 0.97, **mark})


def arc_day(arc: dict[str, Any], day: date, clock: tuple[int, ...]) -> dict[str, Any]:
    """One arc's metrics: two rushes a day, the worse the higher its number in the street."""
    chance = random.Random(f"{arc['arc']} {day}")
    busy = 0.3 + 0.7 * ((arc["arc"] * 37) % 100) / 100
    weekend = 0.6 if day.weekday() >= 5 else 1.0
    usual = [shape(hour) * busy * weekend for hour in clock]
    level = [max(0.0, value * chance.uniform(0.8, 1.25)) for value in usual]
    silent = arc["arc"] % 17 == 5
    flow = [None if silent and i > 12 else round(FULL * 4 * min(value, 0.9)) for i, value in enumerate(level)]
    occupancy = [
        None if item is None else round(62 * value**1.5, 1) for item, value in zip(flow, level, strict=True)
    ]
    state = "".join(letter(value) for value in occupancy)
    expected = [letter for letter in state if letter != "-"]
    seen = [item for item in flow if item is not None]
    band = {
        "median": [round(FULL * 4 * value) for value in usual],
        "low": [round(FULL * 4 * value * 0.8) for value in usual],
        "high": [round(FULL * 4 * value * 1.2) for value in usual],
    }
    lost = sum(max(0.0, (item or 0) - 15) * 0.02 for item in occupancy)
    return {
        "arc": arc["arc"],
        "label": arc["label"],
        "zone": arc["zone"],
        "length": arc["length"],
        "latitude": arc["latitude"],
        "longitude": arc["longitude"],
        "vehicles": sum(seen),
        "mean_flow": round(sum(seen) / len(seen), 1),
        "max_flow": max(seen),
        "peak_at": f"2025-10-14T{flow.index(max(seen)):02d}:00:00+02:00",
        "mean_occupancy": round(sum(item or 0 for item in occupancy) / len(seen), 2),
        "states": {STATES[item]: round(expected.count(item) / len(expected), 4) for item in set(expected)},
        "congested_hours": sum(item in "sb" for item in state),
        "longest_congested": max((len(run) for run in re.findall("[sb]+", state)), default=0),
        "hours_observed": len(seen),
        "coverage": round(len(seen) / len(flow), 3),
        "lost_time": round(lost, 2),
        "verdict": ("as usual", "unusual", "exceptional")[chance.choice((0, 0, 0, 0, 1, 2))],
        "flow": flow,
        "occupancy": occupancy,
        "state": [STATES.get(item) for item in state],
        "arc_state": "Invalide",
        "usual": {"flow": band, "occupancy": None, "days": 8},
    }


def shape(hour: int) -> float:
    """A day of traffic, between 0 and 1."""
    rush = math.exp(-((hour - 8.5) ** 2) / 5) + 1.1 * math.exp(-((hour - 18) ** 2) / 7)
    return 0.06 + 0.75 * rush + (0.3 if 7 <= hour <= 20 else 0)


def letter(occupancy: float | None) -> str:
    if occupancy is None:
        return "-"
    return "f" if occupancy < 15 else "p" if occupancy < 30 else "s" if occupancy < 50 else "b"


def map_chunk(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    letters = {name: item for item, name in STATES.items()} | {None: "-"}
    return {
        "arc": [body["arc"] for body in bodies],
        "state": ["".join(letters[state] for state in body["state"]) for body in bodies],
        "flow": [body["flow"] for body in bodies],
        "lost_time": [body["lost_time"] for body in bodies],
        "verdict": [body["verdict"][0] for body in bodies],
    }


def metrics_of(day: date, bodies: list[dict[str, Any]], clock: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    hours = range(len(clock))
    at = [[body["state"][i] for body in bodies] for i in hours]
    counts = {name: [states.count(name) for states in at] for name in STATES.values()}
    reporting = [sum(state is not None for state in states) for states in at]
    saturation = [
        round((counts["Saturé"][i] + counts["Bloqué"][i]) / reporting[i], 4) if reporting[i] else None
        for i in hours
    ]
    expected = [value for value in saturation if value is not None]
    vehicles = [sum(body["flow"][i] or 0 for body in bodies) for i in hours]
    by_lost = sorted(bodies, key=lambda body: -body["lost_time"])
    by_flow = sorted(bodies, key=lambda body: -body["vehicles"])
    lost = round(sum(body["lost_time"] for body in bodies), 1)
    worst = saturation.index(max(expected))
    spread = {
        "median": [value and round(0.9 * value, 4) for value in saturation],
        "low": [value and round(0.7 * value, 4) for value in saturation],
        "high": [value and round(1.1 * value, 4) for value in saturation],
    }
    traffic = {
        "arcs_known": len(bodies),
        "arcs_reporting": len(bodies),
        "coverage": 0.97,
        "vehicles": sum(vehicles),
        "mean_flow": 420.5,
        "mean_occupancy": 11.2,
        "lost_time": lost,
        "saturation_share": round(sum(expected) / len(expected), 4),
        "states": dict.fromkeys(STATES.values(), 0.2),
        "by_hour": {
            "vehicles": vehicles,
            "mean_occupancy": [10.0 for _ in hours],
            "saturation_share": saturation,
            "reporting": reporting,
            "lost_time": [1.0 for _ in hours],
            "states": counts,
        },
        "usual": {"saturation_share": spread, "vehicles": dict.fromkeys(spread, vehicles)},
        "worst_hour": worst,
        "week_before": {
            "date": (day - timedelta(days=7)).isoformat(),
            "vehicles": {"value": 1000, "change": 0.034},
            "lost_time": {"value": lost, "change": -0.12},
            "saturation_share": {"value": 0.1, "change": None},
        },
    }
    return {
        "traffic": traffic,
        "arcs": {
            "arcs": len(bodies),
            "verdicts": {"as usual": 9, "unusual": 2, "exceptional": 1, "unknown": 0},
            "chunks": 1,
        },
        "map": {"chunks": 1, "arcs": len(bodies)},
        "zones": zone_metrics(bodies),
        "ranking": ranking(by_flow, by_lost),
        "alerts": {"alerts": [alert(body, worst, n) for n, body in enumerate(by_lost[:9])]},
        "bottlenecks": bottlenecks(day, by_lost[0]),
        "sensors": sensors(bodies),
        "bikes": bikes(clock),
        "disruptions": disruptions(day),
        "weather": WEATHER,
        "works": works(bodies),
        "quality": {
            "sources": {
                "roads": source(24 * len(bodies), {"no number": 3}),
                "bikes": source(2208, {}),
                "disruptions": source(41, {}),
                "weather": {**source(1, {}), "fallback": ["s3://copy/weather.json"]},
                "works": None,
            },
            "missing": ["works"],
            "doubts": [
                {
                    "kind": "set_aside",
                    "source": "works",
                    "text": _(
                        "%(file)s is no whole gzip file: %(error)s. Fetch it again.",
                        file="file:///raw/batch/works.csv",
                        error="it is empty",
                    ),
                },
                {
                    "kind": "zones",
                    "source": "zones",
                    "text": _(
                        "%(count)s of %(total)s arcs lie outside every zone, so that the figures by zone lack them. The "
                        "zones are probably those of another place, or not in degrees: %(values)s. Put the polygons of "
                        "this city there and compute the day again.",
                        count=num(2508, ","),
                        total=num(3348, ","),
                        values="file:///raw/zones.json",
                    ),
                },
                {
                    "kind": "not_taken",
                    "source": None,
                    "text": _(
                        "%(count)s files or folders were seen and not taken: %(values)s. See: ecluse city check %(key)s",
                        count=num(1, ","),
                        values="a.csv",
                        key="file:///raw/",
                    ),
                },
            ],
        },
    }


def source(rows: int, rejected: dict[str, int]) -> dict[str, Any]:
    return {
        "files": ["file:///raw/batch/comptages.csv"],
        "fallback": [],
        "records": rows,
        "rows": rows,
        "rejected": rejected,
        "examples": [],
    }


def zone_metrics(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    rows = []
    for n in range(1, 5):
        mine = [body for body in bodies if body["zone"] == n]
        worst = sorted(mine, key=lambda body: -body["lost_time"])[:5]
        rows.append(
            {
                "zone": n,
                "name": f"Quarter {n}",
                "arcs": len(mine),
                "reporting": len(mine),
                "vehicles": sum(body["vehicles"] for body in mine),
                "lost_time": round(sum(body["lost_time"] for body in mine), 1),
                "saturation_share": 0.08 * n,
                "coverage": 0.97,
                "worst": [
                    {key: body[key] for key in ("arc", "label", "lost_time", "vehicles")} for body in worst
                ],
            }
        )
    whole = {**rows[0], "zone": None, "name": "city", "arcs": len(bodies)}
    return {"zones": rows, "city": whole, "outside": None}


def ranking(by_flow: list[dict[str, Any]], by_lost: list[dict[str, Any]]) -> dict[str, Any]:
    def rows(bodies: list[dict[str, Any]], value: str, unit: str) -> list[dict[str, Any]]:
        return [
            {
                "rank": n,
                **{key: body[key] for key in ("arc", "label", "zone", "coverage")},
                "value": body[value],
                "unit": unit,
                "persistence": 3 * n % 28,
                "persistence_days": 28,
            }
            for n, body in enumerate(bodies[:10], 1)
        ]

    zones = [
        {
            "rank": n,
            "zone": n,
            "name": f"Quarter {n}",
            "value": 40.5 / n,
            "unit": "vehicle-hours",
            "persistence": n,
            "persistence_days": 28,
        }
        for n in range(1, 5)
    ]
    return {
        "by_flow": rows(by_flow, "vehicles", "vehicles"),
        "by_lost_time": rows(by_lost, "lost_time", "vehicle-hours"),
        "zones": zones,
    }


def alert(body: dict[str, Any], worst: int, n: int) -> dict[str, Any]:
    hours = [worst - 1, worst] if n % 2 == 0 else [worst, worst + 1, worst + 2]
    is_congestion = bool(n % 3)
    measured, unit = ("occupancy", "% occupancy") if is_congestion else ("flow", "vehicles per hour")
    band = {"median": 18.0, "low": 12.0, "high": 25.0}
    queue = {"arc": body["arc"] + 1, "label": body["label"], "hours": 2, "occupancy": 62.5}
    causes = [
        {"kind": "downstream", "near": True, "arcs": [queue], "total": 1, "of": len(hours)},
        {
            "kind": "weather",
            "near": False,
            "category": "rain",
            "value": 7.5,
            "unit": "mm",
            "effect": -0.03,
            "days": 4,
        },
    ]
    return {
        "id": f"{body['arc']}-{hours[0]}",
        "kind": "congestion" if is_congestion else "flow",
        "severity": 3 - n // 3,
        **{key: body[key] for key in ("arc", "label", "zone", "latitude", "longitude")},
        "hours": hours,
        "from": f"{hours[0]:02d}:00",
        "to": f"{hours[-1] + 1:02d}:00",
        "lost_time": body["lost_time"],
        "lost_time_more": body["lost_time"] / 2,
        "why": {
            "rule": "congested" if is_congestion else "below",
            "threshold": 0.99,
            **({"least": 30.0} if is_congestion else {}),
            "unit": unit,
            "hours_needed": 2,
            "observed": [body[measured][hour] for hour in hours],
            "usual": {name: [value] * len(hours) for name, value in band.items()},
            "times": 1.5 + n,
            "days": 8,
            "similar_days": n,
            "compared_days": 27,
        },
        "causes": causes if n else [],
        "works": ["W1"] if n == 0 else [],
    }


def bottlenecks(day: date, worst: dict[str, Any]) -> dict[str, Any]:
    item = {
        "rank": 1,
        **{key: worst[key] for key in ("arc", "label", "zone", "latitude", "longitude")},
        "arcs": [worst["arc"]],
        "arcs_total": 1,
        "hours": [8, 9],
        "recurrence": 0.8,
        "days_queued": 32,
        "days_measured": 40,
        "duration": 2.5,
        "length": 250.0,
        "longest": 250.0,
        "lost_time": 120.0,
        "lost_time_a_day": 3.0,
        "impact": 20.0,
        "by_hour": [0.0] * 8 + [0.8, 0.7] + [0.0] * 14,
    }
    none: dict[str, Any] = {"days": 8, "total": 0, "items": []}
    rankings = {"working": {"days": 40, "total": 1, "items": [item]}, "saturday": none, "sunday": none}
    period = {"from": str(day - timedelta(days=55)), "to": str(day)}
    return {**period, "kind_of_day": "working", "rankings": rankings}


def sensors(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    reasons = ("silent", "constant", "all_zero", "impossible")
    failing = [
        {
            "sensor": f"arc:{body['arc']}",
            "kind": "arc",
            "id": str(body["arc"]),
            "label": body["label"],
            "zone": body["zone"],
            "reason": reasons[n],
            "evidence": {"hours": 11, "usual": 320},
        }
        for n, body in enumerate(bodies[:4])
    ]
    by_zone = [{"zone": n, "known": 12, "reporting": 11} for n in range(1, 5)]
    return {
        "known": len(bodies),
        "reporting": len(bodies) - 1,
        "availability": 0.94,
        "failing": failing,
        "by_zone": by_zone,
    }


def bikes(clock: tuple[int, ...]) -> dict[str, Any]:
    by_hour = [round(900 * shape(hour)) for hour in clock]
    usual = {
        "median": by_hour,
        "low": [round(0.8 * n) for n in by_hour],
        "high": [round(1.2 * n) for n in by_hour],
    }
    counters = [
        {
            "counter": f"10000{n}-1",
            "name": f"{n} quai de Valmy SE-NO",
            "zone": 1 + n % 4,
            "latitude": 48.86,
            "longitude": 2.34 + 0.01 * n,
            "total": round(sum(by_hour) / (n + 3)),
            "mean": 55.1,
            "peak_at": "2025-10-14T18:00:00+02:00",
            "coverage": 1.0,
            "index": 0.7 + 0.1 * n,
            "verdict": ("as usual", "unusual", "exceptional", "unknown")[n % 4],
            "by_hour": [round(count / (n + 3)) for count in by_hour],
            "usual": {part: [round(count / (n + 3)) for count in values] for part, values in usual.items()},
        }
        for n in range(6)
    ]
    return {
        "total": sum(by_hour),
        "mean": 402.5,
        "peak_at": f"2025-10-14T{by_hour.index(max(by_hour)):02d}:00:00+02:00",
        "counters_known": 7,
        "reporting": 6,
        "by_hour": by_hour,
        "usual": usual,
        "counters": counters,
        "zones": [{"zone": n, "total": 5000 * n, "counters": 2} for n in range(1, 5)],
        "anomalies": [
            {"counter": "100001-1", "name": "1 quai de Valmy SE-NO", "hour": 8, "value": 12, "usual": 240}
        ],
        "failing": [
            {
                "sensor": "bike:100009-1",
                "kind": "bike",
                "id": "100009-1",
                "label": "9 rue Lecourbe",
                "zone": 4,
                "reason": "silent",
                "evidence": {"hours": 0},
            }
        ],
    }


def disruptions(day: date) -> dict[str, Any]:
    lines = [
        {
            "line": f"IDFM:C0{n}",
            "name": f"{n}",
            "mode": ("metro", "bus", "tram")[n % 3],
            "network": "RATP",
            "disruptions": 1 + n % 2,
            "blocked_hours": 0.5 * n,
            "disturbed_hours": 2.0,
            "reliability": 1 - 0.02 * n,
        }
        for n in range(1, 8)
    ]
    items = [
        {
            "id": f"d{n}",
            "title": f"Métro {n} : trafic interrompu",
            "cause": "signal failure",
            "severity": ("blocked", "disturbed", "information")[n % 3],
            "effect": "NO_SERVICE",
            "lines": [str(n)],
            "begin": f"{day}T05:00:00+00:00",
            "end": f"{day}T07:30:00+00:00",
            "open": n == 1,
        }
        for n in range(1, 8)
    ]
    return {
        "active": 7,
        "open": 2,
        "by_mode": [{"mode": "metro", "active": 3, "blocked_hours": 4.0, "disturbed_hours": 6.0}],
        "lines": lines,
        "most_affected": list(reversed(lines)),
        "reliability": 0.982,
        "scheduled_line_hours": 8000.0,
        "blocked_line_hours": 14.0,
        "items": items,
        "items_total": 7,
    }


WEATHER = {
    "temperature": 14.2,
    "temperature_min": 9.8,
    "temperature_max": 18.1,
    "precipitation": 6.2,
    "wind": 22.0,
    "conditions": "Rain",
    "provider": "Open-Meteo",
    "hours_observed": 24,
    "categories": ["rain"],
    "score": 30,
    "score_parts": {"base": 50, "rain": -20},
    "effect": {
        "bikes": {"rain": {"deviation": -0.18, "days": 9}},
        "roads": {"rain": {"deviation": 0.02, "days": 9}},
    },
}


def works(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    near = bodies[0]
    items = [
        {
            "site": f"W{n}",
            "title": "Réfection de chaussée",
            "streets": "Rue 1",
            "zone": 1,
            "impact": ("BARRAGE_TOTAL", "RESTREINTE", None)[n % 3],
            "level": 1 + n % 2,
            "begin": "2025-10-01",
            "end": "2025-11-30",
            "area": 420.0,
            "latitude": near["latitude"],
            "longitude": near["longitude"],
            "arcs": [{"arc": near["arc"], "label": near["label"], "distance": 42.0}],
            "before_after": {
                "flow": {"before": 512.0, "since": 401.0, "usual_change": -0.02},
                "occupancy": {"before": 12.0, "since": 19.5, "usual_change": 0.01},
            }
            if n
            else None,
        }
        for n in range(4)
    ]
    return {
        "active": 4,
        "area": 1680.0,
        "by_zone": [{"zone": 1, "name": "Quarter 1", "active": 4, "area": 1680.0, "critical": True}],
        "by_impact": [{"impact": "RESTREINTE", "active": 2}, {"impact": None, "active": 2}],
        "critical_zones": [1],
        "items": items,
        "items_total": 4,
    }


def forecast(arc: dict[str, Any], day: date) -> dict[str, Any]:
    median = [round(FULL * 4 * 0.6 * shape(hour)) for hour in range(24)]
    return {
        "arc": arc["arc"],
        "label": arc["label"],
        "date": day.isoformat(),
        "model": "typical",
        "level": 0.9,
        "flow": {
            "median": median,
            "low": [round(0.8 * n) for n in median],
            "high": [round(1.25 * n) for n in median],
        },
    }
