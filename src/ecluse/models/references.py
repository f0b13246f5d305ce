"""Give a published version that is a reference model its row in the catalog; say what its files tell of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ecluse.catalog import audit, references
from ecluse.catalog.tables import ReferenceModel
from ecluse.registry import Manifest, Registry
from ecluse.runtime import Runtime

#: Where reference models lie in the models' store.
REFERENCES: Final = "automl_models"
#: What a version says of the table it was trained on, so that a row can be made from its files alone.
DESCRIPTION_FILE: Final = "reference.json"
DESCRIPTION_FORMAT: Final = 1


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

    def to_dict(self) -> dict[str, Any]:
        """The content of `DESCRIPTION_FILE`; `from_dict` gives the same description back."""
        return {
            "format": DESCRIPTION_FORMAT,
            "domain": self.domain,
            "columns": self.columns,
            "performance": self.performance,
            "target": self.target,
            "rows": self.rows,
            "fraud_rate": self.fraud_rate,
            "sketches": self.sketches,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReferenceDescription:
        """Raises ValueError, KeyError or TypeError for what `to_dict` has not written."""
        if data["format"] != DESCRIPTION_FORMAT:
            raise ValueError(f"it has format {data['format']!r}; this Écluse reads {DESCRIPTION_FORMAT}")
        sketches = [dict(one) for one in data["sketches"]]
        if any(not isinstance(one["name"], str) or not one["importance"] >= 0 for one in sketches):
            raise ValueError("a sketch has no name, or no importance")
        return cls(
            domain=str(data["domain"])[:100],
            columns=[str(name) for name in data["columns"]],
            performance=dict(data["performance"]),
            target=str(data["target"])[:300],
            rows=None if data["rows"] is None else int(data["rows"]),
            fraud_rate=None if data["fraud_rate"] is None else float(data["fraud_rate"]),
            sketches=sketches,
        )


def read_description(file: Path | None) -> tuple[ReferenceDescription | None, str | None]:
    """What a `DESCRIPTION_FILE` says, and why it cannot be read, where it is there and cannot."""
    if file is None:
        return None, None
    try:
        return ReferenceDescription.from_dict(json.loads(file.read_bytes())), None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return (
            None,
            f"{DESCRIPTION_FILE} cannot be read, so no table is matched with this reference: {error!r}",
        )


def keep_reference(
    runtime: Runtime, user_id: str, registry: Registry, manifest: Manifest, told: ReferenceDescription
) -> ReferenceModel:
    """Make a committed version the reference of its name; doing it again changes nothing. The row that is kept."""
    url = registry.url_of(manifest.name, manifest.version)
    parts, located = urlsplit(url), runtime.stores.locate(url)
    reference = ReferenceModel(
        name=manifest.name,
        domain=told.domain,
        columns=told.columns,
        performance=told.performance,
        storage_type="local" if parts.scheme == "file" else parts.scheme,
        bucket=parts.netloc or None,
        prefix=parts.path.strip("/") if parts.netloc else located.key,
        url=url,
        version=manifest.version,
        manifest_digest=manifest.digest,
        size_bytes=manifest.size,
        target=told.target,
        rows=told.rows,
        fraud_rate=told.fraud_rate,
        sketches=told.sketches,
        created_by=user_id,
    )
    with runtime.catalog.write() as transaction:
        kept = references.keep_reference(transaction, reference)
        title = f"{manifest.name} {manifest.version}"
        audit.record(transaction, user_id, "model.reference", title, url=url)
        return kept
