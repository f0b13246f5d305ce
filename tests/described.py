"""Make folders of reference models that can be matched without training one: their tables' sketches, no model."""

from __future__ import annotations

import json
from pathlib import Path

from ecluse.apps.fraud.performance.parts import Importance
from ecluse.apps.fraud.references.describing import describe
from ecluse.apps.fraud.references.institutions import institution, write_labelled
from ecluse.apps.fraud.references.published import DESCRIPTION_FILE, ReferenceDescription
from ecluse.apps.fraud.tables.columns import infer_columns
from ecluse.tabular.dataset import open_table


def write_described(name: str, folder: Path, scratch: Path) -> Path:
    """A folder to import as the reference of a simulated institution; every column counts alike."""
    one = institution(name)
    path = write_labelled(one, scratch / f"{name}.csv")
    with open_table(path) as table:
        specs = [
            spec
            for spec in infer_columns(table.sample(2_000))
            if spec.name not in (one.target, one.identifier)
        ]
        importances = [Importance(column=spec.name, feature=spec.name, share=1.0) for spec in specs]
        found = describe(table, specs, one.target, "1", importances)
    told = ReferenceDescription(
        domain=one.domain,
        columns=[spec.name for spec in specs],
        performance={"roc_auc": 0.9, "average_precision": 0.5},
        target=one.target,
        rows=found.rows,
        fraud_rate=found.fraud_rate,
        sketches=found.sketches,
    )
    target = folder / name
    target.mkdir(parents=True)
    (target / DESCRIPTION_FILE).write_text(json.dumps(told.to_dict()))
    return target
