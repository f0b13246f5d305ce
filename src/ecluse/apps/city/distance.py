"""Find what lies near what in a city, in metres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray


def pairs_within(
    radius: float, some: Sequence[str | None], others: Sequence[str | None]
) -> list[tuple[int, int, float]]:
    """(place among `some`, place among `others`, metres) of every two GeoJSON geometries within `radius` metres.

    Nearest points count, 0 where they meet. Degrees are laid out on a plane around the mean latitude, which over
    a city of 20 km errs by less than 1 in 500. What has no geometry is near nothing.
    """
    first, second = _geometries(some), _geometries(others)
    present = np.concatenate([first[~shapely.is_missing(first)], second[~shapely.is_missing(second)]])
    if not len(present):
        return []
    bounds = shapely.total_bounds(present)
    metres = metres_of_degree((bounds[1] + bounds[3]) / 2)
    first, second = _on_plane(first, metres), _on_plane(second, metres)
    at, matches = shapely.STRtree(second).query(first, predicate="dwithin", distance=radius)
    distances = shapely.distance(first[at], second[matches])
    return sorted(zip(at.tolist(), matches.tolist(), distances.tolist(), strict=True))


def metres_of_degree(latitude: float) -> NDArray[np.float64]:
    """Return the metres of a degree of longitude and of latitude on the ellipsoid WGS 84, by their usual series."""
    phi = math.radians(latitude)
    east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    north = 111_132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
    return np.array([east, north])


def _geometries(texts: Sequence[str | None]) -> NDArray[Any]:
    return np.asarray(shapely.from_geojson(np.array(list(texts), dtype=object)), dtype=object).reshape(-1)


def _on_plane(geometries: NDArray[Any], metres: NDArray[np.float64]) -> NDArray[Any]:
    return np.asarray(shapely.transform(geometries, lambda points: points * metres), dtype=object).reshape(-1)
