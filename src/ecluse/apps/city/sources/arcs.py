"""Know the arcs of the road network: where each lies, how long it is, and in which zone.

Batch `referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents*` and
`referentiel-comptages-routiers*`: CSV with long names or the short ones of the shapefile, one record per arc, period
of validity and piece of the street; the pieces of the newest period are the arc. An arc that only road counts tell of
comes from their rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

import numpy as np
import polars as pl
import shapely
from numpy.typing import NDArray

from ecluse.apps.city.curated import Batch
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources import roads
from ecluse.apps.city.sources.curating import Curating, FileContents
from ecluse.apps.city.sources.exports import WholeExport, fetch_whole
from ecluse.apps.city.sources.feed import Rejections, newest, origin_of, text_of, whole_of
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.road_files import rows_of_arcs
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.sources.stamps import Stamp
from ecluse.apps.city.sources.text import opened, records
from ecluse.apps.city.sources.zones import EARTH, is_on_earth, locate
from ecluse.apps.city.tables import ARCS, Table
from ecluse.sentences import N_, _, num

BATCHES: Final = (
    "referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents",
    "referentiel-comptages-routiers",
)
#: Our name → the source's long name and its short one, without regard to case.
COLUMNS: Final = {
    "arc": ("identifiant arc", "iu_ac"),
    "label": ("libelle", "libelle"),
    "upstream": ("identifiant noeud amont", "iu_nd_amont"),
    "upstream_name": ("libelle noeud amont", "libelle_nd_amont"),
    "downstream": ("identifiant noeud aval", "iu_nd_aval"),
    "downstream_name": ("libelle noeud aval", "libelle_nd_aval"),
    "begin": ("date debut dispo data", "date_debut"),
    "end": ("date fin dispo data", "date_fin"),
    "shape": ("geo_shape", "geo_shape"),
}
NEEDED: Final = ("arc", "label", "shape")
_ADDRESS: Final = "https://opendata.paris.fr/explore/dataset/referentiel-comptages-routiers/information"
STAMP: Final = Stamp(
    marks="moment",
    length=timedelta(0),
    clock="offset",
    words="Date debut dispo data, Date fin dispo data",
    address=_ADDRESS,
    checked="Only their order counts: of an arc's periods the one that ends last is taken.",
)
FORMS: Final = (
    Form(
        source="arcs",
        title="Where the road sensors are (référentiel géographique)",
        places=tuple(f"batch/{name}*{ending}" for name in BATCHES for ending in (".csv", ".csv.gz")),
        style="csv",
        columns=(
            Column("IU_AC", "number of the arc", example=5444, needed=True, other=("Identifiant arc",)),
            Column("LIBELLE", "its street", example="PE_Auteuil", needed=True),
            Column(
                "DATE_DEBUT",
                "begin of a period of validity",
                example="2005-01-01T02:00:00+01:00",
                other=("Date debut dispo data",),
                stamp=STAMP,
            ),
            Column(
                "DATE_FIN",
                "its end",
                example="2030-12-31T04:00:00+01:00",
                other=("Date fin dispo data",),
                stamp=STAMP,
            ),
            Column(
                "IU_ND_AMONT",
                "number of the node before it",
                example=2465,
                other=("Identifiant noeud amont",),
            ),
            Column("LIBELLE_ND_AMONT", "name of it", example="SE_Auteuil", other=("Libelle noeud amont",)),
            Column(
                "IU_ND_AVAL", "number of the node behind it", example=2859, other=("Identifiant noeud aval",)
            ),
            Column("LIBELLE_ND_AVAL", "name of it", example="AE_A13", other=("Libelle noeud aval",)),
            Column(
                "geo_shape",
                "LineString as GeoJSON, longitude before latitude",
                "degrees",
                '{"type": "LineString", "coordinates": [[2.25236, 48.8492], [2.25464, 48.84683]]}',
                needed=True,
            ),
        ),
        address=_ADDRESS,
    ),
)
NO_ARC: Final = _("the arc is no number")
BAD_SHAPE: Final = _("the shape is no line")
_LINES: Final = (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING)
#: Changes with what is made of the same files.
_FORM: Final = "2"


@dataclass(frozen=True)
class Arc:
    """An arc as a record tells of it; length in m, None without a shape."""

    arc: int
    label: str
    upstream: int | None
    upstream_name: str | None
    downstream: int | None
    downstream_name: str | None
    latitude: float | None
    longitude: float | None
    length: float | None
    geometry: str | None


def curate(raw: Raw, work: Curating) -> None:
    """Bring `arcs` up to date, once the road counts are: the later file wins, and in it the newest period."""
    files = raw.batch(*BATCHES, endings=(".csv", ".csv.gz"))
    counts = [(file, work.curated.batch("roads", origin_of(file))) for file in raw.batch(roads.BATCH)]
    zones = work.curated.whole("zones")
    parts = [_FORM, fingerprint_of(files), zones.fingerprint if zones else "", *_arcs_counted(counts)]
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    stored = work.curated.whole("arcs")
    if not (files or counts) or (stored is not None and stored.fingerprint == fingerprint):
        return
    rejected = Rejections()
    arcs: dict[int, Arc] = {}
    records = 0
    for file in files:
        work.report(0.0, _("reading %(what)s", what=file.key.rpartition("/")[2]))
        count, read_arcs = _read_reference(file, work, rejected)
        records += count
        arcs |= read_arcs
    used = [*files]
    for file, batch in reversed(counts):
        if missing := {*(batch.arcs if batch else ())} - arcs.keys():
            work.report(
                0.5,
                _(
                    "looking for %(count)s more arcs in %(file)s",
                    count=num(len(missing), ","),
                    file=file.key.rpartition("/")[2],
                ),
            )
            arcs |= _read_counts(file, missing, work, rejected)
            used.append(file)
    work.curated.write_whole(
        "arcs",
        _table(arcs.values(), work.curated.read_whole("zones")),
        fingerprint=fingerprint,
        modified=newest(used) if used else "",
        records=records,
        files=[file.url for file in used],
        fallback=[file.url for file in used if file.is_fallback],
        rejected=dict(rejected.counts),
        examples=rejected.examples,
    )


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Return what a reference holds: how many arcs."""
    rejected = Rejections()
    _rest, arcs = _read_reference(file, work, rejected)
    return FileContents(len(arcs), rejected=dict(rejected.counts))


def read_line(text: str) -> tuple[float, float, float, str] | None:
    """Length in m, longitude and latitude of the middle, and GeoJSON, of a LineString; None for what is none.

    The length is geodesic (WGS 84), and the middle lies on the line, as far from one end as from the other. Of
    several lines it is that of the longest.
    """
    try:
        shape = shapely.from_geojson(json.dumps(json.loads(text)))
    except (ValueError, RecursionError, shapely.errors.GEOSException):
        return None
    if shapely.get_type_id(shape) not in _LINES or shapely.is_empty(shape):
        return None
    lines = [shapely.get_coordinates(part) for part in shapely.get_parts(shape)]
    if not is_on_earth(shape):
        return None
    lengths = [float(EARTH.line_length(*line.T)) for line in lines]
    longitude, latitude = _middle(lines[int(np.argmax(lengths))])
    return sum(lengths), longitude, latitude, shapely.to_geojson(shape)


def _middle(line: NDArray[np.float64]) -> tuple[float, float]:
    longitudes, latitudes = line.T
    courses, _rest, steps = EARTH.inv(longitudes[:-1], latitudes[:-1], longitudes[1:], latitudes[1:])
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    half = reached[-1] / 2
    step = min(int(np.searchsorted(reached, half, side="right")) - 1, len(steps) - 1)
    longitude, latitude, _rest = EARTH.fwd(
        longitudes[step], latitudes[step], courses[step], half - reached[step]
    )
    return float(longitude), float(latitude)


def _arcs_counted(counts: Iterable[tuple[RawFile, Batch | None]]) -> list[str]:
    """Return what the road counts add to the fingerprint: the arcs, for the reference may lack some of them."""
    return [",".join(map(str, sorted({arc for _, batch in counts if batch for arc in batch.arcs})))]


def _read_reference(file: RawFile, work: Curating, rejected: Rejections) -> tuple[int, dict[int, Arc]]:
    """Return how many records there are, and each arc with all pieces of its newest period."""
    versions_of: dict[int, tuple[tuple[str, str], list[Arc]]] = {}
    count = 0
    with opened(file.local(work.scratch), file.url) as text:
        rows = records(text, ";", file.url)
        _rest, header = next(rows, (1, []))
        places = _places(header, file.url)
        for line, cells in rows:
            if not any(cells):
                continue
            count += 1
            record = {name: cells[place].strip() for name, place in places.items() if place < len(cells)}
            arc = _arc(record)
            if isinstance(arc, str):
                name = "arc" if arc == NO_ARC else "shape"
                rejected.add(
                    file.url, arc, line=line, column=header[places[name]], value=record.get(name, "")
                )
                continue
            # An end that is not told lies ahead.
            period = (record.get("end") or "9999", record.get("begin") or "")
            if arc.arc not in versions_of or period > versions_of[arc.arc][0]:
                versions_of[arc.arc] = (period, [arc])
            elif period == versions_of[arc.arc][0]:
                versions_of[arc.arc][1].append(arc)
    return count, {number: _joined(pieces) for number, (_, pieces) in versions_of.items()}


def _joined(pieces: Sequence[Arc]) -> Arc:
    """Return the arc that these records of one period tell of; what is not its shape is the last one's.

    In the published reference 338 of 3,348 arcs come in 2 to 6 records, whose lines follow one another and nowhere lie
    on one another; the last line alone would be less than half of their length.
    """
    shapes = dict.fromkeys(piece.geometry for piece in pieces if piece.geometry)
    if len(shapes) < 2:
        return next((piece for piece in reversed(pieces) if piece.geometry), pieces[-1])
    lines = [part for shape in shapes for part in shapely.get_parts(shapely.from_geojson(shape))]
    line = read_line(shapely.to_geojson(shapely.line_merge(shapely.multilinestrings(lines))))
    if line is None:
        return pieces[-1]
    length, longitude, latitude, geometry = line
    return replace(pieces[-1], length=length, longitude=longitude, latitude=latitude, geometry=geometry)


def _places(header: Sequence[str], url: str) -> dict[str, int]:
    names = [name.strip().casefold() for name in header]
    places = {
        column: names.index(theirs)
        for column, spellings in COLUMNS.items()
        for theirs in spellings
        if theirs in names
    }
    for name in NEEDED:
        if name not in places:
            raise BadRaw(
                _(
                    "%(file)s, line 1: there is no column %(column)s (or %(other)s), so this is no "
                    "reference of arcs. Fetch it again.",
                    file=url,
                    column=repr(COLUMNS[name][0]),
                    other=repr(COLUMNS[name][1]),
                )
            )
    return places


def _read_counts(file: RawFile, missing: set[int], work: Curating, rejected: Rejections) -> dict[int, Arc]:
    """Read the arcs that are missing, from the first row of each in a file of road counts."""
    arcs: dict[int, Arc] = {}
    for row in rows_of_arcs(
        file, missing, work.scratch, lambda: work.report(0.5, _("looking for more arcs"))
    ):
        record = {
            column: row[theirs]
            for theirs in row
            for column, spellings in COLUMNS.items()
            if theirs.casefold() == spellings[0] and row[theirs]
        }
        arc = _arc(record)
        if isinstance(arc, str):  # it is counted all the same, only not on the map
            rejected.add(file.url, arc, column="geo_shape", value=record.get("shape", ""))
            arc = _arc(record | {"shape": ""})
        if isinstance(arc, Arc):
            arcs[arc.arc] = arc
    return arcs


def _arc(record: Mapping[str, str]) -> Arc | str:
    """Return an arc, or why the record tells of none."""
    number = whole_of(record["arc"])
    if number is None:
        return NO_ARC
    line = None
    if record.get("shape") and (line := read_line(record["shape"])) is None:
        return BAD_SHAPE
    length, longitude, latitude, geometry = line or (None, None, None, None)
    return Arc(
        arc=number,
        label=text_of(record.get("label")) or "",
        upstream=whole_of(record.get("upstream", "")),
        upstream_name=text_of(record.get("upstream_name")),
        downstream=whole_of(record.get("downstream", "")),
        downstream_name=text_of(record.get("downstream_name")),
        latitude=latitude,
        longitude=longitude,
        length=length,
        geometry=geometry,
    )


def _table(arcs: Iterable[Arc], zones: pl.DataFrame) -> pl.DataFrame:
    schema = {name: kind for name, kind in ARCS.items() if name != "zone"}
    rows = pl.DataFrame([vars(arc) for arc in arcs], schema=schema)
    return rows.with_columns(zone=locate(zones, rows["longitude"].to_numpy(), rows["latitude"].to_numpy()))


_EXPORT: Final = WholeExport(
    source="arcs",
    dataset="referentiel-comptages-routiers",
    style="csv",
    key=f"batch/{BATCHES[0]}.csv",
    fresh=timedelta(days=7),
    begins=("Identifiant arc", "iu_ac"),
)
SOURCE: Final = Source(
    name="arcs",
    title=N_("Arcs"),
    words=N_("arcs"),
    table=Table(ARCS, ("arc",), whole=True),
    forms=FORMS,
    curate=curate,
    inspect=inspect,
    lacks="roads are on the map only where the counts carry their shapes",
    fetch=partial(fetch_whole, _EXPORT),
)
