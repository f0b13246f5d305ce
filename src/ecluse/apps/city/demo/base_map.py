"""Draw an invented city shaped like Paris: twenty zones in a spiral, a river, ring roads, avenues and streets.

Nothing of it is measured or copied: zones are sectors of three rings, streets are curves between them, and the
names are those that any French city could have. The same number of arcs gives the same map.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CENTRE: Final = (2.3522, 48.8566)
#: Half the width and half the height of the city, in km, and the km of a degree there.
HALF_WIDTH, HALF_HEIGHT = 5.7, 4.6
KM_PER_LONGITUDE, KM_PER_LATITUDE = 73.2, 111.2
#: Where the rings of zones end, as a share of the way to the edge of the city.
RINGS: Final = (0.0, 0.26, 0.58, 1.0)
#: Zone → ring, first and last bearing in degrees from the north, clockwise.
ZONES: Final[dict[int, tuple[int, int, int]]] = {
    1: (0, 225, 315), 2: (0, 315, 405), 3: (0, 45, 135), 4: (0, 135, 225),
    5: (1, 130, 181), 6: (1, 181, 233), 7: (1, 233, 284), 8: (1, 284, 336), 9: (1, 336, 387),
    10: (1, 387, 438), 11: (1, 438, 490),
    12: (2, 95, 135), 13: (2, 135, 175), 14: (2, 175, 215), 15: (2, 215, 255), 16: (2, 255, 295),
    17: (2, 295, 335), 18: (2, 335, 375), 19: (2, 375, 415), 20: (2, 415, 455),
}  # fmt: skip
ZONE_NAMES: Final = (
    "Louvre", "Bourse", "Temple", "Hôtel-de-Ville", "Panthéon", "Luxembourg", "Palais-Bourbon", "Élysée", "Opéra",
    "Entrepôt", "Popincourt", "Reuilly", "Gobelins", "Observatoire", "Vaugirard", "Passy", "Batignolles-Monceau",
    "Buttes-Montmartre", "Buttes-Chaumont", "Ménilmontant",
)  # fmt: skip
_AVENUES: Final = (
    ("AV_Champs_Elysees", 293), ("AV_Italie", 160), ("BD_Magenta", 12), ("AV_Daumesnil", 112), ("AV_Maine", 196),
    ("AV_Clichy", 333), ("Bd_Voltaire", 98), ("Lecourbe", 226), ("AV_Jean_Jaures", 42), ("AV_Ternes", 304),
    ("Bd_Hopital", 146), ("AV_Orleans", 183), ("Belleville", 66), ("AV_Suffren", 243), ("Rochechouart", 355),
    ("AV_Gambetta", 84), ("Bd_Malesherbes", 318), ("Bd_Raspail", 211), ("La_Fayette", 26), ("AV_Kleber", 272),
    ("Bercy", 128), ("Convention", 234), ("AV_Ivry", 170), ("AV_Mozart", 258),
)  # fmt: skip
_NAMES: Final = (
    "Acacias", "Alesia", "Archives", "Arsenal", "Batignolles", "Beaumarchais", "Bellechasse", "Blanche", "Cambronne",
    "Capucines", "Cardinet", "Caulaincourt", "Charenton", "Charonne", "Chateau_Rouge", "Chevaleret", "Clignancourt",
    "Colombier", "Commerce", "Crimee", "Dunkerque", "Ecoles", "Entrepreneurs", "Etoile", "Faubourg", "Flandre",
    "Fontaine", "Froidevaux", "Gare", "Glaciere", "Gobelins", "Grenelle", "Halles", "Javel", "Jardins", "Lancry",
    "Lilas", "Londres", "Lyon", "Mairie", "Marche", "Marne", "Meaux", "Monge", "Montmartre", "Moulin", "Musee",
    "Nation", "Observatoire", "Ourcq", "Parc", "Passy", "Patay", "Picpus", "Plaisance", "Poissonniere", "Pont_Neuf",
    "Port", "Provence", "Pyrenees", "Quatre_Vents", "Reaumur", "Republique", "Reuilly", "Rivoli", "Rome",
    "Saint_Denis", "Saint_Honore", "Saint_Jacques", "Saint_Martin", "Saint_Maur", "Sebastopol", "Sevres", "Tanneries",
    "Tolbiac", "Tour", "Tournelle", "Turenne", "Universite", "Vallee", "Varenne", "Verrerie", "Vincennes",
    "Vouille", "Wagram",
)  # fmt: skip
_GATES: Final = (
    "Maillot", "Champerret", "Asnieres", "Clichy", "Saint_Ouen", "Clignancourt", "Chapelle", "Aubervilliers",
    "Villette", "Pantin", "Pre_Saint_Gervais", "Lilas", "Bagnolet", "Montreuil", "Vincennes", "Doree", "Charenton",
    "Bercy", "Ivry", "Choisy", "Italie", "Gentilly", "Orleans", "Chatillon", "Vanves", "Plaine", "Sevres",
    "Saint_Cloud", "Molitor", "Auteuil", "Passy", "Muette", "Dauphine",
)  # fmt: skip
#: The river from where it enters to where it leaves, in km east and north of the centre.
_RIVER: Final = ((4.2, -3.2), (3.0, -2.0), (1.6, -0.9), (0.6, -0.3), (-0.6, 0.15), (-1.8, 0.75), (-2.9, 0.7),
                 (-3.6, -0.1), (-4.3, -1.2), (-5.0, -2.1))  # fmt: skip


class Kind(NamedTuple):
    """A kind of street: vehicles per hour that one arc carries at most, how full it is at its usual peak, and
    the length of its arcs in km."""

    capacity: float
    load: float
    spacing: float


RING: Final = Kind(6200.0, 0.93, 1.0)
MARSHALS: Final = Kind(1700.0, 0.80, 0.8)
BOULEVARD: Final = Kind(1900.0, 0.84, 0.6)
QUAY: Final = Kind(2700.0, 0.90, 0.6)
AVENUE: Final = Kind(1500.0, 0.82, 0.55)
STREET: Final = Kind(800.0, 0.68, 0.35)


@dataclass(frozen=True)
class BaseMap:
    """The arcs of the city as columns of equal length, and where each is.

    `street`: number of its street, `place`: its number along it; `inward`: 1 where it leads to the centre, -1 where
    it leads out, 0 across. Positions are km east and north of the centre; `shape` is longitude and latitude.
    """

    arc: Ints
    label: list[str]
    upstream: Ints
    upstream_name: list[str]
    downstream: Ints
    downstream_name: list[str]
    street: Ints
    place: Ints
    along: Ints  # how many arcs its street has
    inward: Ints
    capacity: Floats
    load: Floats
    x: Floats
    y: Floats
    shape: list[list[tuple[float, float]]]

    def __len__(self) -> int:
        return len(self.label)

    def near(self, x: float, y: float) -> Floats:
        """Return how far the middle of each arc is from a place, in km."""
        distance: Floats = np.hypot(self.x - x, self.y - y)
        return distance


@dataclass(frozen=True)
class _Street:
    label: str
    kind: Kind
    path: Callable[[float], tuple[float, float]]  # 0..1 → km
    inward: int
    gates: tuple[str, ...] = ()


@lru_cache(maxsize=8)
def draw_base_map(arcs: int) -> BaseMap:
    """Return the first `arcs` arcs of the city, street by street."""
    columns: dict[str, list[Any]] = {name: [] for name in BaseMap.__dataclass_fields__ if name != "arc"}
    node = 1
    for number, street in enumerate(_streets()):
        left = arcs - len(columns["label"])
        if left <= 0:
            break
        node = _lay(street, number, node, left, columns)
    arrays = {
        name: np.asarray(values, dtype=float if name in ("capacity", "load", "x", "y") else np.int64)
        if name not in ("label", "upstream_name", "downstream_name", "shape")
        else values
        for name, values in columns.items()
    }
    return BaseMap(arc=np.arange(arcs, dtype=np.int64) + 101, **arrays)  # type: ignore[arg-type]


def zone_features() -> list[dict[str, Any]]:
    """Return the twenty zones as GeoJSON features with the fields of the source: `c_ar`, `l_ar`, `l_aroff`…"""
    return [_feature(zone) for zone in ZONES]


def zone_at(x: float, y: float) -> int | None:
    """Return the zone of a place, given in km from the centre; None beyond the edge."""
    bearing = math.degrees(math.atan2(x / HALF_WIDTH, y / HALF_HEIGHT)) % 360
    reach = math.hypot(x / HALF_WIDTH, y / HALF_HEIGHT) / _wobble(bearing)
    for zone, (ring, first, last) in ZONES.items():
        if RINGS[ring] <= reach < RINGS[ring + 1] and (bearing - first) % 360 < last - first:
            return zone
    return None


def place(bearing: float, reach: float) -> tuple[float, float]:
    """Km east and north of the centre at a bearing in degrees, `reach` 1 being the edge of the city."""
    angle = math.radians(bearing)
    far = reach * _wobble(bearing)
    return HALF_WIDTH * far * math.sin(angle), HALF_HEIGHT * far * math.cos(angle)


def degrees(x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude of a place given in km from the centre."""
    return round(CENTRE[0] + x / KM_PER_LONGITUDE, 10), round(CENTRE[1] + y / KM_PER_LATITUDE, 10)


def _wobble(bearing: float) -> float:
    angle = math.radians(bearing)
    return 1 + 0.04 * math.sin(3 * angle + 1) + 0.02 * math.sin(5 * angle)


def _feature(zone: int) -> dict[str, Any]:
    ring, first, last = ZONES[zone]
    outer = [place(b, RINGS[ring + 1]) for b in range(first, last + 1)]
    inner = [place(b, RINGS[ring]) for b in range(last, first - 1, -1)] if ring else [(0.0, 0.0)]
    corners = [*outer, *inner, outer[0]]
    pairs = list(itertools.pairwise(corners))
    area = abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2
    around = sum(math.hypot(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairs)
    middle = degrees(*place((first + last) / 2, (RINGS[ring] + RINGS[ring + 1]) / 2))
    return {
        "type": "Feature",
        "geometry": {"coordinates": [[list(degrees(x, y)) for x, y in corners]], "type": "Polygon"},
        "properties": {
            "n_sq_ar": 750000000 + zone,
            "c_ar": zone,
            "c_arinsee": 75100 + zone,
            "l_ar": f"{zone}{'er' if zone == 1 else 'ème'} Ardt",
            "l_aroff": ZONE_NAMES[zone - 1],
            "n_sq_co": 750001537,
            "surface": round(area * 1e6, 3),
            "perimetre": round(around * 1e3, 3),
            "geom_x_y": {"lon": middle[0], "lat": middle[1]},
        },
    }


# Streets


def _streets() -> Iterator[_Street]:
    """Without end, the great ones first."""
    for label, bearing in _AVENUES[:6]:
        yield from _avenue(label, bearing)
    yield _ring("PI", 0.985, RING, clockwise=True, gates=_GATES)
    yield _ring("PE", 1.015, RING, clockwise=False, gates=_GATES)
    yield _Street("Quai_Rive_Gauche", QUAY, lambda t: _river(1 - t, -0.08), 0)
    yield _Street("Voie_Rive_Droite", QUAY, lambda t: _river(t, 0.08), 0)
    for label, reach, kind in (("Grands_Boulevards", 0.27, BOULEVARD), ("Bd_Marechaux", 0.93, MARSHALS)):
        yield _ring(label, reach, kind, clockwise=True)
        yield _ring(label, reach, kind, clockwise=False)
    for label, bearing in _AVENUES[6:10]:
        yield from _avenue(label, bearing)
    yield _ring("Bd_Fermiers", 0.585, BOULEVARD, clockwise=True)
    yield _ring("Bd_Fermiers", 0.585, BOULEVARD, clockwise=False)
    for label, bearing in _AVENUES[10:]:
        yield from _avenue(label, bearing)
    yield from _side_streets()


def _avenue(label: str, bearing: int) -> Iterator[_Street]:
    def inward(t: float) -> tuple[float, float]:
        reach = 0.97 - 0.86 * t
        return place(bearing + 14 * math.sin(3 * reach), reach)

    yield _Street(label, AVENUE, inward, 1)
    yield _Street(label, AVENUE, lambda t: inward(1 - t), -1)


def _ring(label: str, reach: float, kind: Kind, *, clockwise: bool, gates: tuple[str, ...] = ()) -> _Street:
    turn = 360.0 if clockwise else -360.0
    return _Street(label, kind, lambda t: place((285 + turn * t) % 360, reach), 0, gates)


def _river(t: float, beside: float) -> tuple[float, float]:
    xs, ys = zip(*_RIVER, strict=True)
    steps = np.linspace(0, 1, len(_RIVER))
    return float(np.interp(t, steps, xs)), float(np.interp(t, steps, ys)) + beside


def _side_streets() -> Iterator[_Street]:
    rng = np.random.default_rng(75)
    number = 0
    while True:
        kind = ("Rue", "Av", "Bd", "Passage", "Cours")[number // len(_NAMES) % 5]
        label = f"{kind}_{_NAMES[number % len(_NAMES)]}"
        if (again := number // (5 * len(_NAMES))) > 0:
            label = f"{label}_{again + 1}"
        x, y = place(rng.uniform(0, 360), math.sqrt(rng.uniform(0.01, 0.72)))
        angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(0.7, 2.0)
        way = (math.cos(angle) * length, math.sin(angle) * length)
        yield from _side_street(label, (x, y), way, one_way=bool(rng.random() < 0.4))
        number += 1


def _side_street(
    label: str, begin: tuple[float, float], way: tuple[float, float], *, one_way: bool
) -> Iterator[_Street]:
    def path(t: float) -> tuple[float, float]:
        bow = 0.06 * math.sin(math.pi * t)
        return begin[0] + way[0] * t - way[1] * bow, begin[1] + way[1] * t + way[0] * bow

    yield _Street(label, STREET, path, 0)
    if not one_way:
        yield _Street(label, STREET, lambda t: path(1 - t), 0)


def _lay(street: _Street, number: int, node: int, most: int, columns: dict[str, list[Any]]) -> int:
    """Lay the arcs of a street, at most so many, and return the next free number of a node."""
    points = [street.path(t) for t in np.linspace(0, 1, 200)]
    length = sum(math.dist(a, b) for a, b in itertools.pairwise(points))
    pieces = max(2, round(length / street.kind.spacing))
    is_closed = math.dist(points[0], points[-1]) < 1e-6
    for n in range(min(pieces, most)):
        ends = (node + n, node + (n + 1) % pieces if is_closed else node + n + 1)
        names = (
            _crossing(street, number, n),
            _crossing(street, number, (n + 1) % pieces if is_closed else n + 1),
        )
        line = [street.path((n + k / 3) / pieces) for k in range(4)]
        x, y = street.path((n + 0.5) / pieces)
        gate = f"_{street.gates[n % len(street.gates)]}" if street.gates else ""
        crossings = {
            "label": f"{street.label}{gate}", "upstream": ends[0], "upstream_name": names[0],
            "downstream": ends[1], "downstream_name": names[1], "street": number, "place": n, "along": pieces,
            "inward": street.inward, "capacity": street.kind.capacity, "load": street.kind.load, "x": x, "y": y,
            "shape": [degrees(*point) for point in line],
        }  # fmt: skip
        for name, value in crossings.items():
            columns[name].append(value)
    return node + pieces + 1


def _crossing(street: _Street, number: int, n: int) -> str:
    if street.gates:
        return f"{street.label}_{street.gates[n % len(street.gates)]}_{n + 1}"
    return f"{street.label}-{_NAMES[(7 * number + 5 * n) % len(_NAMES)]}"
