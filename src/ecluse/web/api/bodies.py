"""Turn rows and jobs into the bodies the API answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ecluse.application import known_metrics
from ecluse.catalog.journal import Amount
from ecluse.catalog.tables import (
    Migration,
    ModelAlias,
    ModelVersion,
)
from ecluse.jobs import Job
from ecluse.migration import Estimate, Summary
from ecluse.models import Place
from ecluse.registry import ManifestFile
from ecluse.web.api.schemas import (
    AliasBody,
    AmountBody,
    ComparisonBody,
    FigureBody,
    FileBody,
    FilePairBody,
    JobBody,
    MigrationBody,
    MigrationDetail,
    ModelBody,
    RestBody,
    SettingBody,
)
from ecluse.web.comparison import Comparison, Figure, figures_of


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metrics.get(name) for name, metric in known_metrics().items() if metric.is_summary}


def model_body(
    row: ModelVersion, aliases: Sequence[ModelAlias] = (), place: Place | None = None
) -> ModelBody:
    """Describe a version, with those of `aliases` that point at it.

    `place`: by which name the reader knows the model; of what they may not change, where it lies is left out.
    """
    metrics = row.report.get("metrics", {})
    return ModelBody(
        name=row.name if place is None else place.address,
        owner=None if place is None else place.handle,
        version=row.version,
        application=row.application,
        aliases=[alias.alias for alias in aliases if (alias.name, alias.version) == (row.name, row.version)],
        url=row.url if place is None or place.may_change else "",
        size_bytes=row.size_bytes,
        digest=row.manifest_digest,
        metrics=_summary(metrics) if metrics else dict(figures_of(row)),
        threshold=row.report.get("threshold"),
        metadata=row.details,
        verified_at=row.verified_at,
        damaged_at=row.damaged_at,
        damage=row.damage,
        created_at=row.created_at,
    )


def file_body(file: ManifestFile) -> FileBody:
    return FileBody(path=file.path, size=file.size, sha256=file.sha256)


def alias_body(row: ModelAlias, place: Place | None = None) -> AliasBody:
    """Describe an alias; `place`: by which name the reader knows the model."""
    name = row.name if place is None else place.address
    return AliasBody(name=name, alias=row.alias, version=row.version, updated_at=row.updated_at)


def comparison_body(comparison: Comparison) -> ComparisonBody:
    return ComparisonBody(
        a=comparison.a.version,
        b=comparison.b.version,
        same_test=comparison.same_test,
        figures=[_figure_body(figure) for figure in comparison.figures],
        settings=[
            SettingBody(name=each.name, a=each.a, b=each.b) for each in comparison.settings if each.differs
        ],
        columns_a=list(comparison.columns_a),
        columns_b=list(comparison.columns_b),
        files=[
            FilePairBody(
                path=pair.path,
                a=file_body(pair.a) if pair.a else None,
                b=file_body(pair.b) if pair.b else None,
                same=not pair.differs,
            )
            for pair in comparison.files or ()
        ],
    )


def _figure_body(figure: Figure) -> FigureBody:
    return FigureBody(
        name=figure.name,
        a=figure.a,
        b=figure.b,
        a_interval=figure.a_interval,
        b_interval=figure.b_interval,
        difference=figure.difference,
        verdict=figure.verdict,
    )


def migration_body(row: Migration) -> MigrationBody:
    return MigrationBody.model_validate(
        {
            "id": row.id,
            "source": row.source,
            "destination": row.destination,
            "prefix": row.prefix,
            "switches_rows": row.switches_rows,
            "state": row.state,
            "rows_switched": row.rows_switched,
            "job": row.job_id,
            "error": row.error,
            "created_at": row.created_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
        }
    )


def migration_detail(summary: Summary, rest: Estimate) -> MigrationDetail:
    return MigrationDetail(
        **migration_body(summary.migration).model_dump(),
        active=summary.active,
        amounts={state: _amount_body(amount) for state, amount in summary.amounts.items()},
        everything=_amount_body(summary.everything),
        settled=_amount_body(summary.settled),
        conflicts=list(summary.conflicts),
        damaged=list(summary.damaged),
        gone=list(summary.gone),
        copied_again=summary.copied_again,
        rest=RestBody(
            objects=rest.objects,
            size_bytes=rest.size,
            puts=rest.puts,
            gets=rest.gets,
            seconds=round(rest.seconds, 1),
            measured=rest.measured,
        ),
    )


def _amount_body(amount: Amount) -> AmountBody:
    return AmountBody(objects=amount.objects, size_bytes=amount.size)


def job_body(job: Job, result: Mapping[str, Any] | None = None) -> JobBody:
    """Describe a job, with what it made where that is given."""
    values = {name: getattr(job, name) for name in JobBody.model_fields if name != "result"}
    return JobBody.model_validate(values | {"result": result})
