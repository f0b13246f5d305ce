"""Show how a table meets the library: column by column, editable; make an ensemble for it, or abstain openly."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from ecluse.apps.fraud.actions import ensembles
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.pages.datasets import Stripped, default_name, reading_progress
from ecluse.apps.fraud.pages.references import column_kinds, domain_name, total_importance
from ecluse.apps.fraud.rows import mappings, references
from ecluse.apps.fraud.rows.tables import Dataset, ReferenceModel
from ecluse.apps.fraud.tables.names import is_weak_reason
from ecluse.errors import EcluseError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

if TYPE_CHECKING:
    from ecluse.apps.fraud.references.facts import Match, MatchResult

router = Declarations()
#: From this fit on references judge alone (`ensembles.building.STRONG`, which the web process does not load).
SURE_FIT: Final = 0.8
#: From this score on a pair of columns needs no second look.
SURE_PAIR: Final = 0.75
#: Columns without a counterpart that are shown at most, for one to be chosen.
UNMATCHED_SHOWN: Final = 200
#: A column of the reference without a counterpart is named from this share of importance on, or if a person said so.
MISSING_NAMED: Final = 0.005
Verdict = Literal["sure", "check", "abstain"]


@dataclass(frozen=True)
class Row:
    """A column of the table and what it stands for: `ours` is "" where nothing does, and then the score is None.
    `chosen` is what the form shows: `ours`, or what a person chose in a form that was refused."""

    theirs: str
    kind: str
    ours: str
    why: str
    score: float | None
    settled: bool
    chosen: str

    @property
    def verdict(self) -> str:
        if self.score is None:
            return "none"
        if self.settled:
            return "settled"
        return "sure" if self.score >= SURE_PAIR and not is_weak_reason(self.why) else "check"


@dataclass(frozen=True)
class Compared:
    """A reference beside the table. `read` is the share of what its model looks at that the table has; `usable`
    says that it reaches the gate."""

    name: str
    domain: str
    fit: float
    columns: int
    columns_total: int
    read: float
    usable: bool


@dataclass(frozen=True)
class Shown:
    """The mapping to one reference. `ours` are its columns; `missing` those that nothing stands for, with their
    share of importance and whether a person said so."""

    reference: str
    rows: tuple[Row, ...]
    left_out: int
    ours: tuple[str, ...]
    missing: tuple[tuple[str, float, bool], ...]
    missing_more: int
    corrected: bool

    @property
    def doubtful(self) -> int:
        return sum(row.verdict == "check" for row in self.rows)


@dataclass(frozen=True)
class CreateForm:
    """The form that makes an ensemble, as it is shown; the rate in per cent, as it was typed. `unticked`:
    references that are not to judge."""

    name: str
    rate: str = "1"
    unticked: frozenset[str] = frozenset()


Sent = Sequence[tuple[str, str, str]]


class MappingForm(BaseModel):
    """The form of a mapping as it was sent: for each column of the table (`theirs`) what it stood for (`was`) and is to
    stand for (`ours`), "" for nothing; the references `offered` as judges, and those that are to judge.

    `alone`: by anomaly alone, whatever the mapping now says.
    """

    reference: str = ""
    theirs: list[str] = []
    was: list[str] = []
    ours: list[str] = []
    name: Stripped = ""
    fraud_rate: Stripped = ""
    offered: list[str] = []
    judges: list[str] = []
    alone: bool = False

    @property
    def unticked(self) -> frozenset[str]:
        return frozenset(self.offered) - frozenset(self.judges)

    def sent(self) -> Sent:
        """Return (theirs, was, ours) of each column. Raises InvalidInput where the form is not whole."""
        try:
            return list(zip(self.theirs, self.was, self.ours, strict=True))
        except ValueError:
            raise InvalidInput(
                _("The form did not arrive whole. Load the page again and send it once more.")
            ) from None


class MatchView(BaseModel):
    """What the address of a match's page chooses: whose columns are shown, else those of the nearest; the rest fills
    the form that makes an ensemble.
    """

    reference: str = ""
    name: str = ""
    fraud_rate: str = ""
    without: list[str] = []


@router.post("/fraud/m")
def add_sample(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Put a simulated table without labels among the user's, and open its match."""
    row = ensembles.add_unlabelled_sample(runtime, user.user.id)
    return RedirectResponse(f"/fraud/m/{row.id}", 303)


@router.get("/fraud/m/{dataset_id}")
def show_match(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    view: Annotated[MatchView, Query()],
) -> Response:
    """Show how a table meets the library."""
    row = workflows.find_dataset(runtime, user.user.id, dataset_id)
    form = CreateForm(
        view.name[:64] or default_name(row.filename), view.fraud_rate[:20] or "1", frozenset(view.without)
    )
    return _match_page(request, runtime, row, reference=view.reference, form=form)


@router.post("/fraud/m/{dataset_id}")
def save(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    sent: Annotated[MappingForm, Form()],
) -> Response:
    """Keep what was changed in the mapping to a reference, and match again; the rest of the form stays as it was."""
    row = workflows.find_dataset(runtime, user.user.id, dataset_id)
    changes = sent.sent()
    form = CreateForm(sent.name or default_name(row.filename), sent.fraud_rate or "1", sent.unticked)
    try:
        columns = corrected(_kept(runtime, row, sent.reference), changes)
        ensembles.keep_corrections(runtime, user.user.id, row.id, sent.reference, columns)
    except InvalidInput as error:
        return _match_page(
            request, runtime, row, reference=sent.reference, form=form, sent=changes, error=error
        )
    query: list[tuple[str, str]] = [("reference", sent.reference)]
    if form.name != default_name(row.filename):
        query.append(("name", form.name))
    if form.rate != "1":
        query.append(("fraud_rate", form.rate))
    query += [("without", name) for name in sorted(sent.unticked)]
    return RedirectResponse(f"/fraud/m/{row.id}?{urlencode(query)}#columns", 303)


@router.post("/fraud/m/{dataset_id}/forget")
def forget(
    dataset_id: str, runtime: RuntimeDep, user: CurrentUser, reference: Annotated[str, Form()]
) -> Response:
    """Forget the corrections of the mapping to a reference."""
    ensembles.keep_corrections(runtime, user.user.id, dataset_id, reference, {})
    return RedirectResponse(f"/fraud/m/{dataset_id}?reference={reference}#columns", 303)


@router.post("/fraud/m/{dataset_id}/ensemble")
def create(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    sent: Annotated[MappingForm, Form()],
) -> Response:
    """Keep what was changed in the mapping, queue the making of an ensemble, and show its progress; the form again,
    as it was sent, where a choice cannot be used."""
    row = workflows.find_dataset(runtime, user.user.id, dataset_id)
    changes = sent.sent()
    rate = sent.fraud_rate if "fraud_rate" in sent.model_fields_set else "1"
    form = CreateForm(sent.name, rate, sent.unticked)
    chosen = sent.judges if sent.unticked else None
    try:
        before = _kept(runtime, row, sent.reference)
        columns = corrected(before, changes)
        changed = columns != before
        run = ensembles.start_ensemble(
            runtime,
            user.user.id,
            row.id,
            form.name,
            fraud_rate=stated_rate(form.rate),
            references=[] if sent.alone and changed else chosen,
            corrections={sent.reference: columns} if changed else None,
        )
    except InvalidInput as error:
        return _match_page(
            request, runtime, row, reference=sent.reference, form=form, sent=changes, error=error
        )
    return RedirectResponse(f"/jobs/{run.job_id}", 303)


def _kept(runtime: Runtime, row: Dataset, reference: str) -> Mapping[str, str | None]:
    with runtime.catalog.read() as transaction:
        return mappings.mappings_of(transaction, row.id).get(reference, {})


def corrected(before: Mapping[str, str | None], sent: Sent) -> dict[str, str | None]:
    """Return what a person has settled, {ours: theirs or None}: `before`, and what was changed in the form since.

    `sent` has for each column of the table what it stood for and what it is to stand for, "" for nothing.

    Raises InvalidInput where two columns are to stand for the same one.
    """
    chosen: dict[str, str] = {}
    for theirs, _rest, ours in sent:
        if ours and ours in chosen:
            raise InvalidInput(
                _(
                    '"%(name)s" and "%(column)s" cannot both stand for "%(word)s". Choose one of them.',
                    name=chosen[ours],
                    column=theirs,
                    word=ours,
                )
            )
        if ours:
            chosen[ours] = theirs
    columns = dict(before)
    for theirs, was, ours in sent:
        if was == ours:
            continue
        if was and was not in chosen:
            columns[was] = None
        if ours:
            columns[ours] = theirs
    return columns


def stated_rate(text: str) -> float:
    """Return a percentage as it was typed, as a share. Raises InvalidInput, in the form's own words."""
    low, high = (round(100 * bound, 4) for bound in ensembles.RATES)
    try:
        percent = float(text.replace(",", ".").replace("%", ""))
    except ValueError:
        percent = math.nan
    if not low <= percent <= high:
        raise InvalidInput(
            _(
                "The stated fraud rate must be from %(low)s to %(high)s; it was %(value)s. Correct it.",
                low=f"{low:g} %",
                high=f"{high:g} %",
                value=text or "–",
            )
        )
    return percent / 100


def verdict_of(result: MatchResult) -> Verdict:
    """Tell whether the references can judge the table alone, with anomaly beside them, or not at all."""
    if result.abstain or not result.matches:
        return "abstain"
    return "sure" if result.matches[0].similarity >= SURE_FIT else "check"


def _match_page(
    request: Request,
    runtime: Runtime,
    row: Dataset,
    *,
    reference: str = "",
    form: CreateForm | None = None,
    sent: Sent = (),
    error: EcluseError | None = None,
) -> Response:
    say = words_of(request)
    form = form or CreateForm(default_name(row.filename))
    context: dict[str, Any] = {
        "dataset": row,
        "progress": reading_progress(runtime, row, say),
        "label": _label(row),
        "form": form,
        "verdict": None,
        "shown": None,
        "compared": [],
        "gate": None,
        "sure_fit": SURE_FIT,
        "reason": "",
        "lost": None,
        "kinds": column_kinds(say),
        "error": str(error) if error else None,
    }
    if row.state != "profiling":
        try:
            context |= _matched(runtime, row, reference, sent, say)
        except InvalidInput as refused:  # it was not, or cannot be, read: the page says so
            error = error or refused
            context["error"] = str(error)
    return render(request, "fraud/match.html", context, status=error.status if error else 200)


def _matched(runtime: Runtime, row: Dataset, reference: str, sent: Sent, say: Words) -> dict[str, Any]:
    from ecluse.apps.fraud.references.matching import GATE

    result = ensembles.match_dataset(runtime, row)
    near = (*result.matches, *result.below)
    usable = set() if result.abstain else {match.reference for match in result.matches}
    with runtime.catalog.read() as transaction:
        known = {
            row_of.name: row_of
            for row_of in references.references_named(transaction, [match.reference for match in near])
        }
        settled = mappings.mappings_of(transaction, row.id)
    known_matches = [match for match in near if match.reference in known]
    chosen = next(
        (match for match in known_matches if match.reference == reference),
        known_matches[0] if known_matches else None,
    )
    return {
        "verdict": verdict_of(result),
        "gate": GATE,
        "reason": result.reason,
        "lost": reference if reference in settled and reference != (chosen and chosen.reference) else None,
        "compared": [_compared(match, known[match.reference], usable, say) for match in known_matches],
        "shown": chosen
        and _shown(
            chosen,
            known[chosen.reference],
            row,
            settled.get(chosen.reference, {}),
            sent if chosen.reference == reference else (),
        ),
    }


def _compared(match: Match, row: ReferenceModel, usable: Collection[str], say: Words) -> Compared:
    importance = {str(sketch["name"]): float(sketch.get("importance", 0.0)) for sketch in row.sketches}
    read = sum(importance.get(pair.ours, 0.0) for pair in match.columns) / total_importance(row)
    domain = domain_name(match.domain, say)
    return Compared(
        match.reference,
        domain,
        match.similarity,
        len(match.columns),
        len(importance),
        read,
        match.reference in usable,
    )


def _shown(
    match: Match, row: ReferenceModel, dataset: Dataset, settled: Mapping[str, str | None], sent: Sent
) -> Shown:
    chosen = {theirs: ours for theirs, _, ours in sent}
    kinds = {
        str(column["name"]): str(column["kind"]) for column in (dataset.profile or {}).get("columns") or []
    }
    matched = [
        Row(
            theirs=pair.theirs,
            kind=kinds.get(pair.theirs, ""),
            ours=pair.ours,
            why=pair.why,
            score=pair.score,
            settled=settled.get(pair.ours) == pair.theirs,
            chosen=chosen.get(pair.theirs, pair.ours),
        )
        for pair in match.columns
    ]
    paired = {pair.theirs for pair in match.columns}
    label = _label(dataset)
    free = [
        Row(name, kind, "", "", None, False, chosen.get(name, ""))
        for name, kind in kinds.items()
        if name not in paired and name != label
    ]
    total = total_importance(row)
    importance = {
        str(column["name"]): float(column.get("importance", 0.0)) / total for column in row.sketches
    }
    missing = [
        (name, importance.get(name, 0.0), name in settled and settled[name] is None) for name in match.missing
    ]
    named = tuple(column for column in missing if column[1] >= MISSING_NAMED or column[2])
    doubtful = [column for column in matched if column.verdict == "check"]
    return Shown(
        reference=match.reference,
        rows=(
            *(column for column in matched if column.verdict != "check"),
            *doubtful,
            *free[:UNMATCHED_SHOWN],
        ),
        left_out=max(0, len(free) - UNMATCHED_SHOWN),
        ours=tuple(importance),
        missing=named,
        missing_more=len(missing) - len(named),
        corrected=bool(settled),
    )


def _label(row: Dataset) -> str | None:
    guess = ((row.profile or {}).get("guesses") or {}).get("target") or {}
    return guess.get("column")
