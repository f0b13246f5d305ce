"""Declare what the API of the application takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ecluse.apps.fraud.scoring.formats import DEFAULT, ResultName
from ecluse.web.api.schemas import FileBody

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


class PredictRequest(DatasetReference):
    """What to score with which model; the latest version unless one is named."""

    model: str = Field(
        examples=["payments", "payments@v20251121_041000", "payments@production", "@anna/payments"]
    )
    version: str | None = None
    format: ResultName = DEFAULT
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
    owner: str | None = Field(None, description="Handle of its owner, where that is not you")
    filepath: str | None = Field(
        description="Store address; accepted wherever a dataset is asked for. Null of one that is shared with you"
    )
    size_bytes: int
    sha256: str
    state: Literal["profiling", "ready", "failed"]
    error: str | None
    rows: int | None
    job: str | None = Field(description="Job that profiles it; null of one that is shared with you")
    layout: LayoutBody | None = Field(
        description="Which sheet and row it is read from; null until it is read, of Parquet, and of older tables"
    )
    created_at: datetime


class ProfileBody(BaseModel):
    """What was found in a table: its columns, and guesses of their roles with the reasons."""

    dataset: DatasetBody
    profile: dict[str, Any]


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
    owner: str | None = Field(None, description="Handle of its owner, where it is not yours")
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
        description="The expected number of frauds among them; null where rows are ranked by how unusual they are"
    )
    expected_low: float | None = Field(None, description="95 % interval of that number")
    expected_high: float | None = None
    labelled: int = Field(description="How many of them have a label that the model has not learned from")
    found: int = Field(description="How many of these labels say fraud")
    tied: int = Field(
        description="How many rows have the score `cut`, where not all of them are taken; else 0"
    )


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
