"""Know the zones of the city (arrondissements) and which of them holds a point.

Batch `arrondissements*.geojson`: a FeatureCollection of polygons; `c_ar` is the number of the zone, `l_aroff` its
name, else `l_ar`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
import shapely
from numpy.typing import ArrayLike
from pyproj import Geod

from ecluse.apps.city.curated import RejectedRecord
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources.curating import Curating, FileContents
from ecluse.apps.city.sources.exports import WholeExport, fetch_whole
from ecluse.apps.city.sources.feed import parsed, text_of, whole_of
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.tables import ZONES, Table
from ecluse.sentences import N_, _

BATCH: Final = "arrondissements"
NO_NUMBER: Final = _("the number of the zone cannot be read")
BAD_POLYGON: Final = _("the polygon cannot be read")
FORMS: Final = (
    Form(
        source="zones",
        title="Zones (arrondissements)",
        places=tuple(
            f"batch/{BATCH}*{ending}" for ending in (".geojson", ".geojson.gz", ".json", ".json.gz")
        ),
        style="json",
        columns=(
            Column("type", "Feature", example="Feature"),
            Column("properties.c_ar", "number of the zone", example=7, needed=True),
            Column("properties.l_aroff", "its name", example="Palais-Bourbon"),
            Column(
                "geometry",
                "Polygon or MultiPolygon, longitude before latitude (WGS 84)",
                "degrees",
                {
                    "type": "Polygon",
                    "coordinates": [[[2.29, 48.85], [2.33, 48.85], [2.33, 48.87], [2.29, 48.85]]],
                },
                needed=True,
            ),
        ),
        address="https://opendata.paris.fr/explore/dataset/arrondissements/information",
        around='{"type": "FeatureCollection", "features": [%s]}',
    ),
)
EARTH: Final = Geod(ellps="WGS84")
_AREAS: Final = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def curate(raw: Raw, work: Curating) -> None:
    """Bring `zones` up to date; of two features of one number that of the later file is taken."""
    files = raw.batch(BATCH, endings=(".geojson", ".geojson.gz", ".json", ".json.gz"))
    fingerprint = fingerprint_of(files)
    stored = work.curated.whole("zones")
    if not files or (stored is not None and stored.fingerprint == fingerprint):
        return
    zones: dict[int, dict[str, Any]] = {}
    rejected: list[RejectedRecord] = []
    records = 0
    for file in files:
        for n, feature in enumerate(_features(file), start=1):
            records += 1
            zone = _zone(feature)
            if isinstance(zone, str):
                rejected.append(RejectedRecord(file.url, n, None, zone))
            else:
                zones[zone["zone"]] = zone
    work.curated.write_whole(
        "zones",
        pl.DataFrame(list(zones.values()), schema=ZONES),
        fingerprint=fingerprint,
        modified=files[-1].last_modified.isoformat(),
        records=records,
        files=[file.url for file in files],
        fallback=[file.url for file in files if file.is_fallback],
        rejected=Counter(record.reason for record in rejected),
        examples=rejected,
    )


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Return what a file of zones holds."""
    zones = [_zone(feature) for feature in _features(file)]
    rejected = Counter(outcome for outcome in zones if isinstance(outcome, str))
    return FileContents(len(zones) - rejected.total(), rejected=dict(rejected))


def locate(zones: pl.DataFrame, longitudes: ArrayLike, latitudes: ArrayLike) -> pl.Series:
    """Return the number of the zone that holds each point (degrees, WGS 84): (points,) Int32, null outside every zone.

    By point in polygon. A point on a border belongs to the zone of the lower number; one without a position to none.
    """
    points = shapely.points(np.asarray(longitudes, np.float64), np.asarray(latitudes, np.float64))
    points = np.atleast_1d(points)
    numbers = zones["zone"].to_numpy()
    nowhere = np.iinfo(np.int32).max
    positions = np.full(len(points), nowhere, np.int32)
    if len(numbers) and len(points):
        tree = shapely.STRtree(shapely.from_geojson(zones["geometry"].to_numpy()))
        point, polygon = tree.query(points, predicate="intersects")
        np.minimum.at(positions, point, numbers[polygon].astype(np.int32))
    return pl.Series("zone", positions).replace(nowhere, None)


def is_on_earth(geometry: Any) -> bool:
    """Return whether each point of a geometry (shapely; also none) is a longitude and a latitude in degrees."""
    points = np.abs(shapely.get_coordinates(geometry))
    return bool((points <= (180.0, 90.0)).all())


def area_of(geometry: Any) -> float:
    """Return the geodesic area of a polygon or several (shapely, degrees, WGS 84), holes left out: m²."""
    area, _rest = EARTH.geometry_area_perimeter(shapely.orient_polygons(geometry))
    return abs(float(area))


def _features(file: RawFile) -> list[Any]:
    content = parsed(file)
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise BadRaw(
            _('%(file)s has no "features": this is no GeoJSON of zones. Fetch it again.', file=file.url)
        )
    return features


def _zone(feature: Any) -> dict[str, Any] | str:
    """Return a row of `zones`, or why there is none."""
    properties = feature.get("properties") if isinstance(feature, Mapping) else None
    text = text_of(properties.get("c_ar")) if isinstance(properties, Mapping) else None
    number = None if text is None else whole_of(text)
    if not isinstance(properties, Mapping) or number is None:
        return NO_NUMBER
    try:
        geometry = shapely.from_geojson(json.dumps(feature.get("geometry")))
    except shapely.errors.GEOSException:
        return BAD_POLYGON
    if not is_on_earth(geometry):
        return BAD_POLYGON
    geometry = geometry if shapely.is_valid(geometry) else shapely.make_valid(geometry)
    if shapely.get_type_id(geometry) not in _AREAS or shapely.is_empty(geometry):
        return BAD_POLYGON
    return {
        "zone": number,
        "name": text_of(properties.get("l_aroff")) or text_of(properties.get("l_ar")) or str(number),
        "area": area_of(geometry),
        "geometry": shapely.to_geojson(geometry),
    }


_EXPORT: Final = WholeExport(
    source="zones",
    dataset="arrondissements",
    style="geojson",
    key="batch/arrondissements.geojson",
    fresh=timedelta(days=30),
)
SOURCE: Final = Source(
    name="zones",
    title=N_("Zones"),
    words=N_("zones"),
    table=Table(ZONES, ("zone",), whole=True),
    forms=FORMS,
    curate=curate,
    inspect=inspect,
    lacks="no figures by zone",
    fetch=partial(fetch_whole, _EXPORT),
)
