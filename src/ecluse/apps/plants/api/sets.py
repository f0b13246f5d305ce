"""Import sets of labelled images, see and correct them, divide them, take them away again, and train on them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import audit, splits, training
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.http.image_work import WorkDep
from ecluse.apps.plants.http.imports import MOST_FILES, Queued, import_form, open_import
from ecluse.apps.plants.http.stored_images import (
    IfNoneMatch,
    send_image,
    send_set,
    send_thumbnail,
    stored_image,
)
from ecluse.apps.plants.recipe import Architecture, Options, RecipeName
from ecluse.apps.plants.rows import Filter, Order, State
from ecluse.apps.plants.sharing import origin_of, seen, seen_summary
from ecluse.apps.plants.tables import Image, ImageSplit
from ecluse.catalog import sharing
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.web.api.schemas import Accepted
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.receiving import receiving
from ecluse.web.security import MayManage, MayPublish, MayRead, RuntimeDep, is_json

router = Declarations(prefix="/plants", tags=["plants"])
Page = Annotated[int, Query(ge=1, le=1_000_000)]
_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "name": {
                            "type": "string",
                            "description": "Of the set, which is made unless it is there. Default: that of the file",
                        },
                        "label": {
                            "type": "string",
                            "description": "Of images that no folder or list gives one",
                        },
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "maxItems": MOST_FILES,
                            "description": "A .zip, .tar or .tar.gz with a folder for each label; a .txt or .csv of "
                            "addresses; or images",
                        },
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["name", "source"],
                    "properties": {
                        "name": {"type": "string", "description": "Of the set"},
                        "source": {
                            "type": "string",
                            "description": "Everything below this address of a store, such as s3://bucket/prefix",
                        },
                        "label": {"type": "string", "description": "Of images that no folder gives one"},
                    },
                }
            },
        },
    }
}


class ImportRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    source: str = Field(max_length=1000)
    label: str | None = None


class CountsBody(BaseModel):
    """Images by label."""

    valid: dict[str, int]
    excluded: dict[str, int]
    rejected: dict[str, int]


class SetBody(BaseModel):
    id: str
    name: str
    owner: str | None = Field(None, description="Handle of its owner, where it is not yours")
    counts: CountsBody
    size_bytes: int
    job: str | None = Field(description="The import or audit that was started last; of a set of yours")
    created_at: datetime
    imported_at: datetime | None
    audited_at: datetime | None


class SplitBody(BaseModel):
    """Which images are learned from, chosen by, and tested on: how many of each label."""

    id: str
    seed: int
    shares: dict[str, float]
    counts: dict[str, dict[str, int]] = Field(description="By part: train, validation, test")
    data_digest: str
    sha256: str = Field(description="Of its manifest, which says it of each image")
    created_at: datetime


class SetDetail(SetBody):
    """A set with what is to be looked at: files that were rejected, images that look alike, doubtful labels."""

    rejected_for: dict[str, int] = Field(description="Why files were rejected, and how many")
    near_duplicates: int = Field(description="Images in use that others look nearly like")
    contested: int = Field(description="Of those and of exact duplicates, the ones with different labels")
    suspects: int = Field(description="Images for which another label is suggested")
    warnings: list[str] = Field(description="What is uneven")
    splits: list[SplitBody]


class ImportAccepted(Accepted):
    """An import was queued."""

    set: str = Field(description="The set's id")


class ImageBody(BaseModel):
    id: str
    set: str
    label: str
    imported_label: str
    state: State
    reason: str | None = Field(description="Why it was rejected")
    origin: str = Field(description="Where it came from; of a set that is someone else's, its file's name")
    sha256: str
    size_bytes: int
    format: str
    width: int | None
    height: int | None
    group: str | None = Field(description="The same for images that look nearly the same")
    suspicion: float | None = Field(
        description="How improbable the label is by models that had not seen the image"
    )
    suggested_label: str | None = Field(
        description="What they say instead; the label itself where a person chose or confirmed it"
    )
    created_at: datetime


class ImagesPage(BaseModel):
    items: list[ImageBody]
    total: int
    page: int
    per_page: int


class Correction(BaseModel):
    """Another label, or a state: `excluded` leaves an image out of use, `valid` takes it back."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(None, examples=["dandelion"])
    state: Literal["valid", "excluded"] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.label is None and self.state is None:
            raise ValueError("give label, state or both")
        return self


class Corrections(Correction):
    """The same for several images of one set."""

    images: list[str] = Field(min_length=1, max_length=10_000, description="Ids")


class Changed(BaseModel):
    changed: int = Field(description="Images that have another label or state now")


class SplitRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seed: int = Field(0, ge=0, lt=2**31)
    shares: dict[Literal["train", "validation", "test"], float] | None = Field(
        None, examples=[{"train": 0.7, "validation": 0.15, "test": 0.15}]
    )


class TrainPlantsRequest(BaseModel):
    """What to train; what is left out is the recipe's own choice."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_name: str = Field(examples=["leaves"])
    recipe: RecipeName = Field(
        "features",
        description="features: a linear layer on a frozen network, about a minute; finetune: all of it",
    )
    architecture: Architecture | None = None
    epochs: int | None = Field(None, ge=1, le=1000)
    learning_rate: float | None = Field(None, gt=0, le=1)
    batch_size: int | None = Field(None, ge=1, le=1024)
    seed: int = Field(0, ge=0, lt=2**31)
    device: Literal["auto", "cpu", "cuda"] = "auto"


# Sets


@router.get("/sets")
def list_sets(
    runtime: RuntimeDep,
    user: MayRead,
    page: Page = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[SetBody]:
    """Your sets of images, that which was imported last first."""
    summaries = workflows.list_sets(runtime, user.user.id, limit=per_page, offset=(page - 1) * per_page)
    return [_set_body(summary) for summary in summaries]


@router.post("/sets", status_code=202, openapi_extra=_UPLOAD, responses=answers(413))
async def import_images(request: Request, runtime: RuntimeDep, user: MayManage) -> ImportAccepted:
    """Import images into a set: an archive, a list of addresses, images, or what lies below a store's address.

    The set is made unless it is there. What was imported before changes nothing; a file that is no image that can
    be used is rejected with its reason, and the rest goes on. Uploads are streamed into the store.
    """
    if is_json(request.headers.get("content-type", "")):
        import_request = _import_request(await request.body())
        return await run_in_threadpool(_import_from, runtime, user.user, import_request)
    async with receiving(request, runtime, user.user.id, images=True) as arrival:
        form = await open_import(arrival)
        queued = await import_form(runtime, user.user.id, form, "name")
        await arrival.give_to_job(queued.job)
        return _accepted(queued)


@router.get("/sets/{set_id}", responses=answers(404))
def show_set(set_id: str, runtime: RuntimeDep, user: MayRead) -> SetDetail:
    """One of your sets, by its id or name, or by its id one that is shared with you."""
    row = workflows.find_readable_set(runtime, user.user.id, set_id)
    is_own = row.user_id == user.user.id
    summary = seen_summary(workflows.summary_of(runtime, row.user_id, row), is_own=is_own)
    findings = audit.findings_of(runtime, row.user_id, row.id)
    with runtime.catalog.read() as transaction:
        reasons = dict(images.reasons(transaction, row.user_id, row.id)) if is_own else {}
        divided = images.list_splits(transaction, row.user_id, row.id)
        owner = None if is_own else sharing.handle_of(transaction, row.user_id)
    return SetDetail(
        **_set_body(summary, owner).model_dump(),
        rejected_for=reasons,
        near_duplicates=findings.near_duplicates,
        contested=findings.contested,
        suspects=findings.suspects,
        warnings=list(findings.warnings),
        splits=[_split_body(split) for split in divided],
    )


@router.delete("/sets/{set_id}", status_code=204, responses=answers(404))
def delete_set(set_id: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Delete a set, its images and its splits. Models learned from it stay."""
    workflows.remove_set(runtime, user.user.id, set_id)


@router.get("/sets/{set_id}/export", response_class=StreamingResponse, responses=answers(404, 409))
def export_set(set_id: str, runtime: RuntimeDep, user: MayRead) -> StreamingResponse:
    """Send the images in use as a .zip: a folder for each label, and a table of them. Each is compared
    with its digest.
    """
    row = workflows.find_readable_set(runtime, user.user.id, set_id)
    return send_set(runtime, row, user.user.id)


@router.post("/sets/{set_id}/audit", status_code=202, responses=answers(404))
def audit_set(set_id: str, runtime: RuntimeDep, user: MayManage) -> Accepted:
    """Look for images that are nearly the same and for labels that are doubtful."""
    job = audit.start_audit(runtime, user.user.id, set_id)
    return Accepted(job=job, status_url=f"/api/status/{job}")


# Images


class ImagesQuery(BaseModel):
    """Which images of a set to list, and which page of them."""

    label: str | None = Field(None, max_length=100)
    state: list[State] | None = Field(None, description="Default: valid and excluded")
    duplicates: bool = Field(False, description="Those with others that look nearly the same")
    contested: bool = Field(False, description="Those that came under several labels")
    suspects: bool = Field(False, description="Those for which another label is suggested")
    group: str | None = Field(None, description="Those that look nearly like one", max_length=32)
    text: str = Field("", description="Part of the origin or label", max_length=200)
    order: Order = "origin"
    page: Page = 1
    per_page: int = Field(100, ge=1, le=1000)

    def filter(self) -> Filter:
        return Filter(
            label=self.label,
            states=tuple(self.state) if self.state else ("valid", "excluded"),
            duplicates=self.duplicates,
            contested=self.contested,
            suspects=self.suspects,
            group=self.group,
            text=self.text,
        )


@router.get("/sets/{set_id}/images", responses=answers(404))
def list_images(
    set_id: str, runtime: RuntimeDep, user: MayRead, query: Annotated[ImagesQuery, Query()]
) -> ImagesPage:
    """Images of a set of yours, or of one that is shared with you: then those that are stored."""
    row = workflows.find_readable_set(runtime, user.user.id, set_id)
    is_own = row.user_id == user.user.id
    filter_, page, per_page = seen(query.filter(), is_own=is_own), query.page, query.per_page
    with runtime.catalog.read() as transaction:
        total = images.count_images(transaction, row.user_id, row.id, filter_)
        rows = images.list_images(
            transaction,
            row.user_id,
            row.id,
            filter_,
            order=query.order,
            limit=per_page,
            offset=(page - 1) * per_page,
        )
    items = [_image_body(each, is_own=is_own) for each in rows]
    return ImagesPage(items=items, total=total, page=page, per_page=per_page)


@router.patch("/sets/{set_id}/images", responses=answers(404))
def correct_images(set_id: str, body: Corrections, runtime: RuntimeDep, user: MayManage) -> Changed:
    """Give images of a set another label, leave them out of use, or take them back."""
    row = workflows.find_set(runtime, user.user.id, set_id)
    return Changed(changed=_correct(runtime, user.user.id, row.id, body.images, body))


@router.get("/images/{image_id}", responses=answers(404))
def show_image(image_id: str, runtime: RuntimeDep, user: MayRead) -> ImageBody:
    """One image of yours, or of a set that is shared with you."""
    with runtime.catalog.read() as transaction:
        row = images.readable_image(transaction, user.user.id, image_id)
    return _image_body(row, is_own=row.user_id == user.user.id)


@router.patch("/images/{image_id}", responses=answers(404))
def correct_image(image_id: str, body: Correction, runtime: RuntimeDep, user: MayManage) -> ImageBody:
    """Give an image another label, leave it out of use, or take it back."""
    with runtime.catalog.read() as transaction:
        row = images.image_of(transaction, user.user.id, image_id)
    _correct(runtime, user.user.id, row.set_id, [row.id], body)
    return show_image(image_id, runtime, user)


@router.get("/images/{image_id}/thumbnail", response_class=Response, responses=answers(404, 409))
async def show_thumbnail(
    image_id: str, runtime: RuntimeDep, work: WorkDep, user: MayRead, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send an image as a JPEG of at most 256 × 256 pixels, made here, without what its file said beside."""
    row = await run_in_threadpool(stored_image, runtime, user.user.id, image_id)
    return await send_thumbnail(runtime, work, row, user.user.id, if_none_match)


@router.get("/images/{image_id}/file", response_class=StreamingResponse, responses=answers(404, 409))
def download_image(
    image_id: str, runtime: RuntimeDep, user: MayRead, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send the file of an image as it was imported."""
    row = stored_image(runtime, user.user.id, image_id)
    return send_image(runtime, row, user.user.id, if_none_match)


# Splits and trainings


@router.get("/sets/{set_id}/splits", responses=answers(404))
def list_splits(set_id: str, runtime: RuntimeDep, user: MayRead) -> list[SplitBody]:
    """List how a set was divided by its owner, newest first."""
    row = workflows.find_readable_set(runtime, user.user.id, set_id)
    with runtime.catalog.read() as transaction:
        return [_split_body(split) for split in images.list_splits(transaction, row.user_id, row.id)]


@router.post("/sets/{set_id}/splits", responses=answers(404))
def split_set(set_id: str, body: SplitRequest, runtime: RuntimeDep, user: MayManage) -> SplitBody:
    """Divide a set; the same seed and shares of the same images give the split that is there.

    Images that look nearly the same go to one part. Those that came later are added, and no other changes its part.
    """
    row = workflows.find_set(runtime, user.user.id, set_id)
    return _split_body(splits.split_for(runtime, user.user.id, row.id, seed=body.seed, shares=body.shares))


@router.get("/splits/{split_id}", responses=answers(404, 409))
def show_split(split_id: str, runtime: RuntimeDep, user: MayRead) -> dict[str, Any]:
    """Show the manifest of a split: the part of each image by its digest, and the labels in their order."""
    with runtime.catalog.read() as transaction:
        row = images.split_of(transaction, user.user.id, split_id)
    return splits.manifest_of(runtime, row)


@router.post("/sets/{set_id}/train", status_code=202, responses=answers(404))
def train(set_id: str, body: TrainPlantsRequest, runtime: RuntimeDep, user: MayPublish) -> Accepted:
    """Train a model of yours on a set of yours, or on one that is shared with you.

    Its figures come from images that it has not seen.
    """
    options = Options(
        seed=body.seed,
        epochs=body.epochs,
        architecture=body.architecture,
        learning_rate=body.learning_rate,
        batch_size=body.batch_size,
        device=body.device,
    )
    request = training.TrainingRequest(body.model_name, body.recipe, options)
    run = training.start_training(runtime, user.user.id, set_id, request)
    return Accepted(job=run.job_id or "", status_url=f"/api/status/{run.job_id}", training=run.id)


# Imports


def _import_request(data: bytes) -> ImportRequest:
    try:
        return ImportRequest.model_validate(json.loads(data))
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}" for problem in error.errors()
        ]
        raise InvalidInput(f"{'; '.join(problems)}.") from error
    except ValueError as error:
        raise InvalidInput(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidInput("The body is JSON within JSON within JSON, deeper than any request is.") from error


def _import_from(runtime: Runtime, user: User, import_request: ImportRequest) -> ImportAccepted:
    from ecluse.apps.plants.sources.stores import importable

    # Before a set is made for it; and by the role that a token has, as a job goes by that of its owner.
    importable(runtime, user.id, import_request.source, as_member=user.role != "admin")
    row = workflows.make_set(runtime, user.id, import_request.name)
    source = workflows.Source(import_request.source, import_request.source)
    job = workflows.start_import(runtime, user.id, row.id, source, label=import_request.label)
    return _accepted(Queued(row.id, job))


def _accepted(queued: Queued) -> ImportAccepted:
    return ImportAccepted(job=queued.job, status_url=f"/api/status/{queued.job}", set=queued.set_id)


def _correct(runtime: Runtime, user_id: str, set_id: str, image_ids: list[str], body: Correction) -> int:
    """Return how many images changed their label, state or both."""
    changed = 0
    if body.label is not None:
        changed = workflows.relabel(runtime, user_id, set_id, image_ids, body.label)
    if body.state is not None:
        changed = max(changed, workflows.set_state(runtime, user_id, set_id, image_ids, body.state))
    return changed


# Bodies


def _set_body(summary: workflows.SetSummary, owner: str | None = None) -> SetBody:
    """Describe a set. `owner`: the handle of its owner, where that is not who asks."""
    row = summary.row
    return SetBody(
        id=row.id,
        name=row.name,
        owner=owner,
        counts=CountsBody(
            valid=dict(summary.counts.valid),
            excluded=dict(summary.counts.excluded),
            rejected=dict(summary.counts.rejected),
        ),
        size_bytes=summary.size,
        job=row.job_id if owner is None else None,
        created_at=row.created_at,
        imported_at=row.imported_at,
        audited_at=row.audited_at,
    )


def _image_body(row: Image, *, is_own: bool) -> ImageBody:
    names = ImageBody.model_fields.keys() - {"set", "origin"}
    values = {name: getattr(row, name) for name in names}
    return ImageBody.model_validate(values | {"set": row.set_id, "origin": origin_of(row, is_own=is_own)})


def _split_body(row: ImageSplit) -> SplitBody:
    return SplitBody.model_validate({name: getattr(row, name) for name in SplitBody.model_fields})
