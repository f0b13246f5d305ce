"""Tell the core what this application is: labelled images, and classifiers that are trained on them."""

from __future__ import annotations

from typing import Final

from ecluse.application import Application, Command, StoredKind
from ecluse.sentences import N_

APPLICATION: Final = Application(
    name="plants",
    title=N_("Plants"),
    order=30,
    icon=(
        '<path d="M10 17V9.5M10 9.5C10 6 7.5 4 3.5 4c0 3.6 2.3 5.8 6.5 5.5'
        'M10 12.5c0-3 2-5 6.5-5 0 3.4-2.3 5.3-6.5 5"/>'
    ),
    pages=(
        "ecluse.apps.plants.pages.classify:router",
        "ecluse.apps.plants.pages.files:router",
        "ecluse.apps.plants.pages.overview:router",
        "ecluse.apps.plants.pages.images:router",
        "ecluse.apps.plants.pages.sets:router",
    ),
    api=("ecluse.apps.plants.api.answers:router", "ecluse.apps.plants.api.sets:router"),
    metrics="ecluse.apps.plants.metrics:METRICS",
    commands={
        "plants": Command(
            "ecluse.apps.plants.commands.main:plants", "Import, audit and learn from labelled images."
        )
    },
    rows=("ecluse.apps.plants.tables",),
    logged={
        "images.audit_failed": N_("search for faulty images failed"),
        "images.audited": N_("faulty images searched for"),
        "images.import": N_("import of images begun"),
        "images.import_failed": N_("import of images failed"),
        "images.imported": N_("images imported"),
        "images.relabel": N_("images labelled otherwise"),
        "images.remove": N_("set of images removed"),
        "images.sample": N_("sample of images begun"),
        "images.sample_failed": N_("sample of images failed"),
        "images.set": N_("set of images made"),
        "images.split": N_("images divided for training and tests"),
        "images.state": N_("images kept or left out"),
        "model.train": N_("training begun"),
    },
    sharable={"sets": "ecluse.apps.plants.sharing:SETS"},
    owned={"sets_of_images": "ecluse.apps.plants.tables:ImageSet"},
    stored={"images": StoredKind(N_("Images"), N_("Set of images"), "/plants", "/plants/{id}")},
    model_page="ecluse.apps.plants.pages.models:page",
    runs="ecluse.apps.plants.runs:RUNS",
    card="ecluse.apps.plants.pages.home:card",
    latest="ecluse.apps.plants.pages.home:latest",
    uploads=(
        "/api/plants/sets",
        "/api/plants/predict",
        "/api/plants/predict/batch",
        "/plants/classify",
        "/plants/import",
    ),
    web="ecluse.apps.plants.http.serving:hold_models",
    inference="ecluse.apps.plants.inference:open_model",
    jobs=(
        "ecluse.apps.plants.jobs.importing:KINDS",
        "ecluse.apps.plants.jobs.audit:KINDS",
        "ecluse.apps.plants.sample:KINDS",
        "ecluse.apps.plants.jobs.training:KINDS",
    ),
    due=("ecluse.apps.plants.jobs.importing:reconcile", "ecluse.apps.plants.jobs.training:reconcile"),
)
