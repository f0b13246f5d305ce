"""Describe what the API takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from ecluse.accounts import Scope

#: Where a page of a list begins, for programs that read it to the end.
After = Annotated[
    str | None,
    Query(
        max_length=100,
        description="Id of the last item of the page before, in place of `page`: as fast far behind as at the start",
    ),
]


class Accepted(BaseModel):
    """A job was queued; follow it at `status_url`."""

    job: str
    status_url: str
    prediction: str | None = None
    training: str | None = None


class JobBody(BaseModel):
    id: str
    kind: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    title: str
    stage: str | None
    fraction: float = Field(ge=0, le=1)
    message: str
    error: str | None
    position: int | None = Field(description="Place in the queue, from 1")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None = Field(None, description="What a finished job made")


class JobLine(BaseModel):
    number: int = Field(description="Grows from line to line; ask for what comes after it with `after`")
    at: datetime
    level: Literal["info", "warning"]
    said: str


class JobLines(BaseModel):
    """What there is to say of a job, the oldest first; its last thousand lines are kept."""

    job: str
    lines: list[JobLine]
    is_all: bool = Field(description="The job has ended: no line comes after these")


class ModelBody(BaseModel):
    name: str = Field(description="@OWNER/NAME of a model that someone shares with you")
    owner: str | None = Field(None, description="Handle of whoever shares it; null of your own")
    version: str
    application: str = Field(
        description="Which application made it, by its name; empty for files of your own"
    )
    aliases: list[str] = Field([], description="Names that point at this version")
    url: str = Field(description="Where its folder is in the store; empty of what others share")
    size_bytes: int
    digest: str = Field(description="SHA-256 of its manifest")
    metrics: dict[str, float | None]
    threshold: float | None
    metadata: dict[str, Any] = Field(description="What its publisher said of it")
    verified_at: datetime | None = Field(description="When every file was last found as published")
    damaged_at: datetime | None = Field(
        description="Since when a file is known to differ; such a version is not used"
    )
    damage: str | None
    created_at: datetime


class FileBody(BaseModel):
    path: str
    size: int
    sha256: str


class ModelDetail(ModelBody):
    report: dict[str, Any] = Field(description="performance.json")
    files: list[FileBody]


class AliasBody(BaseModel):
    name: str
    alias: str
    version: str
    updated_at: datetime


class AliasRequest(BaseModel):
    """The version that the alias is to point at."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(examples=["v20251121_041000"])


class SignedLinkBody(BaseModel):
    """An address anyone can use until it expires. Compare what arrives with `sha256`: it comes past Écluse."""

    path: str
    url: str
    expires_at: datetime
    size: int
    sha256: str


class FigureBody(BaseModel):
    """One figure of versions a and b. `verdict` is what the 95 % intervals say of b, where both have one."""

    name: str
    a: float | None
    b: float | None
    a_interval: tuple[float, float] | None
    b_interval: tuple[float, float] | None
    difference: float | None = Field(description="b minus a")
    verdict: Literal["better", "worse", "overlap"] | None


class SettingBody(BaseModel):
    name: str
    a: Any
    b: Any


class FilePairBody(BaseModel):
    path: str
    a: FileBody | None
    b: FileBody | None
    same: bool


class ComparisonBody(BaseModel):
    a: str
    b: str
    same_test: bool | None = Field(
        description="Whether both were measured on the same rows; null where that is not known"
    )
    figures: list[FigureBody]
    settings: list[SettingBody] = Field(description="Those that differ")
    columns_a: list[str] = Field(description="Columns that a alone uses")
    columns_b: list[str] = Field(description="Columns that b alone uses")
    files: list[FilePairBody]


class StoredKindBody(BaseModel):
    """What is stored of one kind; a model version counts as one thing, an image too."""

    kind: str = Field(description="uploads, results, models, images, or one that an application brings")
    area: str
    size_bytes: int
    count: int


class LargeItemBody(BaseModel):
    """A stored thing; of images a whole set."""

    kind: str
    id: str
    name: str | None
    version: str | None
    size_bytes: int
    created_at: datetime


class GrowthBody(BaseModel):
    """Bytes there by the end of a day, of what is there now."""

    day: date
    uploads: int
    results: int
    models: int
    images: int
    kinds: dict[str, int] = Field(description="The same of every kind, those of other applications too")


class StorageBody(BaseModel):
    """What you have stored, added up from the catalog."""

    size_bytes: int
    kinds: list[StoredKindBody]
    growth: list[GrowthBody] = Field(
        description="One point for each day of the last year that added something"
    )
    largest: list[LargeItemBody]


class UserStorageBody(BaseModel):
    user: str
    email: str
    name: str
    size_bytes: int
    uploads: int
    results: int
    models: int
    images: int
    kinds: dict[str, int] = Field(description="The same of every kind, those of other applications too")
    count: int


class UsersStoragePage(BaseModel):
    items: list[UserStorageBody]
    total: int
    page: int
    per_page: int


class CostBody(BaseModel):
    """One month at one provider, and the parts it is the sum of."""

    offer: str
    provider: str
    storage_class: str
    kind: Literal["objects", "volume", "database", "registry"]
    region: str
    monthly: float
    storage: float
    requests: float
    egress: float
    retrieval: float
    currency: str
    minimum_days: int
    source: str
    source_url: str
    note: str


class CostsBody(BaseModel):
    """Estimates from list prices of `date`, the cheapest first."""

    date: date
    currency: str
    about: str
    size_bytes: int
    costs: list[CostBody]


class PlanRequest(BaseModel):
    """What to migrate. A place is an area (models, images, data, raw) or the address of a store, without keys."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(max_length=1000, examples=["models"])
    destination: str = Field(max_length=1000, examples=["s3://bucket/prefix"])
    prefix: str = Field("", max_length=1000, description="Only what lies under this key")
    switch_rows: bool = Field(False, description="Point tables, results and models at the destination")


class AmountBody(BaseModel):
    objects: int
    size_bytes: int


class MigrationBody(BaseModel):
    id: str
    source: str
    destination: str
    prefix: str
    switches_rows: bool
    state: Literal["planned", "running", "stopped", "done", "rolling_back", "rolled_back"]
    rows_switched: int
    job: str | None = Field(description="The last job that worked on it")
    error: str | None = Field(description="Why it stopped; the source is untouched in any case")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class MigrationsPage(BaseModel):
    items: list[MigrationBody]
    total: int
    page: int
    per_page: int


class RestBody(BaseModel):
    """What is left to copy. `measured`: the time is by the rate of earlier migrations, else a careful guess."""

    objects: int
    size_bytes: int
    puts: int
    gets: int
    seconds: float
    measured: bool


class MigrationDetail(MigrationBody):
    active: bool = Field(description="Whether a process is at work on it")
    amounts: dict[str, AmountBody] = Field(description="Objects and bytes by what became of them")
    everything: AmountBody
    settled: AmountBody = Field(description="At the destination, and read again there")
    conflicts: list[str] = Field(
        description="The first keys under which the destination holds another content"
    )
    damaged: list[str]
    gone: list[str]
    copied_again: int
    rest: RestBody


class Me(BaseModel):
    """Whose token or session this is, in the role in which it acts."""

    id: str
    email: str
    name: str
    role: Literal["admin", "member"]
    scopes: list[Scope] = Field(
        description="What the token may do; `manage` is all of the API, as is a session"
    )
    model: str | None = Field(description="The one model that the token is for; null: all")
    service_account: str | None = Field(
        None, description="The service account whose token it is: then the rest is of its organisation"
    )
