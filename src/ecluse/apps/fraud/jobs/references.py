"""Build the library of reference models: one durable job for each labelled table or simulated institution.

`start_building` checks and queues, and imports nothing heavy; the jobs run on any number of workers. What a job
publishes bears the digest of its recipe, so that what is built already is not built again, and a job that was
killed anywhere neither loses nor doubles a reference when the next worker takes it up.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ecluse import models
from ecluse.apps.fraud import links
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.metrics import SUMMARY
from ecluse.apps.fraud.performance.trained import TrainingReport
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.references.published import (
    DESCRIPTION_FILE,
    REFERENCES,
    ReferenceDescription,
    keep_reference,
)
from ecluse.apps.fraud.rows import datasets, references
from ecluse.apps.fraud.rows.datasets import layout_of
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.training.request import MIN_BUDGET, TrainingRequest
from ecluse.catalog import audit
from ecluse.catalog.tables import User, new_id
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import (
    DigestMismatch,
    InvalidInput,
    ManifestInvalid,
    NotFound,
    SignatureInvalid,
    VersionNotFound,
)
from ecluse.jobs import JobKind, Task, patiently
from ecluse.registry import ManifestFile, checked_name
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num
from ecluse.storage import safe_filename
from ecluse.typed_json import write

T = TypeVar("T")
logger = logging.getLogger(__name__)
KIND: Final = "build_reference"
#: Seconds of training for one reference of the demonstration library.
DEMO_BUDGET: Final = 8.0
MOST_BUDGET: Final = 3_600.0
#: Raised where a simulation changes, so that its references are built anew.
SIMULATION: Final = 1
#: Raised where the rule changes by which a value of a label means fraud, so that references are built anew.
MEANING: Final = 2
#: Figures of a reference that a list shows.


@dataclass(frozen=True)
class Recipe:
    """What a reference is to be made from: a stored table, or a simulated institution.

    `content` is the SHA-256 of the table, or names the simulation. A table that was stored for this alone
    (`keeps_table` false) is removed once the reference is built; after a failure it stays, to be looked at, until
    a job builds the reference.
    """

    name: str
    domain: str
    content: str
    institution: str | None = None
    dataset_id: str | None = None
    keeps_table: bool = True
    target: str | None = None
    positive: str | None = None
    keep: tuple[str, ...] = ()
    budget_s: float = DEMO_BUDGET
    with_sample: bool = True
    seed: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what comes out."""
        deciding: list[Any] = [
            self.content,
            self.domain,
            self.target,
            self.budget_s,
            self.with_sample,
            self.seed,
        ]
        # Simulated tables have one answer; of others, what means fraud was decided otherwise before.
        if self.institution is None:
            deciding += [self.positive, sorted(self.keep), MEANING]
        return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()


@dataclass(frozen=True)
class Started:
    """A reference and the job that builds it; None where it is in the library as it would be built."""

    name: str
    job_id: str | None


# Start


def start_demo(
    runtime: Runtime,
    user: User,
    *,
    domains: Sequence[str] = (),
    budget_s: float = DEMO_BUDGET,
    with_sample: bool = True,
) -> list[Started]:
    """Queue the demonstration library, or some domains of it: five institutions a domain, a job for each.

    Raises:
        Forbidden: the user is no administrator.
        InvalidInput: there is no such domain, or the budget is out of range.
    """
    from ecluse.apps.fraud.references import institutions

    library.expect_administrator(user)
    known = institutions.library()
    unknown = set(domains) - {institution.domain for institution in known}
    if unknown:
        raise InvalidInput(
            _(
                "No simulated domain is called %(name)s. There are: %(names)s.",
                name=repr(sorted(unknown)[0]),
                names=", ".join(dict.fromkeys(institution.domain for institution in known)),
            )
        )
    recipes = [
        Recipe(
            name=institution.name,
            domain=institution.domain,
            content=f"simulation:{SIMULATION}:{institution.name}",
            institution=institution.name,
            target=institution.target,
            budget_s=budget_s,
            with_sample=with_sample,
        )
        for institution in known
        if not domains or institution.domain in domains
    ]
    return start_building(runtime, user, recipes)


def start_building(runtime: Runtime, user: User, recipes: Sequence[Recipe]) -> list[Started]:
    """Queue a job for each recipe whose reference is not built yet and not being built.

    Raises:
        Forbidden: the user is no administrator.
        InvalidInput: a name cannot be a model's, or a budget is out of range.
    """
    library.expect_administrator(user)
    for recipe in recipes:
        checked_name(recipe.name)
        if not MIN_BUDGET <= recipe.budget_s <= MOST_BUDGET:
            raise InvalidInput(
                _(
                    "A budget of %(number)s s is out of range for a reference; use 2 s to 1 h.",
                    number=num(recipe.budget_s, "g"),
                )
            )
    running = running_jobs(runtime, user)
    return [_start(runtime, user, recipe, running.get((recipe.name, recipe.digest))) for recipe in recipes]


def running_jobs(runtime: Runtime, user: User) -> dict[tuple[str, str], str]:
    """Return the user's jobs that build references now, by the name and the digest of the recipe."""
    active = runtime.jobs.list(user.id, limit=1000, active=True)
    recipes = [(_recipe(job.subject["recipe"]), job.id) for job in active if job.kind == KIND]
    return {(recipe.name, recipe.digest): job_id for recipe, job_id in recipes}


def is_built(runtime: Runtime, recipe: Recipe) -> bool:
    """Tell whether the library's reference of this name was made by this very recipe, and is still there."""
    return _built_version(runtime, recipe) is not None


def domain_of(name: str) -> str:
    """Return what a reference is about, by its name: `cards_2` is of the domain `cards`."""
    return name.rstrip("0123456789._-") or name


def _start(runtime: Runtime, user: User, recipe: Recipe, running: str | None) -> Started:
    if running is not None:
        return Started(recipe.name, running)
    if is_built(runtime, recipe):
        return Started(recipe.name, None)
    with runtime.catalog.write() as transaction:
        audit.record(transaction, user.id, "model.reference.build", recipe.name, domain=recipe.domain)
        subject = {"recipe": asdict(recipe)}
        job_id = runtime.jobs.enqueue(
            KIND, "train", user.id, recipe.name, subject, job_id=new_id(), transaction=transaction
        )
    return Started(recipe.name, job_id)


def _built_version(runtime: Runtime, recipe: Recipe) -> str | None:
    with runtime.catalog.read() as transaction:
        row = references.find_reference(transaction, recipe.name)
    if row is None or not row.sketches:
        return None
    try:
        manifest = library.manifest_of(runtime, row)
    except (VersionNotFound, ManifestInvalid, SignatureInvalid) as error:
        logger.warning("Reference %s is built anew: %s", recipe.name, error)
        return None
    return row.version if manifest.metadata.get("recipe") == recipe.digest else None


def _recipe(data: dict[str, Any]) -> Recipe:
    return Recipe(**data | {"keep": tuple(data.get("keep", ()))})


# The job


def run_building(runtime: Runtime, task: Task, recipe: dict[str, Any]) -> None:
    read_recipe = _recipe(recipe)
    if not task.step("look", is_built, runtime, read_recipe):
        built = task.step("train", _build, runtime, task, read_recipe)
        task.step("publish", _publish, runtime, task, read_recipe, built)
    task.step("tidy", _tidy, runtime, task, read_recipe)


def _build(runtime: Runtime, task: Task, recipe: Recipe) -> dict[str, Any]:
    """Train, describe and upload under a version claimed by this attempt; what `_publish` needs."""
    from ecluse.apps.fraud.actions.uploads import read_upload
    from ecluse.apps.fraud.features.features import FeatureEngineer
    from ecluse.apps.fraud.references.describing import describe, write_sample
    from ecluse.apps.fraud.scoring.model import load_model
    from ecluse.apps.fraud.training.training import train
    from ecluse.tabular.dataset import open_table

    with runtime.scratch() as folder:
        task.report("read", 0.0)
        destination = folder / "model"
        destination.mkdir()
        path, dataset = _table(runtime, task, recipe, folder)
        plan = workflows.plan_training(dataset, _request(recipe))
        memory = runtime.settings.reader_max_bytes
        own = recipe.institution is not None  # a table that we have written just now
        with (
            open_table(path)
            if own
            else read_upload(path, dataset.filename, layout_of(dataset), folder=folder, memory=memory)
        ) as table:
            report = train(
                table,
                plan,
                destination,
                task.report,
                checkpoints=checkpoints_of(runtime, task),
            )
            task.report("save", 0.96)
            read_from = table.layout.sentence() if recipe.institution is None and table.layout else None
            named = [name for name in (plan.customer_column, *plan.identifier_columns) if name]
            described = describe(
                table,
                load_model(destination).specs,
                plan.target,
                report.positive_value,
                report.importances,
                personal=named,
            )
        # The library is everyone's: what was measured above is the model that knew its customers.
        FeatureEngineer.load(destination).forgetting().save(destination)
        description = ReferenceDescription(
            domain=recipe.domain,
            columns=[str(sketch["name"]) for sketch in described.sketches],
            performance=_performance(report),
            target=plan.target,
            rows=described.rows,
            fraud_rate=described.fraud_rate,
            sketches=described.sketches,
            positive=report.positive_value,
        )
        text = json.dumps(description.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        (destination / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
        if recipe.with_sample:
            write_sample(described, destination)
        task.report("save", 0.98)
        uploaded = patiently(
            lambda: models.upload_claimed(
                runtime.registry_in(REFERENCES), recipe.name, destination, task.job_id
            )
        )
    return uploaded | {"description": description.to_dict(), "plan": plan.to_dict(), "read_from": read_from}


def _publish(runtime: Runtime, task: Task, recipe: Recipe, built: dict[str, Any]) -> None:
    """Commit the version and give it its row; nothing is doubled where another job has built the same meanwhile."""
    url = str(built["url"])
    version = url.rsplit("/", 1)[1]
    known = _built_version(runtime, recipe)
    if known is not None:
        if known != version:
            _remove_spare(runtime, recipe, url)
        return
    registry = runtime.registry_at(url)
    description = ReferenceDescription.from_dict(built["description"])
    manifest = registry.commit(
        recipe.name,
        version,
        tuple(ManifestFile(**file) for file in built["files"]),
        created_by=task.user_id,
        nonce=built["nonce"],
        metadata={
            "application": "fraud",
            "domain": recipe.domain,
            "metrics": {name: description.performance.get(name) for name in SUMMARY},
            "plan": built["plan"],
            "recipe": recipe.digest,
            "read_from": built.get("read_from"),
        },
    )
    keep_reference(runtime, task.user_id, registry, manifest, description)


def _remove_spare(runtime: Runtime, recipe: Recipe, url: str) -> None:
    """Remove what was built here of a version that another job has built, too."""
    if (registry := runtime.registry_to_clear(url)) is not None:
        registry.delete(recipe.name, url.rsplit("/", 1)[1])


def _tidy(runtime: Runtime, task: Task, recipe: Recipe) -> None:
    """Remove the tables that were stored for this reference alone, by this job or by one that failed before."""
    ended = runtime.jobs.list(task.user_id, limit=1000)
    recipes = [_recipe(job.subject["recipe"]) for job in ended if job.kind == KIND and not job.active]
    stored = {
        each.dataset_id
        for each in (recipe, *(each for each in recipes if each.name == recipe.name))
        if each.dataset_id is not None and not each.keeps_table
    }
    for dataset_id in sorted(stored):
        try:
            workflows.remove_dataset(runtime, task.user_id, dataset_id)
        except NotFound:
            continue  # an attempt before this one has removed it, or its owner has


def _table(runtime: Runtime, task: Task, recipe: Recipe, folder: Path) -> tuple[Path, Dataset]:
    """Return the table as a local file, and what is known of it."""
    if recipe.institution is not None:
        return _simulated(recipe.institution, recipe.seed, folder)
    dataset = _read_table(runtime, task, recipe.dataset_id)
    path = folder / safe_filename(dataset.filename)
    located = runtime.stores.locate(dataset.url)
    if located.store.download(located.key, path).sha256 != dataset.sha256:
        raise DigestMismatch(
            _("%(file)s was changed in the store after its upload. Upload it again.", file=dataset.filename)
        )
    return path, dataset


def _read_table(runtime: Runtime, task: Task, dataset_id: str | None) -> Dataset:
    """Wait for the stored table to be read, and return it."""
    while True:
        with runtime.catalog.read() as transaction:
            dataset = datasets.dataset_of(transaction, task.user_id, dataset_id or "")
        if dataset.state != "profiling":
            return dataset
        task.report("read", 0.0, _("Waiting for the table to be read"))
        time.sleep(0.5)


def _simulated(name: str, seed: int, folder: Path) -> tuple[Path, Dataset]:
    from ecluse.apps.fraud.profiling.profile import profile_table
    from ecluse.apps.fraud.references.institutions import institution, write_labelled
    from ecluse.tabular.dataset import open_table

    path = write_labelled(institution(name), folder / f"{name}.csv", seed)
    with open_table(path) as table:
        profile = profile_table(table).to_dict()
    return path, Dataset(filename=path.name, state="ready", profile=profile)


def _request(recipe: Recipe) -> TrainingRequest:
    return TrainingRequest(
        model_name=recipe.name,
        target_column=recipe.target,
        positive_value=recipe.positive,
        keep=recipe.keep,
        budget_s=recipe.budget_s,
        seed=recipe.seed,
    )


def _performance(report: TrainingReport) -> dict[str, Any]:
    figures: dict[str, Any] = {name: report.metrics.get(name) for name in SUMMARY}
    return figures | {"intervals": write(report.intervals), "test_rows": report.rows.get("test")}


KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_building,
        queue="train",
        verb=N_("Build"),
        stages={
            "read": N_("Read"),
            "features": N_("Features"),
            "search": N_("Search"),
            "calibrate": N_("Calibrate"),
            "test": N_("Test"),
            "save": N_("Save"),
        },
        result=links.reference,
    ),
}
