"""Describe what the API takes and gives."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: Characters of a column's name that is matched: a longer one is none that a person wrote.
LONGEST_NAME: Final = 200


class DatasetReference(BaseModel):
    """A dataset of yours: its id, or as `filepath` the store address that its upload returned."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    dataset: str | None = Field(None, description="Dataset id")
    filepath: str | None = Field(None, description="Store address returned by POST /api/upload")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.dataset is None) == (self.filepath is None):
            raise ValueError("give either dataset or filepath")
        return self

    @property
    def reference(self) -> str:
        return self.dataset or self.filepath or ""


class UploadBody(BaseModel):
    """An upload under way. `ahead`: how many are stored or come before it; 0 where it is its turn."""

    state: Literal["waiting", "arriving"]
    ahead: int


class AnalyzeRequest(DatasetReference):
    pass


class TrainRequest(DatasetReference):
    """What to train. Everything but the dataset and the name is guessed when it is left out."""

    model_name: str = Field(examples=["payments"])
    target_column: str | None = Field(None, description="Label column", examples=["is_fraud"])
    positive_value: str | None = Field(None, description="The label's value that means fraud")
    time_column: str | None = Field(None, description='Time column; "" for none')
    customer_column: str | None = Field(None, description='Customer column; "" for none')
    identifier_columns: list[str] | None = None
    excluded: list[str] = Field([], description="Columns to leave out")
    keep: list[str] = Field([], description="Columns to learn from though they give the label away")
    budget_s: float = Field(
        60,
        ge=2,
        le=86400,
        description="Seconds of work that the training may take: those of a machine with nothing else to do. Beside "
        "other programs it takes longer and tries as much",
    )
    goal: str = Field(
        "f1",
        description="Threshold goal: f1, recall=0.8, precision=0.9, alerts=50 (per day) or cost=500:10 "
        "(of a missed fraud, and of a false alarm)",
    )
    seed: int = Field(0, ge=0, lt=2**31)
    refit: bool = Field(
        True,
        description="Fit the measured settings once more on all rows, for use; else the measured model is kept",
    )


class PredictRequest(DatasetReference):
    """What to score with which model; the latest version unless one is named."""

    model: str = Field(examples=["payments", "payments@v20251121_041000", "payments@production"])
    version: str | None = None
    format: Literal["csv", "parquet"] = "csv"
    reasons: Literal["all", "risky", "none"] = Field(
        "risky", description="Rows to explain; explaining a row costs a hundred times its score"
    )
    columns: dict[str, str] = Field(
        {},
        description="Columns of the model, each with the column of the table that it is called there",
        examples=[{"amount": "montant"}],
    )


class ApplyRequest(DatasetReference):
    """A table without labels, and the name of the ensemble to make for it."""

    model_name: str = Field(examples=["march_payments"])
    fraud_rate: float = Field(0.01, ge=0.0001, le=0.5, description="Share of the rows taken to be fraud")
    references: list[str] | None = Field(
        None, max_length=20, description="Use these references only; the best when left out"
    )
    corrections: dict[str, dict[str, str | None]] = Field(
        {},
        max_length=20,
        description="By reference, {ours: theirs}: column of the reference → column of your table that stands for it, "
        "null for none",
        examples=[{"harbour_bank_cards": {"amount": "montant"}}],
    )


class MappingRequest(BaseModel):
    """Corrections of the mapping to one reference; an empty object forgets them."""

    model_config = ConfigDict(extra="forbid")

    columns: dict[str, str | None] = Field(
        description="{ours: theirs}: column of the reference → column of your table that stands for it, null for none",
        examples=[{"amount": "montant", "country": None}],
    )


class SheetBody(BaseModel):
    name: str
    rows: int
    columns: int


class LayoutBody(BaseModel):
    """Where in a file its table stands."""

    sheet: str | None = Field(description="Name of the sheet that is read; null of a file without sheets")
    header_row: int | None = Field(
        description="Row from 1 that holds the names of the columns; 0: none does, every row is data"
    )
    sheets: list[SheetBody] = Field(description="All sheets of a workbook")
    doubts: list[Literal["sheet", "header"]] = Field(
        description="What was found and is not plain: look at it"
    )
    preview: list[tuple[int, list[str]]] = Field(description="The first rows: number and cells, shortened")


class LayoutRequest(BaseModel):
    """How to read a table; what is left out is found."""

    sheet: str | None = Field(None, max_length=300)
    header_row: int | None = Field(None, ge=0, le=2_000, description="0: no row holds names")


class DatasetBody(BaseModel):
    id: str
    filename: str
    filepath: str = Field(description="Store address; accepted wherever a dataset is asked for")
    size_bytes: int
    sha256: str
    state: Literal["profiling", "ready", "failed"]
    error: str | None
    rows: int | None
    job: str | None = Field(description="Job that profiles it")
    layout: LayoutBody | None = Field(
        description="Which sheet and row it is read from; null until it is read, of Parquet, and of older tables"
    )
    created_at: datetime


class ProfileBody(BaseModel):
    """What was found in a table: its columns, and guesses of their roles with the reasons."""

    dataset: DatasetBody
    profile: dict[str, Any]


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


class ModelBody(BaseModel):
    name: str
    version: str
    application: str = Field(description='What made it, such as "fraud"; empty for files of your own')
    aliases: list[str] = Field([], description="Names that point at this version")
    url: str
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


class TrainingBody(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str
    job: str | None
    dataset: str | None
    model_name: str
    version: str | None
    target_column: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    metrics: dict[str, Any] | None
    model_path: str | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class HistoryPage(BaseModel):
    items: list[TrainingBody]
    total: int
    page: int
    per_page: int


class PredictionBody(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str
    job: str | None
    dataset: str | None
    model_name: str
    version: str
    format: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    key: str | None
    filepath: str | None
    download_url: str | None
    rows: int | None
    flagged: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class PredictionDetail(PredictionBody):
    summary: dict[str, Any] | None = Field(description="Histogram, counts and the riskiest rows with reasons")


class BudgetBody(BaseModel):
    """So many of the riskiest rows; of rows with one score the earlier of the table come first."""

    alerts: int = Field(description="The rows asked for, or all where there are fewer")
    cut: float = Field(description="The lowest score among them")
    expected: float | None = Field(
        description="The likeliest number of frauds among them; null where rows are ranked by how unusual they are"
    )
    expected_low: float | None = Field(None, description="95 % interval of that number")
    expected_high: float | None = None
    labelled: int = Field(description="How many of them have a label that the model has not learned from")
    found: int = Field(description="How many of these labels say fraud")
    tied: int = Field(
        description="How many rows have the score `cut`, where not all of them are taken; else 0"
    )


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
    id: str
    email: str
    name: str
    role: Literal["admin", "member"]


class ReferenceBody(BaseModel):
    """A reference model of the library, which is everyone's."""

    name: str
    domain: str
    version: str | None
    rows: int | None = Field(description="Rows of the table it was trained on")
    fraud_rate: float | None
    columns: list[str]
    performance: dict[str, Any] = Field(description="Figures on rows it had not seen, with intervals")
    transfer: dict[str, Any] = Field(
        description="How well it scored the tables of other references that match it; empty until measured"
    )
    matchable: bool = Field(description="Whether tables are matched with it; a foreign model has no sketches")
    size_bytes: int
    created_at: datetime


class ReferencesPage(BaseModel):
    items: list[ReferenceBody]
    total: int
    page: int
    per_page: int
    domains: dict[str, int] = Field(description="Every domain with the number of its references")


class ReferenceDetail(ReferenceBody):
    target: str
    positive: str | None = Field(
        None, description="Value of the target that means fraud; null where not kept"
    )
    sketches: list[dict[str, Any]] = Field(
        description="Its columns by importance: kind, shares, quantiles and frequent values"
    )
    files: list[FileBody]


class MatchRequest(BaseModel):
    """What to match: names of columns, or a dataset of yours, whose distributions are compared as well."""

    model_config = ConfigDict(extra="forbid")

    columns: list[str] | None = Field(
        None, max_length=2_000, description="Names of columns, of at most 200 characters each"
    )
    dataset: str | None = Field(None, description="Dataset id, or the address that its upload returned")
    limit: int = Field(3, ge=1, le=20, description="References at most, by columns; three for a dataset")

    @field_validator("columns")
    @classmethod
    def _short_names(cls, columns: list[str] | None) -> list[str] | None:
        longest = max((len(name) for name in columns or ()), default=0)
        if longest > LONGEST_NAME:
            raise ValueError(
                f"a name has at most {LONGEST_NAME} characters, and one of these has {longest:,}; leave it out"
            )
        return columns

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.columns is None) == (self.dataset is None):
            raise ValueError("give either columns or dataset")
        return self


class PairBody(BaseModel):
    """A column of your table that stands for one of the reference, and why."""

    theirs: str = Field(description="Column of your table")
    ours: str = Field(description="Column of the reference")
    why: str
    score: float


class MatchBody(BaseModel):
    reference: str
    similarity: float = Field(description="Share of what the reference looks at that your table has, 0 to 1")
    domain: str
    columns: list[PairBody]
    missing: list[str] = Field(description="Columns of the reference that nothing stands for")


class MatchResultBody(BaseModel):
    """With `abstain`, `matches` are the nearest references, none of them near enough. `theirs` are columns of your
    table, `ours` those of the reference."""

    abstain: bool
    reason: str
    matches: list[MatchBody]
    below: list[MatchBody] = Field(
        [], description="The next nearest references, which are not used; at most 5"
    )


class DemoRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    domains: list[str] = Field([], description="Simulated domains; all when empty")
    budget_s: float = Field(
        8, ge=2, le=3600, description="Seconds of work for each reference, as of a training"
    )
    sample: bool = Field(True, description="Keep a sample of the rows with each reference")


class EvaluateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    names: list[str] = Field([], description="References; all when empty")


class StartedBody(BaseModel):
    """A reference and the job at work on it; null where it is built already."""

    name: str
    job: str | None
    status_url: str | None


class MatchesBody(MatchResultBody):
    """The references a table means the same as, and how a person has corrected their mappings."""

    corrections: dict[str, dict[str, str | None]] = Field({}, description="Those kept for this table")


class EnsembleBody(BaseModel):
    """An ensemble: what it judges by. `weights` are of the references together and of the anomaly score."""

    name: str
    version: str
    abstained: bool = Field(description="No reference matched: rows are ranked by how unusual they are")
    reason: str
    members: list[dict[str, Any]] = Field(
        description="Weight with its `merits` (fit, home and away quality, worth, accord, each in [0, 1]), similarity, "
        "mapping of columns and measured transfer of each reference"
    )
    weights: dict[str, float]
    fraud_rate: dict[str, float | None] = Field(description="Stated, and estimated where it can be")
    agreement: dict[str, Any]
    matches: list[MatchBody]
    warnings: list[str]
    created_at: datetime
