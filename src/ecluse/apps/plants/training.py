"""Ask for a training on a set of images, let it end early, and read what was asked for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.actions import find_readable_set, is_importing
from ecluse.apps.plants.errors import UnusableImages
from ecluse.apps.plants.recipe import ARCHITECTURES, RECIPES, Options, RecipeName, check_choices
from ecluse.catalog import audit, runs
from ecluse.catalog.tables import Run, new_id
from ecluse.errors import CannotRepeat, InvalidInput
from ecluse.jobs import title_of
from ecluse.registry import checked_name
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

APPLICATION: Final = "plants"
#: The job that trains, and its queue.
KIND: Final = "plants_train"
QUEUE: Final = "train"
#: The tag that names the files in which a repeated training came out differently.
OTHER_FILES: Final = "other_files"
MAX_EPOCHS: Final = 1000
MAX_BATCH: Final = 1024
MAX_SEED: Final = 2**31 - 1


@dataclass(frozen=True)
class TrainingRequest:
    """What a person may choose."""

    model_name: str
    recipe: RecipeName = "features"
    options: Options = field(default_factory=Options)


def start_training(runtime: Runtime, user_id: str, set_id: str, request: TrainingRequest) -> Run:
    """Queue a training on a set (its name or id), the user's or one that is shared with them; its run.

    Raises:
        InvalidInput: a choice cannot be used, or images are still being imported.
        UnusableImages: the set has fewer than two labels.
        NotFound: there is no such set that the user may see.
    """
    check_request(request)
    row = find_readable_set(runtime, user_id, set_id)
    if is_importing(runtime, row):
        raise InvalidInput(
            _("Images are being imported into %(name)s. Wait until they are there.", name=row.name)
        )
    with runtime.catalog.read() as transaction:
        labels = images.counts(transaction, row.user_id, [row.id])[row.id].valid
    if len(labels) < 2:
        quoted_labels = ", ".join(f'"{label}"' for label in labels) or "none"
        raise UnusableImages(
            _(
                "A model tells at least two labels apart; %(name)s has %(values)s. Import images of another.",
                name=row.name,
                values=quoted_labels,
            )
        )
    run = Run(
        id=new_id(),
        user_id=user_id,
        application=APPLICATION,
        kind=request.recipe,
        name=request.model_name,
        parameters=_parameters(request),
        tags={"set": row.name},
        subject={"set_id": row.id},
        job_id=new_id(),
    )
    return _queued(runtime, run, row.name)


def _queued(runtime: Runtime, run: Run, set_name: str) -> Run:
    with runtime.catalog.write() as transaction:
        runs.add_run(transaction, run)
        audit.record(transaction, run.user_id, "model.train", run.name, images=set_name)
        title, subject = title_of(run.name, set_name), {"run_id": run.id}
        runtime.jobs.enqueue(
            KIND, QUEUE, run.user_id, title, subject, job_id=run.job_id, transaction=transaction
        )
    return run


def repeat_training(runtime: Runtime, user_id: str, run_id: str, name: str | None = None) -> Run:
    """Queue a training that does what one of the user's did, on the same split and with the same settings; its run.

    On the same machine and libraries the recipe `features` makes the same files again, those that say how long it took
    apart. `name`: of the model; None: that of the run.

    Raises:
        NotFound: the user has no such run, or its set or split is gone.
        CannotRepeat: it is no training of images, has not ended well, or its split was changed.
    """
    with runtime.catalog.read() as transaction:
        before = runs.run_of(transaction, user_id, run_id)
        is_known = before.application == APPLICATION and {"set_id", "split_id"} <= before.subject.keys()
        if not is_known or before.status != "done":
            raise CannotRepeat(
                _(
                    "Run %(name)s is no training of images that is done: there is nothing to repeat. See: "
                    "ecluse runs list --application plants --status done",
                    name=run_id,
                )
            )
        set_id, split_id = before.subject["set_id"], before.subject["split_id"]
        row = images.readable_set(transaction, user_id, set_id)
        split = images.split_of(transaction, user_id, split_id)
    if split.sha256 != before.parameters.get("made.split_sha256", split.sha256):
        raise CannotRepeat(
            _("The split of run %(name)s is not the one that it learned from. Train anew.", name=run_id)
        )
    request = request_of(before)
    request = replace(request, model_name=name or request.model_name)
    check_request(request)
    run = Run(
        id=new_id(),
        user_id=user_id,
        application=APPLICATION,
        kind=request.recipe,
        name=request.model_name,
        parameters=_parameters(request),
        tags={"set": row.name, "repeats": before.id},
        subject={"set_id": set_id, "split_id": split_id, "repeats": before.id},
        job_id=new_id(),
    )
    return _queued(runtime, run, row.name)


def same_files(run: Run, before: Run) -> tuple[list[str], list[str]]:
    """Return the files of the versions of two runs that are the same by digest, and those that are not."""
    digests = {artifact["name"]: artifact["sha256"] for artifact in before.artifacts}
    new = {artifact["name"]: artifact["sha256"] for artifact in run.artifacts}
    names = sorted(digests.keys() | new.keys())
    same = [name for name in names if digests.get(name) == new.get(name)]
    return same, [name for name in names if name not in same]


def check_request(request: TrainingRequest) -> None:
    """`InvalidInput` for a choice that can be used with no set."""
    options = request.options
    checked_name(request.model_name)
    if request.recipe not in RECIPES:
        raise InvalidInput(
            _(
                'There is no recipe "%(word)s"; there are %(values)s.',
                word=request.recipe,
                values=" and ".join(RECIPES),
            )
        )
    if options.architecture is not None and options.architecture not in ARCHITECTURES:
        architectures = " and ".join(ARCHITECTURES)
        raise InvalidInput(
            _(
                'There is no architecture "%(word)s"; there are %(values)s.',
                word=options.architecture,
                values=architectures,
            )
        )
    check_choices(request.recipe, options)
    if options.epochs is not None and not 1 <= options.epochs <= MAX_EPOCHS:
        raise InvalidInput(
            _(
                "%(value)s cannot be the number of epochs; use 1 to %(most)s.",
                value=options.epochs,
                most=num(MAX_EPOCHS, ","),
            )
        )
    if options.batch_size is not None and not 1 <= options.batch_size <= MAX_BATCH:
        raise InvalidInput(
            _(
                "%(value)s cannot be the batch size; use 1 to %(most)s.",
                value=options.batch_size,
                most=num(MAX_BATCH, ","),
            )
        )
    if not 0 <= options.seed <= MAX_SEED:
        raise InvalidInput(
            _("%(value)s cannot be the seed; use 0 to %(most)s.", value=options.seed, most=num(MAX_SEED, ","))
        )
    rate = options.learning_rate
    if rate is not None and not (math.isfinite(rate) and 0 < rate <= 1):
        raise InvalidInput(
            _("%(value)s cannot be the learning rate; use more than 0 and at most 1.", value=num(rate, "g"))
        )


def request_of(run: Run) -> TrainingRequest:
    """Return what was asked for, as it was written into the run's parameters."""
    option_names = {option.name for option in fields(Options)}
    chosen: dict[str, Any] = {name: value for name, value in run.parameters.items() if name in option_names}
    for recipe in RECIPES:
        if recipe == run.kind:
            return TrainingRequest(run.name, recipe, Options(**chosen))
    raise InvalidInput(
        _('There is no recipe "%(word)s"; there are %(values)s.', word=run.kind, values=" and ".join(RECIPES))
    )


def _parameters(request: TrainingRequest) -> dict[str, Any]:
    chosen = {name: value for name, value in asdict(request.options).items() if value is not None}
    return {"recipe": request.recipe} | chosen
