"""Give a published version that is a reference model its row in the catalog; say what its files tell of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.catalog import audit
from ecluse.models.folders import SHARED
from ecluse.registry import Manifest, Registry
from ecluse.runtime import Runtime
from ecluse.sentences import _

#: Where reference models lie in the models' store.
REFERENCES: Final = SHARED
#: What a version says of the table it was trained on, so that a row can be made from its files alone.
DESCRIPTION_FILE: Final = "reference.json"
DESCRIPTION_FORMAT: Final = 1
#: The kinds a sketch of a column may have: those of `fraud.references.sketches`.
SKETCH_KINDS: Final = ("number", "datetime", "category", "identifier", "text", "constant")
SKETCH_QUANTILES: Final = 21
SHARES: Final = ("missing", "zeros", "whole", "negative", "distinct")
MOST_ROWS: Final = 2**53


#: Key of the positive value (the value of the label column that means fraud) in a reference's `performance`.
POSITIVE: Final = "positive_value"


@dataclass(frozen=True)
class ReferenceDescription:
    """What a row says of a reference: its domain, columns by name, figures, and its table in sketches.

    `sketches` holds a plain object for each column, with its `importance`; a reference without any is listed,
    and no table is matched with it.
    """

    domain: str
    columns: list[str]
    performance: dict[str, Any]
    target: str = ""
    rows: int | None = None
    fraud_rate: float | None = None
    sketches: list[dict[str, Any]] = field(default_factory=list)
    #: The value of the target that means fraud; empty in those built before it was kept.
    positive: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `DESCRIPTION_FILE`; `from_dict` gives the same description back."""
        return {
            "format": DESCRIPTION_FORMAT,
            "domain": self.domain,
            "columns": self.columns,
            "performance": self.performance,
            "target": self.target,
            "rows": self.rows,
            "fraud_rate": self.fraud_rate,
            "sketches": self.sketches,
            "positive": self.positive,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReferenceDescription:
        """Raise ValueError, KeyError or TypeError for what `to_dict` has not written."""
        if data["format"] != DESCRIPTION_FORMAT:
            raise ValueError(
                _(
                    "it has format %(number)s; this Écluse reads %(other)s",
                    number=repr(data["format"]),
                    other=DESCRIPTION_FORMAT,
                )
            )
        description = cls(
            domain=_text(data["domain"], "domain")[:100],
            columns=[_text(name, "columns") for name in _list(data["columns"], "columns")],
            performance=dict(data["performance"]),
            target=_text(data["target"], "target")[:300],
            rows=None if data["rows"] is None else int(_number(data["rows"], "rows", 0, MOST_ROWS)),
            fraud_rate=None
            if data["fraud_rate"] is None
            else _number(data["fraud_rate"], "fraud_rate", 0, 1),
            sketches=[dict(sketch) for sketch in _list(data["sketches"], "sketches")],
            positive=_text(data.get("positive", ""), "positive")[:300],
        )
        for name, value in description.performance.items():
            if name != "intervals" and value is not None:
                _number(value, f"performance.{name}")
        check_description(description.sketches, description.performance)
        return description


def check_description(sketches: Sequence[Mapping[str, Any]], performance: Mapping[str, Any]) -> None:
    """ValueError, KeyError or TypeError where a row's sketches or figures are none that matching and pages read."""
    for sketch in sketches:
        path = f"sketches.{_text(sketch['name'], 'sketches')}"
        if sketch["kind"] not in SKETCH_KINDS:
            raise ValueError(f"{path}.kind", f"{sketch['kind']!r:.100}")
        _number(sketch["importance"], f"{path}.importance", 0)
        for share in SHARES:
            _number(sketch.get(share, 0.0), f"{path}.{share}", 0, 1)
        quantiles = _list(sketch.get("quantiles", ()), f"{path}.quantiles")
        if len(quantiles) not in (0, SKETCH_QUANTILES):
            raise ValueError(f"{path}.quantiles", f"{len(quantiles)} ≠ {SKETCH_QUANTILES}")
        for value in quantiles:
            _number(value, f"{path}.quantiles")
        for level in _list(sketch.get("top", ()), f"{path}.top"):
            value, share = _list(level, f"{path}.top")
            _text(value, f"{path}.top")
            _number(share, f"{path}.top", 0, 1)
    for name, bounds in dict(performance.get("intervals") or {}).items():
        if bounds is None:
            continue
        low, high = _list(bounds, f"intervals.{name}")
        _number(low, f"intervals.{name}")
        _number(high, f"intervals.{name}")
    # What else is there is shown as JSON, which knows no infinity.
    json.dumps([list(sketches), performance], allow_nan=False)


def _text(value: object, path: str) -> str:
    """Text that every catalog can hold."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(path, f"{value!r:.100}")
    value.encode()
    return value


def _list(value: object, path: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(path, f"{value!r:.100}")
    return value


def _number(value: object, path: str, low: float = -math.inf, high: float = math.inf) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= float(str(value)) <= high:
        raise ValueError(path, f"{value!r:.100}")
    return float(str(value))


def read_description(file: Path | None) -> tuple[ReferenceDescription | None, str | None]:
    """Return what a `DESCRIPTION_FILE` says, and why it cannot be read, where it is there and cannot."""
    if file is None:
        return None, None
    try:
        return ReferenceDescription.from_dict(json.loads(file.read_bytes())), None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return (
            None,
            _(
                "%(file)s cannot be read, so no table is matched with this reference: %(error)s",
                file=DESCRIPTION_FILE,
                error=repr(error),
            ),
        )


def record_shared(
    runtime: Runtime, user_id: str, registry: Registry, manifest: Manifest, files: Mapping[str, Path]
) -> list[str]:
    """Make a version that was imported for everyone the reference of its name; say what of its files cannot be read."""
    description, problem = read_description(files.get(DESCRIPTION_FILE))
    if description is None:
        description = ReferenceDescription(
            domain=manifest.metadata.get("domain") or _domain(manifest.name),
            columns=manifest.metadata.get("columns", []),
            performance=manifest.metadata.get("metrics", {}),
        )
    keep_reference(runtime, user_id, registry, manifest, description)
    return [] if problem is None else [problem]


def _domain(name: str) -> str:
    """Return what a model is about, by its name: `dataset40` is of the domain `dataset`."""
    return re.sub(r"[\d._-]+$", "", name) or name


def keep_reference(
    runtime: Runtime, user_id: str, registry: Registry, manifest: Manifest, description: ReferenceDescription
) -> ReferenceModel:
    """Make a committed version the reference of its name; doing it again changes nothing. The row that is kept."""
    url = registry.url_of(manifest.name, manifest.version)
    reference = ReferenceModel(
        name=manifest.name,
        domain=description.domain,
        columns=description.columns,
        performance=description.performance
        | ({POSITIVE: description.positive} if description.positive else {}),
        prefix=runtime.stores.locate(url).key,
        url=url,
        version=manifest.version,
        manifest_digest=manifest.digest,
        size_bytes=manifest.size,
        target=description.target,
        rows=description.rows,
        fraud_rate=description.fraud_rate,
        sketches=description.sketches,
        created_by=user_id,
    )
    with runtime.catalog.write() as transaction:
        row = references.keep_reference(transaction, reference)
        title = f"{manifest.name} {manifest.version}"
        audit.record(transaction, user_id, "model.reference", title, url=url)
        return row
