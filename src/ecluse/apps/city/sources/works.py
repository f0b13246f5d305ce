"""Curate the sites (chantiers) that disturb traffic, one part for each day with those active on it.

Batch `chantiers-perturbants*`: 19 columns, `;`, a byte order mark, cells with line breaks, dates `Y-m-d`, and a
Polygon or MultiPolygon for each site. Of a site that several files tell of, the later file's record is taken.
The zone is that which holds a point within the polygon; where the city has no polygons of its zones, it is read
from the postal code, with a warning.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

import polars as pl
import shapely

from ecluse.apps.city.calendar import days_between
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources.curating import Curating, FileContents, contents_of
from ecluse.apps.city.sources.exports import WholeExport, fetch_whole
from ecluse.apps.city.sources.feed import (
    LONGEST_TEXT,
    Rejections,
    facts_of,
    is_among,
    number,
    parts_of,
    text_of,
)
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.sources.stamps import DAY, Stamp
from ecluse.apps.city.sources.text import LONGEST_CELL, opened, records
from ecluse.apps.city.sources.zones import area_of, is_on_earth, locate
from ecluse.apps.city.tables import WORKS, Table
from ecluse.sentences import N_, _

logger = logging.getLogger(__name__)
BATCH: Final = "chantiers-perturbants"
ID: Final = "Identifiant"
TITLE: Final = "Objet"
DESCRIPTION: Final = "Description"
STREETS: Final = "Voie(s)"
BEGIN: Final = "Date de début"
END: Final = "Date de fin"
IMPACT: Final = "Impact sur la circulation"
LEVEL: Final = "Niveau de perturbation"
STATUS: Final = "Statut"
SHAPE: Final = "geo_shape"
POINT: Final = "geo_point_2d"
#: Without these a table is none of sites; the others may be missing.
NEEDED: Final = (ID, BEGIN, END)
NO_ID: Final = _("no identifier")
NO_DATES: Final = _("no first and last day")
BAD_DATE: Final = _("a date cannot be read")
BACKWARDS: Final = _("the last day is before the first")
BAD_SHAPE: Final = _("the polygon cannot be read")
BAD_WIDTH: Final = _("the record has more cells than the header")
POSTAL_CODE: Final = "Code postal de l'arrondissement"
STAMP: Final = Stamp(
    marks="day",
    length=DAY,
    clock="city",
    words="Date de début, Date de fin",
    address="https://opendata.paris.fr/explore/dataset/chantiers-perturbants/information",
    checked="First and last day of the site, both included: of 75 sites of 2024 one begins and ends on one day.",
)
FORMS: Final = (
    Form(
        source="works",
        title="Works (chantiers perturbants)",
        places=("batch/chantiers-perturbants*.csv", "batch/chantiers-perturbants*.csv.gz"),
        style="csv",
        columns=(
            Column(ID, "identifier of the site", example="CP002639", needed=True),
            Column(BEGIN, "first day", example="2025-10-01", needed=True, stamp=STAMP),
            Column(END, "last day", example="2025-10-31", needed=True, stamp=STAMP),
            Column(TITLE, "what for", example="REFECTION_CHAUSSEE"),
            Column(DESCRIPTION, "in words", example="Réfection de la chaussée"),
            Column(STREETS, "where", example="Rue de l'Université"),
            Column(IMPACT, "BARRAGE_TOTAL, RESTREINTE, IMPASSE, SENS_UNIQUE or empty", example="RESTREINTE"),
            Column(LEVEL, "1 (much) or 2 (less), or empty", example=1),
            Column(STATUS, "1 to 4", example=4),
            Column(POSTAL_CODE, "for the zone, where there are no polygons of zones", example=75007),
            Column(
                SHAPE,
                "Polygon or MultiPolygon as GeoJSON",
                "degrees",
                '{"type": "Polygon", "coordinates": [[[2.313, 48.858], [2.314, 48.858], [2.314, 48.859], [2.313, '
                "48.858]]]}",
            ),
            Column(POINT, "latitude and longitude, where there is no polygon", "degrees", "48.858, 2.3135"),
        ),
        address="https://opendata.paris.fr/explore/dataset/chantiers-perturbants/information",
    ),
)
#: What is kept of a text, where that is more than of others.
_LONGEST: Final = {SHAPE: LONGEST_CELL, DESCRIPTION: 5000}
_AREAS: Final = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True)
class Sites:
    """The sites of one file or several; `records`: how many were read."""

    rows: Mapping[str, dict[str, Any]]
    rejections: Rejections
    records: int


def curate(raw: Raw, work: Curating) -> None:
    """Bring the curated `works` up to date.

    Raises:
        BadRaw: a file is no table of sites.
    """
    files = raw.batch(BATCH, endings=(".csv", ".csv.gz"))
    if not files:
        return
    zones = work.curated.whole("zones")
    # the zones of the sites follow from the polygons too
    fingerprint = fingerprint_of(files) + ("" if zones is None else f"-{zones.sha256[:16]}")
    parts = parts_of(work.curated, "works", list(days_between(work.first, work.last)))
    stale = [day for day, sources in parts.items() if not is_among(sources, "sites", fingerprint)]
    if not stale:
        return
    sites = _merged([read_sites(file, work) for file in files])
    table = _located(pl.DataFrame(list(sites.rows.values()), schema=_READ), work)
    for n, day in enumerate(stale):
        work.report(n / len(stale), _(SOURCE.words))
        active = table.filter((pl.col("begin") <= day) & (pl.col("end") >= day))
        facts = facts_of(files, sites.rejections, sites.records)
        work.curated.write("works", day, "sites", active, **{**facts, "fingerprint": fingerprint})


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Return what a table of sites holds: from the first day of one to the last day of one."""
    sites = read_sites(file, work)
    days = [site[name] for site in sites.rows.values() for name in ("begin", "end")]
    return contents_of(len(sites.rows), days, sites.rejections.counts)


def read_sites(file: RawFile, work: Curating) -> Sites:
    """Return the sites of one file.

    Raises:
        BadRaw: it is no table of sites; the message names file, line and column.
    """
    sites: dict[str, dict[str, Any]] = {}
    rejected = Rejections()
    count = 0
    with opened(file.local(work.scratch), file.url) as text:
        rows = records(text, ";", file.url)
        _rest, header = next(rows, (1, []))
        for name in NEEDED:
            if name not in header:
                raise BadRaw(
                    _(
                        "%(file)s, line 1: there is no column %(column)s, so it is no table of sites. It has "
                        "%(columns)s.",
                        file=file.url,
                        column=repr(name),
                        columns=", ".join(header) or "none",
                    )
                )
        for line, cells in rows:
            if not any(cells):
                continue
            count += 1
            if len(cells) > len(header):
                rejected.add(file.url, BAD_WIDTH, line=line, column=str(len(header) + 1), value=cells[-1])
                continue
            site = _site(dict(zip(header, cells, strict=False)), file.url, line, rejected)
            if site is not None:
                sites[site["site"]] = site
    return Sites(sites, rejected, count)


_READ: Final = pl.Schema({**WORKS, "postal_code": pl.String()})


def _merged(several: list[Sites]) -> Sites:
    rows: dict[str, dict[str, Any]] = {}
    rejected = Rejections()
    for sites_ in several:
        rows.update(sites_.rows)
        rejected.extend(sites_.rejections)
    return Sites(rows, rejected, sum(sites_.records for sites_ in several))


def _site(cells: Mapping[str, str], url: str, line: int, rejected: Rejections) -> dict[str, Any] | None:
    texts = {name: text_of(text, _LONGEST.get(name, LONGEST_TEXT)) or "" for name, text in cells.items()}
    if not texts[ID]:
        rejected.add(url, NO_ID, line=line, column=ID)
        return None
    dates: list[date] = []
    for name in (BEGIN, END):
        if not texts.get(name):
            rejected.add(url, NO_DATES, line=line, column=name)
            return None
        try:
            dates.append(date.fromisoformat(texts[name][:10]))
        except ValueError:
            rejected.add(url, BAD_DATE, line=line, column=name, value=texts[name])
            return None
    if dates[1] < dates[0]:
        rejected.add(url, BACKWARDS, line=line, column=END, value=texts[END])
        return None
    return {
        "site": texts[ID],
        "title": texts.get(TITLE) or None,
        "description": texts.get(DESCRIPTION) or None,
        "streets": texts.get(STREETS) or None,
        "begin": dates[0],
        "end": dates[1],
        "impact": texts.get(IMPACT) or None,
        "level": _whole(texts.get(LEVEL)),
        "status": _whole(texts.get(STATUS)),
        "postal_code": texts.get(POSTAL_CODE) or None,
        **_shape(texts, url, line, rejected),
    }


def _shape(texts: Mapping[str, str], url: str, line: int, rejected: Rejections) -> dict[str, Any]:
    """Return area, a point within, and geometry. A site whose polygon cannot be read stays, with its point alone."""
    text = texts.get(SHAPE)
    if not text:
        return _point(texts)
    try:
        geometry = shapely.from_geojson(text)
        geometry = shapely.make_valid(geometry) if is_on_earth(geometry) else shapely.Polygon()
    except shapely.errors.GEOSException:
        geometry = shapely.Polygon()
    if shapely.get_type_id(geometry) == shapely.GeometryType.GEOMETRYCOLLECTION:
        # what make_valid cuts off a polygon may be lines, which have no area
        geometry = shapely.union_all([part for part in geometry.geoms if shapely.get_type_id(part) in _AREAS])
    if geometry.is_empty or shapely.get_type_id(geometry) not in _AREAS:
        rejected.add(url, BAD_SHAPE, line=line, column=SHAPE, value=text)
        return _point(texts)
    point = geometry.representative_point()
    return {
        "area": area_of(geometry),
        "latitude": point.y,
        "longitude": point.x,
        "geometry": json.dumps(json.loads(shapely.to_geojson(geometry)), separators=(",", ":")),
    }


def _point(texts: Mapping[str, str]) -> dict[str, Any]:
    north, _rest, east = texts.get(POINT, "").partition(",")
    latitude, longitude = number(north), number(east)
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return {}
    return {"latitude": latitude, "longitude": longitude}


def _located(sites: pl.DataFrame, work: Curating) -> pl.DataFrame:
    """Add to each site its zone: the polygon that holds it, or the postal code where the city has no polygons."""
    zones = work.curated.read_whole("zones")
    if zones.height:
        nowhere = float("nan")
        longitudes = sites["longitude"].fill_null(nowhere).to_numpy()
        latitudes = sites["latitude"].fill_null(nowhere).to_numpy()
        return sites.with_columns(zone=locate(zones, longitudes, latitudes).cast(pl.Int32))
    logger.warning("There are no polygons of zones, so the zones of sites are read from their postal codes.")
    # 75116 is the other code of the 16th
    by_code = pl.col("postal_code").str.extract(r"^75[01](\d\d)$").cast(pl.Int32)
    return sites.with_columns(zone=pl.when(by_code.is_between(1, 20)).then(by_code))


def _whole(text: str | None) -> int | None:
    value = number(text)
    return int(value) if value is not None and value.is_integer() else None


_EXPORT: Final = WholeExport(
    source="works",
    dataset=BATCH,
    style="csv",
    key="batch/chantiers-perturbants-la-circulation.csv",
    fresh=timedelta(hours=6),
    begins=(ID, "id"),
)
SOURCE: Final = Source(
    name="works",
    title=N_("Works"),
    words=N_("works"),
    table=Table(WORKS, ("site",)),
    forms=FORMS,
    curate=curate,
    inspect=inspect,
    lacks="no works, and no causes of congestion from them",
    fetch=partial(fetch_whole, _EXPORT),
)
