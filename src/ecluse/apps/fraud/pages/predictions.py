"""Show scored tables: the riskiest rows with their reasons, what a budget of reviews would find."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ecluse import shares
from ecluse.apps.fraud import risk
from ecluse.apps.fraud.api.budget import (
    Meaning,
    cut_at,
    cuts_of,
    doubt_of,
    meaning_of_scores,
    nearest,
    score_names,
    tell,
)
from ecluse.apps.fraud.api.predictions import ranking_of, report_of, send_prediction, send_riskiest
from ecluse.apps.fraud.evaluation.ranking import Ranking
from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.pages.usual import COMMON
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.reports import AnyReport
from ecluse.apps.fraud.rows import datasets, labels, predictions
from ecluse.apps.fraud.rows.tables import Prediction
from ecluse.apps.fraud.scoring.columns import ANOMALY, REASONS, SCORE_COLUMNS, names_of
from ecluse.apps.fraud.scoring.formats import result_format
from ecluse.apps.fraud.scoring.reasons import as_written
from ecluse.catalog import sharing
from ecluse.errors import JobNotFound, NotFound
from ecluse.runtime import Runtime
from ecluse.tabular.formats import NAME_ENDINGS
from ecluse.web.declarations import Declarations
from ecluse.web.downloads import saved_as
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import Progress, progress_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
DEFAULT_BUDGET: Final = 20
MOMENT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}):\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?")
Budget = Annotated[int, Query(ge=1, le=1_000_000_000)]


@dataclass(frozen=True)
class Opinions:
    """What an ensemble says of a row beside its rank: shares of its sample that are less risky and less unusual.

    `agreement` in [0, 1] is that of its members, None with one; `calibrated` None where it cannot be known. Without
    members there is no share `combined`.
    """

    combined: float | None
    anomaly: float
    agreement: float | None
    calibrated: float | None


@dataclass(frozen=True)
class Own:
    """A value that a row has in its table, and in words what was usual there; "" where that is not known."""

    column: str
    value: str
    usual: str


@dataclass(frozen=True)
class Risky:
    """A row as the page shows it: the table's own cells, score in [0, 1], reasons with their effects.

    Effects are log-odds, of rows ranked by anomaly alone how unusual a column is. `opinions` are an ensemble's.
    """

    cells: tuple[str, ...]
    score: float
    level: str
    flagged: bool
    reasons: tuple[tuple[str, float], ...]
    opinions: Opinions | None = None
    own: tuple[Own, ...] = ()


@router.get("/fraud/p")
def list_scored(request: Request, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1) -> Response:
    """List the scored tables of the user, newest first, a page at a time."""
    with runtime.catalog.read() as transaction:
        pager = page_of(predictions.count_predictions(transaction, user.user.id), page)
        rows = predictions.list_predictions(transaction, user.user.id, limit=PAGE_ROWS, offset=pager.offset)
        names = datasets.filenames(transaction, user.user.id, [row.dataset_id for row in rows])
    others, others_total = shares.of_others(
        runtime.catalog, user.user.id, predictions.RESULTS, limit=PAGE_ROWS
    )
    context = {
        "predictions": rows,
        "names": names,
        "pager": pager,
        "others": others,
        "others_total": others_total,
    }
    return render(request, "fraud/predictions.html", context)


@router.get("/fraud/p/{prediction_id}")
def show_prediction(
    request: Request,
    prediction_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    budget: Budget = DEFAULT_BUDGET,
) -> Response:
    """One scored table. `?budget=` is how many of the riskiest rows one can review."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
        names = datasets.filenames(transaction, row.user_id, [row.dataset_id])
        given, _frauds = labels.count_labels(transaction, user.user.id, row.dataset_id or "")
        is_own = row.user_id == user.user.id
        has_table = datasets.digest_of(transaction, row.user_id, row.dataset_id) is not None
        owner = None if is_own else sharing.handle_of(transaction, row.user_id)
        may_share = is_own or row.user_id in sharing.makers_of(transaction, user.user.id)
    say, report = words_of(request), report_of(runtime, row)
    threshold = _threshold(row, report)
    context: dict[str, Any] = {
        "prediction": row,
        "owner": owner,
        "may_share": may_share,
        "result_format": result_format,
        "levels": risk.LEVELS,
        "level_named": risk.level_named,
        "dataset_name": names.get(row.dataset_id or "", say._("a removed table")),
        "summary": row.summary,
        "threshold": threshold,
        "given": given,
        "of_another": row.dataset_id is not None and not has_table,
        "lacks": " column(s) of the model: " in (row.error or ""),
        "meaning": meaning_of_scores(row.summary or {}, report),
        "score_column": score_names(row.summary or {}).score,
        "taught": report.learned.labels if report is not None and report.learned is not None else 0,
        "stated_rate": report.fraud_rate.stated if isinstance(report, EnsembleReport) else None,
        "progress": _progress(runtime, row, say) if is_own else None,
        "rows": [],
        "chart": None,
    }
    if row.summary is not None:
        context |= _reviewed(
            row.summary,
            ranking_of(runtime, row),
            budget,
            threshold,
            context["meaning"],
            doubt_of(report),
            say,
        )
    return render(request, "fraud/prediction.html", context)


@router.get("/fraud/p/{prediction_id}/budget")
def tell_budget(
    request: Request, prediction_id: str, runtime: RuntimeDep, user: CurrentUser, budget: Budget
) -> JSONResponse:
    """Show what exactly the `budget` riskiest rows hold, in words for the page's script."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
    if not (cuts := cuts_of(row.summary or {})):
        raise NotFound(f"Prediction {row.id} has no scored rows: it is {row.status}.")
    report = report_of(runtime, row)
    cut, meaning = (
        cut_at(ranking_of(runtime, row), cuts, budget),
        meaning_of_scores(row.summary or {}, report),
    )
    return JSONResponse(tell(cut, row.summary or {}, meaning, words_of(request), doubt_of(report)).to_dict())


@router.get("/predictions/{prediction_id}")
def find_prediction(prediction_id: str) -> Response:
    """Lead from the address of a prediction as the API knows it to its page."""
    return RedirectResponse(f"/fraud/p/{quote(prediction_id, safe='')}", 307)


@router.get("/fraud/p/{prediction_id}/download")
def download(prediction_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Send the scored table, named after the one it was made from."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
        names = datasets.filenames(transaction, row.user_id, [row.dataset_id])
    answer = send_prediction(runtime, row)
    if row.dataset_id in names:
        answer.headers["content-disposition"] = saved_as(scored_name(names[row.dataset_id], row.format))
    return answer


@router.get("/fraud/p/{prediction_id}/riskiest")
def download_riskiest(
    prediction_id: str, runtime: RuntimeDep, user: CurrentUser, budget: Budget = DEFAULT_BUDGET
) -> Response:
    """Send the riskiest rows alone, for whoever reviews them."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
    return send_riskiest(runtime, row, budget)


def scored_name(filename: str, file_format: str) -> str:
    """Return what to call the scores of a file: `été.csv.gz` gives `été_scored.csv`."""
    stem = filename.removesuffix(".gz")
    ending = next((each for each in NAME_ENDINGS if stem.lower().endswith(each)), "")
    return f"{stem[: len(stem) - len(ending)]}_scored.{file_format}"


def own_columns(rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns of the table itself among those of its scored rows."""
    return [name for name in (rows[0] if rows else {}) if name not in SCORE_COLUMNS]


def risky_row(row: Mapping[str, Any], columns: list[str], say: Words) -> Risky:
    """Return a scored row as the page shows it."""
    names = names_of(row)
    reasons = [
        (say.phrase(row[f"reason_{i}"]), float(row[f"reason_{i}_effect"]))
        for i in range(1, REASONS + 1)
        if row.get(f"reason_{i}") and row.get(f"reason_{i}_effect") is not None
    ]
    return Risky(
        cells=tuple(_cell(row[name], say) for name in columns),
        score=float(row[names.score]),
        level=str(row[names.level]),
        flagged=bool(int(row[names.flag])),
        reasons=tuple(reasons),
        opinions=_opinions(row),
    )


def _cell(value: object, say: Words) -> str:
    """Return a value as the table has it, with the reader's decimal mark, as the reasons have theirs."""
    text = "" if value is None else str(value)
    return say.phrase(as_written(text))


def to_the_minute(cell: str) -> str:
    """Return a cell that holds a date and time, without its seconds; any other as it is."""
    moment = MOMENT.fullmatch(cell)
    return f"{moment[1]} {moment[2]}" if moment else cell


def percent_digits(probabilities: list[float]) -> int:
    """Decimals, 1 to 4, with which no probability short of 1 shows as 100 %."""
    nearest = max((p for p in probabilities if p < 1), default=0.0)
    return next((digits for digits in (1, 2, 3) if round(nearest * 100, digits) < 100), 4)


def _opinions(row: Mapping[str, Any]) -> Opinions | None:
    if row.get("anomaly_score") is None:
        return None
    combined = row.get("combined_score")
    agreement, calibrated = row.get("prediction_stability"), row.get("fraud_probability_calibrated")
    return Opinions(
        None if combined is None else float(combined), float(row["anomaly_score"]), agreement, calibrated
    )


def _reviewed(
    summary: Mapping[str, Any],
    ranking: Ranking | None,
    budget: int,
    threshold: float | None,
    meaning: Meaning,
    doubt: float,
    say: Words,
) -> dict[str, Any]:
    """Return what reviewing the `budget` riskiest rows means: the rows, how many frauds to expect among them."""
    kept = list(summary.get("top") or [])
    columns = own_columns(kept)
    own = summary.get("own") or {}
    usual = {name: _usual(known, say) for name, known in (own.get("usual") or {}).items()}
    rows = [
        replace(
            risky_row(row, columns, say),
            own=tuple(
                Own(name, _cell(value, say), usual.get(name, ""))
                for name, value in zip(own.get("columns", ()), values, strict=True)
                if name not in columns
            ),
        )
        for row, values in zip(kept, own.get("rows") or [()] * len(kept), strict=True)
    ]
    effects = [abs(effect) for row in rows for _, effect in row.reasons]
    cuts = cuts_of(summary)
    budget = min(budget, int(summary["rows"]))
    return {
        "rows": rows,
        "columns": columns,
        "budget": budget,
        "told": [tell(cut, summary, meaning, say, doubt).to_dict() for cut in cuts],
        "now": tell(cut_at(ranking, cuts, budget), summary, meaning, say, doubt).to_dict() if cuts else None,
        "exact": ranking is not None,
        "chosen": nearest(cuts, budget),
        "flagged_shown": sum(row.flagged for row in rows),
        "digits": percent_digits([row.score for row in rows]),
        "to_the_minute": to_the_minute,
        "most": max(effects, default=1.0) or 1.0,
        # Shares of the sample are spread evenly, whatever the rows: a chart of them says nothing.
        "chart": None
        if threshold is None or score_names(summary) == ANOMALY
        else model_figures.score_histogram(summary, threshold, say),
    }


def _usual(known: Mapping[str, Any], say: Words) -> str:
    """Return what was usual in a column of the rows learned from."""
    if "value" in known:
        # The commonest of hundreds of devices, met once in a hundred rows, is not usual.
        if known["share"] < COMMON:
            return ""
        return say._(
            "most often %(value)s (%(share)s)", value=known["value"], share=say.percent(known["share"], 0)
        )
    low, high = (say.as_given(float(known[end])) for end in ("low", "high"))
    return low if low == high else say._("half of all rows: %(low)s to %(high)s", low=low, high=high)


def _threshold(row: Prediction, report: AnyReport | None) -> float | None:
    """Return the threshold the rows were flagged by; None once the model is gone and the summary does not say."""
    summary = row.summary or {}
    threshold = summary.get("threshold", None if report is None else report.threshold)
    if score_names(summary) == ANOMALY:
        threshold = summary.get("flagged_from")
    return None if threshold is None else float(threshold)


def _progress(runtime: Runtime, row: Prediction, say: Words) -> Progress | None:
    """Return the job that scores the table, while it does."""
    if row.status not in ("queued", "running") or row.job_id is None:
        return None
    try:
        return progress_of(runtime, runtime.jobs.get(row.user_id, row.job_id), say)
    except JobNotFound:  # cleaned up; the row itself is there
        return None
