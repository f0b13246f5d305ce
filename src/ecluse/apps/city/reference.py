"""Keep the streets and the zones of a city as documents, for maps and names; written where they changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl
import shapely

from ecluse.apps.city.curated import Curated, Part
from ecluse.apps.city.memory import MEMORY, Memory
from ecluse.documents import Body, Document, Documents

#: The kind of the documents that say what was written: keys "arcs" and "zones".
STATE: Final = "reference"
ARCS: Final = "reference/arcs"
ZONES: Final = "reference/zones"
#: Changes with the form of these documents.
FORM: Final = 2
ARCS_IN_CHUNK: Final = 250
#: About what an arc of these takes in memory.
ARC_BYTES: Final = 2_000
#: The border of a zone has no more corners than this on a map.
CORNERS: Final = 300


def write_reference(documents: Documents, curated: Curated) -> None:
    """Bring both up to date with the curated layer."""
    state = documents.get_many([(STATE, "arcs"), (STATE, "zones")])
    for table, kind, chunks in (("arcs", ARCS, arc_chunks), ("zones", ZONES, zone_bodies)):
        part = curated.whole(table)
        if part is None:
            continue
        description = _description(part)
        if (state.get((STATE, table)) or {}).get("made_from") == description["made_from"]:
            continue
        documents_ = dict(chunks(curated.read_whole(table)))
        documents.put_many(Document(kind, key, body) for key, body in documents_.items())
        for key in documents.keys(kind):
            if key not in documents_:
                documents.delete(kind, key)
        documents.put(STATE, table, description | {"chunks": len(documents_)})


def read_arcs(documents: Documents, curated: Curated, memory: Memory = MEMORY) -> Sequence[Body]:
    """Return the arcs that `write_reference` wrote; nobody may change them, as they are remembered."""
    part = curated.whole("arcs")
    key = None if part is None else (ARCS, _description(part)["made_from"])
    arcs: Sequence[Body] | None = None if key is None else memory.get(key)
    if arcs is None:
        arcs = [arc for chunk in documents.all(ARCS) for arc in chunk.body["arcs"]]
        if key is not None:
            memory.put(key, arcs, ARC_BYTES * len(arcs))
    return arcs


def remove_reference(documents: Documents) -> None:
    """Remove both; the next day that is computed writes them again."""
    for table, kind in (("arcs", ARCS), ("zones", ZONES)):
        documents.delete(STATE, table)
        documents.delete_kind(kind)


def _description(part: Part) -> Body:
    return {"made_from": f"{FORM}-{part.sha256}", "rows": part.rows}


def arc_chunks(arcs: pl.DataFrame) -> Iterator[tuple[str, Body]]:
    """(key, body) of every `ARCS_IN_CHUNK` arcs, in the order of their ids."""
    ordered = arcs.sort("arc")
    for n, start in enumerate(range(0, ordered.height, ARCS_IN_CHUNK)):
        rows = ordered.slice(start, ARCS_IN_CHUNK).iter_rows(named=True)
        yield f"{n:03d}", {"arcs": [_arc(row) for row in rows]}


def zone_bodies(zones: pl.DataFrame) -> Iterator[tuple[str, Body]]:
    """(key, body) of each zone, its border simplified to at most `CORNERS` corners."""
    for row in zones.sort("zone").iter_rows(named=True):
        shape = simplified(shapely.from_geojson(row["geometry"]))
        geometry = json.loads(shapely.to_geojson(shape))
        body = {"zone": row["zone"], "name": row["name"], "area": row["area"], "geometry": _rounded(geometry)}
        yield f"{row['zone']:02d}", body


def simplified(shape: shapely.Geometry) -> shapely.Geometry:
    """Return the shape with at most `CORNERS` corners; one that has no more stays as it is. Degrees."""
    tolerance, simpler = 1e-5, shape
    while shapely.get_num_coordinates(simpler) > CORNERS and tolerance < 1:
        simpler = shapely.simplify(shape, tolerance, preserve_topology=True)
        tolerance *= 1.5
    return simpler


def _arc(row: dict[str, Any]) -> Body:
    names = ("arc", "label", "zone", "length", "latitude", "longitude")
    return {name: row[name] for name in names} | {
        "upstream": row["upstream_name"],
        "downstream": row["downstream_name"],
        "upstream_node": row["upstream"],
        "downstream_node": row["downstream"],
        "coordinates": _round(_line(row["geometry"])) if row["geometry"] else [],
    }


def _line(geometry: str) -> Any:
    """Return its points; of an arc of lines apart from each other, those of the longest, as a map draws one per arc."""
    parts = shapely.get_parts(shapely.from_geojson(geometry))
    return shapely.get_coordinates(max(parts, key=shapely.length)).tolist()


def _rounded(geometry: dict[str, Any]) -> dict[str, Any]:
    """To a millionth of a degree, which is 11 cm."""
    return geometry | {"coordinates": _round(geometry["coordinates"])}


def _round(value: Any) -> Any:
    return [_round(item) for item in value] if isinstance(value, list | tuple) else round(value, 6)
