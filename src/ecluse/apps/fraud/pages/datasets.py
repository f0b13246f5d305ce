"""Show what is in a table, train on it, score it, remove it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Form, Query, Request
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import RedirectResponse, Response

from ecluse import models as published
from ecluse.accounts import SignedIn
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.actions.versions import SCORING, may_score
from ecluse.apps.fraud.goal import OFFERED
from ecluse.apps.fraud.performance.reports import read_report
from ecluse.apps.fraud.rows import predictions, training
from ecluse.apps.fraud.rows.datasets import layout_of
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.scoring.formats import DEFAULT, ResultName
from ecluse.apps.fraud.tables.meaning import Candidate, Meaning, candidates, meaning_in_profile
from ecluse.apps.fraud.training.request import TrainingRequest, form_titles
from ecluse.catalog import models, sharing
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput, JobNotFound
from ecluse.registry import checked_name
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.tabular.layout import Layout
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import Progress, progress_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
BUDGETS: Final = (10, 30, 60, 300, 900, 3600)
DEFAULT_BUDGET: Final = 60
SHOWN: Final = 10
#: Columns listed at first; a table may have thousands.
COLUMNS_SHOWN: Final = 200
#: Models of others among which those that score transactions are looked for.
SHARED_OFFERED: Final = 500
#: Explaining this many rows takes about ten seconds on two cores.
EXPLAIN_ALL_ROWS: Final = 5_000
YEAR_NAME: Final = re.compile(r"year|ann[eé]e|(?<![a-z])(yr|an)(?![a-z])", re.IGNORECASE)
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2100
#: Beside a label that is guessed, columns are offered from this score on: those of two values, or named like one.
LEAST_BESIDE: Final = 0.3
#: The most alerts a day that the form takes.
MOST_ALERTS: Final = 1_000_000
#: The most that a missed fraud or a false alarm may cost in the form, in any currency.
MOST_COST: Final = 1_000_000_000
Field = Annotated[str, Form()]
Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]


@dataclass(frozen=True)
class LeaveOut:
    """A column that may be left out of a training, and whether and why it is.

    One that `gives_away` the label is left out unless a person keeps it.
    """

    column: str
    chosen: bool
    reason: str
    gives_away: bool = False


@dataclass(frozen=True)
class TrainForm:
    """The training form as it is shown: what may be chosen, what is, and the reason of each guess."""

    columns: tuple[str, ...]
    time_columns: tuple[str, ...]
    leave_out: tuple[LeaveOut, ...]
    model_name: str
    target: str | None = None
    target_reason: str = ""
    time: str | None = None
    time_reason: str = ""
    customer: str | None = None
    customer_reason: str = ""
    positive: str = ""
    meaning: Meaning | None = None
    candidates: tuple[Candidate, ...] = ()
    budget: int = DEFAULT_BUDGET
    budgets: tuple[int, ...] = BUDGETS
    goal: str = "f1"
    goal_value: str = "50"
    false_alarm: str = "10"
    wrong: frozenset[str] = frozenset()
    titles: Mapping[str, str] = field(default_factory=form_titles)
    goals: Mapping[str, str] = field(default_factory=lambda: OFFERED)


class TrainChoices(BaseModel):
    """The training form as it was sent.

    `gives_away` are columns that were shown as giving the label away: those not left out are kept.
    """

    model_config = ConfigDict(frozen=True)

    target: str = ""
    time: str = ""
    customer: str = ""
    budget: int = DEFAULT_BUDGET
    name: Stripped = ""
    goal: str = "f1"
    goal_value: Stripped = ""
    positive: Stripped = ""
    leave_out: tuple[str, ...] = ()
    false_alarm: Stripped = ""
    gives_away: tuple[str, ...] = ()


class TableView(BaseModel):
    """What the address of a table's page chooses: the model of the scoring form, the label of the training form, and
    the columns that it keeps though they give the label away; `columns=all` shows every column.
    """

    model: str | None = None
    columns: str = ""
    target: str = ""
    keep: tuple[str, ...] = ()


@router.get("/fraud/d/{dataset_id}")
def show_dataset(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    view: Annotated[TableView, Query()],
) -> Response:
    """Show one table."""
    row = workflows.find_readable(runtime, user.user.id, dataset_id)
    return _dataset_page(request, runtime, user, row, view)


@router.get("/fraud/d/{dataset_id}/meaning")
def show_meaning(
    request: Request, dataset_id: str, runtime: RuntimeDep, user: CurrentUser, target: str = ""
) -> Response:
    """Show the part of the training form that says which value of a column means fraud, or asks."""
    row = workflows.find_dataset(runtime, user.user.id, dataset_id)
    form = train_form(row, target)
    return render(request, "fraud/_meaning.html", {"form": form})


@router.post("/fraud/d/{dataset_id}/train")
def train(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    choices: Annotated[TrainChoices, Form()],
) -> Response:
    """Queue a training and show its progress; the form again when a choice cannot be used."""
    row = workflows.find_dataset(runtime, user.user.id, dataset_id)
    try:
        run = workflows.start_training(runtime, user.user.id, row.id, training_request(row, choices))
    except InvalidInput as error:
        return _dataset_page(request, runtime, user, row, choices=choices, error=error)
    return RedirectResponse(f"/jobs/{run.job_id}", 303)


@router.post("/fraud/d/{dataset_id}/score")
def score(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    model: Annotated[str, Form()],
    result_format: Annotated[ResultName, Form()] = DEFAULT,
    reasons: Annotated[workflows.Reasons, Form()] = "risky",
) -> Response:
    """Queue the scoring with the latest version of a model, and show where its result will be."""
    row = workflows.find_readable(runtime, user.user.id, dataset_id)
    try:
        chosen = workflows.ScoringRequest(model, result_format=result_format, reasons=reasons)
        scored = workflows.start_prediction(runtime, user.user.id, row.id, chosen)
    except InvalidInput as error:
        return _dataset_page(request, runtime, user, row, error=error)
    return RedirectResponse(f"/fraud/p/{scored.id}", 303)


@router.post("/fraud/d/{dataset_id}/layout")
def read_again(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    sheet: Annotated[str, Form(max_length=300)] = "",
    names: Field = "",
    header_row: Field = "",
) -> Response:
    """Read the table from another sheet, or with its names in another row; the page again where that cannot be."""
    row = workflows.find_dataset(runtime, user.user.id, dataset_id)
    try:
        layout = Layout(sheet or None, _header_row(names, header_row))
        workflows.read_again(runtime, user.user.id, row.id, layout)
    except InvalidInput as error:
        return _dataset_page(request, runtime, user, row, error=error)
    return RedirectResponse(f"/fraud/d/{row.id}", 303)


@router.post("/fraud/d/{dataset_id}/remove")
def remove(dataset_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Delete the table; what was made from it stays."""
    workflows.remove_dataset(runtime, user.user.id, dataset_id)
    return RedirectResponse("/fraud", 303)


def training_request(row: Dataset, choices: TrainChoices) -> TrainingRequest:
    """Convert what the form asks for. Raises InvalidInput."""
    identifiers = {c["name"] for c in _columns(row) if c["guess_role"] == "identifier"}
    return TrainingRequest.chosen(
        {
            "model_name": choices.name or default_name(row.filename),
            "target_column": choices.target,
            "positive_value": choices.positive or None,
            "time_column": choices.time,
            "customer_column": choices.customer,
            "identifier_columns": [c for c in choices.leave_out if c in identifiers],
            "excluded": [c for c in choices.leave_out if c not in identifiers],
            "keep": [c for c in choices.gives_away if c not in choices.leave_out],
            "budget_s": float(choices.budget),
            "goal": _goal(choices),
        }
    )


def train_form(row: Dataset, chosen_target: str = "", kept: tuple[str, ...] = ()) -> TrainForm | None:
    """Return the form with the profile's guesses filled in, or another label; None until there is a profile.

    The columns `kept` are those that give the label away and are learned from all the same.
    """
    if row.profile is None:
        return None
    guesses: dict[str, Any] = row.profile.get("guesses") or {}
    columns = _columns(row)
    target, time, customer = (guesses.get(role) or {} for role in ("target", "timestamp", "customer"))
    times = tuple(c["name"] for c in columns if c["kind"] == "datetime" or c["name"] == time.get("column"))
    names = tuple(c["name"] for c in columns)
    if chosen_target in names and chosen_target != target.get("column"):
        target = {"column": chosen_target}
    meaning = meaning_in_profile(row.profile, target.get("column"))
    return TrainForm(
        columns=names,
        time_columns=times,
        leave_out=_to_leave_out(row, target.get("column"), kept),
        model_name=default_name(row.filename),
        target=target.get("column"),
        target_reason=target.get("reason", ""),
        time=time.get("column"),
        time_reason=time.get("reason", ""),
        customer=customer.get("column"),
        customer_reason=customer.get("reason", ""),
        positive=meaning.value or "" if meaning and meaning.sure else "",
        meaning=meaning,
        candidates=tuple(
            candidate
            for candidate in candidates(row.profile)
            # Beside a guess, only what could be a label as well: a port of three values is none.
            if candidate.column != target.get("column") and (not target or candidate.score >= LEAST_BESIDE)
        ),
    )


def _to_leave_out(row: Dataset, target: str | None, kept: tuple[str, ...]) -> tuple[LeaveOut, ...]:
    """Return the columns that may be left out: first those that give the label away, then in their order."""
    columns = _columns(row)
    guessed = ((row.profile or {}).get("guesses") or {}).get("target") or {}
    of_guess = (row.profile or {}).get("giveaways") or [] if target == guessed.get("column") else []
    reasons = {giveaway["column"]: giveaway["reason"] for giveaway in of_guess}
    reasons |= {c["name"]: "" for c in columns if c["name"] in kept and c["name"] not in reasons}
    unused = ("identifier", "leave_out")
    return (
        *(LeaveOut(name, name not in kept, reason, gives_away=True) for name, reason in reasons.items()),
        *(
            LeaveOut(c["name"], c["guess_role"] in unused, c.get("reason", ""))
            for i, c in enumerate(columns)
            if c["name"] not in reasons and (i < COLUMNS_SHOWN or c["guess_role"] in unused)
        ),
    )


def label_of(row: Dataset) -> Meaning | None:
    """Return what the guessed label of a table means."""
    guess = ((row.profile or {}).get("guesses") or {}).get("target") or {}
    return meaning_in_profile(row.profile, guess.get("column"))


def can_score(version: ModelVersion, table: Dataset) -> bool:
    """Tell whether a table that was read has every column the model reads."""
    needed = needed_columns(version)
    return table.state == "ready" and bool(needed) and needed <= {c["name"] for c in _columns(table)}


def needed_columns(version: ModelVersion) -> frozenset[str]:
    """Return the columns a model needs; none where it is not a model of tables."""
    if version.application != "fraud":
        return frozenset()
    report = read_report(version.report)
    return frozenset(report.required_columns or report.columns)


def years(columns: list[dict[str, Any]]) -> frozenset[str]:
    """Return the columns that hold years: named like one, whole numbers from 1900 to 2100. They take no marks."""
    return frozenset(
        column["name"]
        for column in columns
        if YEAR_NAME.search(str(column["name"]))
        and all(
            isinstance(end, int | float) and FIRST_YEAR <= end <= LAST_YEAR and end == round(end)
            for end in (column["minimum"], column["maximum"])
        )
    )


def default_reasons(rows: int | None) -> workflows.Reasons:
    """Choose which rows a scoring explains at first: all of a small table, the risky ones of a large."""
    return "all" if (rows or 0) <= EXPLAIN_ALL_ROWS else "risky"


def default_name(filename: str) -> str:
    """Return a model name made of a file name: its stem, with hyphens for what a name cannot hold."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(filename).name.split(".")[0]).strip("-._")
    return stem[:64] or "model"


def _dataset_page(
    request: Request,
    runtime: Runtime,
    user: SignedIn,
    row: Dataset,
    view: TableView | None = None,
    *,
    choices: TrainChoices | None = None,
    error: InvalidInput | None = None,
) -> Response:
    """Show a table: to whom it is shared with what may be read, and the scores that they made of it."""
    say, view, user_id = words_of(request), view or TableView(), user.user.id
    is_own = row.user_id == user_id
    with runtime.catalog.read() as transaction:
        owner = None if is_own else sharing.handle_of(transaction, row.user_id)
        may_share = is_own or row.user_id in sharing.makers_of(transaction, user_id)
        latest = [version for version in models.list_latest(transaction, user_id) if may_score(version)]
        trained, trained_total = training.list_runs(transaction, user_id, dataset_id=row.id, limit=SHOWN)
        scored = predictions.list_predictions(transaction, user_id, dataset_id=row.id, limit=SHOWN)
        scored_total = predictions.count_predictions(transaction, user_id, dataset_id=row.id)
    shared, _total = published.list_shared(runtime, user_id, limit=SHARED_OFFERED, applications=SCORING)
    form = train_form(row, choices.target if choices else view.target, view.keep) if is_own else None
    shown = _columns(row)[: None if view.columns == "all" else COLUMNS_SHOWN]
    guessed = next((version.name for version in latest if can_score(version, row)), None)
    context = {
        "dataset": row,
        "owner": owner,
        "may_share": may_share,
        "profile": row.profile,
        "layout": layout if (layout := layout_of(row)).preview else None,
        "columns": shown,
        "years": years(shown),
        "progress": reading_progress(runtime, row, say) if is_own else None,
        "form": _as_sent(form, choices) if form and choices else form,
        "label": label_of(row),
        "period": _period(row, say),
        "kinds": _kinds(say),
        "roles": _roles(say),
        "models": latest,
        "shared_models": shared,
        "may_score": bool(latest or shared),
        "chosen_model": view.model or guessed,
        "guessed_model": guessed,
        "reasons": default_reasons(row.rows),
        "runs": trained,
        "runs_total": trained_total,
        "predictions": scored,
        "predictions_total": scored_total,
        "names": {row.id: row.filename},
        "error": str(error) if error else None,
    }
    return render(request, "fraud/dataset.html", context, status=error.status if error else 200)


def _header_row(names: str, written: str) -> int | None:
    """Return the row of names as the form says it: 0 for none, None for one that is to be found."""
    if names != "row":
        return 0 if names == "none" else None
    # Four digits at most, as ² is a digit too, and thousands of them are no number to Python.
    number = int(written) if re.fullmatch(r"[0-9]{1,4}", written) else 0
    if not 1 <= number <= 2_000:
        raise InvalidInput(
            _("Row %(value)s cannot hold the names: choose one from 1 to 2,000.", value=written[:20] or "–")
        )
    return number


def _as_sent(form: TrainForm, choices: TrainChoices) -> TrainForm:
    return replace(
        form,
        target=choices.target or None,
        time=choices.time or None,
        customer=choices.customer or None,
        positive=choices.positive,
        budget=choices.budget,
        model_name=choices.name,
        goal=choices.goal,
        goal_value=choices.goal_value,
        false_alarm=choices.false_alarm,
        wrong=_wrong(choices),
        leave_out=tuple(replace(c, chosen=c.column in choices.leave_out) for c in form.leave_out),
    )


def _goal(choices: TrainChoices) -> str:
    """Return the goal as the workflow reads it. Raises InvalidInput, in the form's own words."""
    if choices.goal == "f1":
        return "f1"
    value, given = _number(choices.goal_value), choices.goal_value or "–"
    if choices.goal == "recall" and not 0 < value <= 100:
        raise InvalidInput(
            _(
                "The share of fraud to find must be above 0 %% and at most 100 %%; it was %(value)s. "
                "Correct it.",
                value=given,
            )
        )
    if choices.goal == "precision" and not 0 < value <= 100:
        raise InvalidInput(
            _(
                "The share of alerts that are right must be above 0 %% and at most 100 %%; it was "
                "%(value)s. Correct it.",
                value=given,
            )
        )
    if choices.goal in ("recall", "precision"):
        return f"{choices.goal}={value / 100:g}"
    if choices.goal == "cost":
        return _cost_goal(value, given, choices.false_alarm)
    if not 0 < value <= MOST_ALERTS:
        raise InvalidInput(
            _(
                "The alerts a day must be a number above 0 and at most 1,000,000; it was %(value)s. "
                "Correct it.",
                value=given,
            )
        )
    return f"alerts={value:g}"


def _cost_goal(missed: float, given: str, false_alarm: str) -> str:
    alarm = _number(false_alarm)
    for value, said in ((missed, given), (alarm, false_alarm or "–")):
        if not 0 < value <= MOST_COST:
            raise InvalidInput(
                _(
                    "A cost must be a number above 0 and at most 1,000,000,000; it was %(value)s. Correct "
                    "it.",
                    value=said,
                )
            )
    return f"cost={missed:g}:{alarm:g}"


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan  # no number: outside every range, so that the form refuses it in its words


def _wrong(choices: TrainChoices) -> frozenset[str]:
    """Return the fields among the folded choices that cannot be used as they were sent."""
    checks: dict[str, Callable[[], str]] = {
        "goal_value": lambda: _goal(choices),
        "name": lambda: checked_name(choices.name),
    }
    return frozenset(field for field, check in checks.items() if _refuses(check))


def _refuses(check: Callable[[], object]) -> bool:
    try:
        check()
    except InvalidInput:  # the page says it once, as the workflow put it
        return True
    return False


def reading_progress(runtime: Runtime, row: Dataset, say: Words) -> Progress | None:
    """Return the job that reads the table, while it does."""
    if row.state != "profiling" or row.job_id is None:
        return None
    try:
        return progress_of(runtime, runtime.jobs.get(row.user_id, row.job_id), say)
    except JobNotFound:  # cleaned up; the table itself is there
        return None


def _period(row: Dataset, say: Words) -> str | None:
    """From when to when the rows reach, where a column tells."""
    time = ((row.profile or {}).get("guesses") or {}).get("timestamp") or {}
    column = next((c for c in _columns(row) if c["name"] == time.get("column")), None)
    if column is None or column["kind"] != "datetime":
        return None
    try:
        first, last = (datetime.fromisoformat(str(column[end])) for end in ("minimum", "maximum"))
    except ValueError:
        return None  # a time of day or a year alone: no period can be said
    return say._("from %(first)s to %(last)s", first=say.day(first), last=say.day(last))


def _columns(row: Dataset) -> list[dict[str, Any]]:
    return list((row.profile or {}).get("columns") or [])


def _kinds(say: Words) -> dict[str, str]:
    return {
        "number": say._("number"),
        "category": say._("category"),
        "text": say._("text"),
        "datetime": say._("date and time"),
        "identifier": say._("identifier"),
        "constant": say._("constant"),
    }


def _roles(say: Words) -> dict[str, str]:
    return {
        "feature": say._("Feature"),
        "identifier": say._("Identifier"),
        "customer": say._("Customer"),
        "timestamp": say._("Time"),
        "target": say._("Label"),
        "leave_out": say._("Left out"),
    }
