"""Tell the core what this application is: models that find fraud in tables of transactions."""

from __future__ import annotations

from typing import Final

from ecluse.application import Application, Command, StoredKind
from ecluse.sentences import N_

APPLICATION: Final = Application(
    name="fraud",
    title=N_("Fraud"),
    order=10,
    icon='<path d="M3 4h14M3 8h14M3 12h8"/><path d="m13 13 4 4m0-4-4 4"/>',
    addresses=("/datasets",),
    pages=(
        "ecluse.apps.fraud.pages.overview:router",
        "ecluse.apps.fraud.pages.datasets:router",
        "ecluse.apps.fraud.pages.references:router",
        "ecluse.apps.fraud.pages.matches:router",
        "ecluse.apps.fraud.pages.predictions:router",
        "ecluse.apps.fraud.pages.labelling:router",
        "ecluse.apps.fraud.pages.monitoring:router",
        "ecluse.apps.fraud.pages.comparisons:router",
        "ecluse.apps.fraud.pages.model:router",
    ),
    api=(
        "ecluse.apps.fraud.api.datasets:router",
        "ecluse.apps.fraud.api.training:router",
        "ecluse.apps.fraud.api.predictions:router",
        "ecluse.apps.fraud.api.references:router",
        "ecluse.apps.fraud.api.unlabelled:router",
        "ecluse.apps.fraud.api.labels:router",
        "ecluse.apps.fraud.api.monitoring:router",
    ),
    metrics="ecluse.apps.fraud.metrics:METRICS",
    commands={
        "fraud": Command(
            "ecluse.apps.fraud.commands.main:fraud", "Analyze, train on and score tables of transactions."
        )
    },
    rows=("ecluse.apps.fraud.rows.tables",),
    owned={
        "tables": "ecluse.apps.fraud.rows.tables:Dataset",
        "scored_tables": "ecluse.apps.fraud.rows.tables:Prediction",
        "trainings": "ecluse.apps.fraud.rows.tables:FraudTraining",
        "labels": "ecluse.apps.fraud.rows.tables:Label",
        "inspections": "ecluse.apps.fraud.rows.tables:Inspection",
    },
    logged={
        "dataset.map": N_("columns of a table matched"),
        "dataset.remove": N_("table removed"),
        "dataset.upload": N_("table uploaded"),
        "labels.put": N_("labels of rows given"),
        "model.compare": N_("comparison on the same rows begun"),
        "model.ensemble": N_("ensemble begun"),
        "model.learn": N_("training with given labels begun"),
        "model.monitor": N_("watching of a model begun"),
        "model.predict": N_("scoring begun"),
        "model.questions": N_("search for rows to label begun"),
        "model.reference": N_("reference model published"),
        "model.reference.build": N_("reference model begun"),
        "model.reference.remove": N_("reference model removed"),
        "model.retrain": N_("training on newer rows begun"),
        "model.train": N_("training begun"),
    },
    sharable={
        "results": "ecluse.apps.fraud.sharing:RESULT_KIND",
        "tables": "ecluse.apps.fraud.sharing:TABLE_KIND",
    },
    inference="ecluse.apps.fraud.inference:open_scorer",
    scores="/models/{name}/{version}#score",
    tables="ecluse.apps.fraud.jobs.tables:readable",
    model_page="ecluse.apps.fraud.pages.model:page",
    model_comparison="ecluse.apps.fraud.pages.model:comparison",
    sources="ecluse.apps.fraud.pages.model:sources",
    runs="ecluse.apps.fraud.runs:RUNS",
    card="ecluse.apps.fraud.pages.home:card",
    latest="ecluse.apps.fraud.pages.home:latest",
    shared="ecluse.apps.fraud.references.published:record_shared",
    stored={
        "uploads": StoredKind(N_("Tables"), N_("Table"), "/fraud", "/fraud/d/{id}"),
        "results": StoredKind(N_("Results"), N_("Result"), "/fraud/p", "/fraud/p/{id}"),
    },
    uploads=("/api/upload", "/fraud/upload"),
    jobs=(
        "ecluse.apps.fraud.jobs.main:KINDS",
        "ecluse.apps.fraud.jobs.ensembles:KINDS",
        "ecluse.apps.fraud.jobs.monitoring:KINDS",
        "ecluse.apps.fraud.jobs.references:KINDS",
        "ecluse.apps.fraud.jobs.reference_evaluation:KINDS",
    ),
)
