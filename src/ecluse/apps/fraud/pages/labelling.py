"""Answer for the rows of a table that tell most of a model, one at a time, and learn from the answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import Form, Query, Request, UploadFile
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from ecluse import models as registry
from ecluse.apps.fraud.actions import labelling
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.pages.datasets import can_score
from ecluse.apps.fraud.pages.usual import usual_values
from ecluse.apps.fraud.rows import inspections, labels, predictions
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.catalog import models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import EcluseError, InvalidInput, JobNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import safe_filename
from ecluse.tabular.formats import ACCEPTED
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import ABSENT, Words
from ecluse.web.pages.jobs import Progress, progress_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
Answer = Literal["fraud", "legitimate", "skip", "undo"]
Text = Annotated[str, Form()]
#: Scorings of a table that are looked through for models to ask for.
SCORINGS: Final = 50
COUNTS: Final = (20, 30, 40, 50, 100)
#: Labels of each kind from which on one can learn.
LEAST: Final = 3
#: A trail longer than this is cut: nothing older is undone.
MOST_TRAIL: Final = labelling.MOST
TRAIL: Final = re.compile(r"\d{1,12}[fl]?(,\d{1,12}[fl]?)*")
#: How a trail says what a row was labelled before.
LETTERS: Final = {"f": 1, "l": 0}


@dataclass(frozen=True)
class Step:
    """A row acted on, and the label that it had before (None: none): what undoing gives back."""

    row: int
    before: int | None

    def __str__(self) -> str:
        return f"{self.row}{'' if self.before is None else 'lf'[self.before]}"


@dataclass(frozen=True)
class Card:
    """A row to answer for: its number from 1, its place among the questions, its cells.

    `answer` is what was said of it before; `cells` are (column, value, what is usual in the column, or empty). What
    the model says of the row is no part of it: whoever sees a score first answers nearer to it (anchoring).
    """

    row: int
    place: int
    cells: tuple[tuple[str, str, str], ...]
    answer: int | None


@dataclass(frozen=True)
class Opinion:
    """What the model says of a row that was answered: why it was asked about, its score and reasons.

    `anomaly` is None where the model has none; `reasons` have effects of which `most` is the largest of all rows.
    """

    row: int
    answer: int
    why: str
    score: float
    anomaly: float | None
    reasons: tuple[tuple[str, float], ...]
    most: float


@dataclass(frozen=True)
class Asking:
    """The questions about a table and how far one got: the card to answer, or None at the end.

    `trail` are the steps since the page was opened, in order; `answers` (row, label) by place. `opinion` is of the
    row answered last, None where the last step was no answer.
    """

    card: Card | None
    opinion: Opinion | None
    total: int
    answered: int
    skipped: int
    trail: tuple[Step, ...]
    answers: tuple[tuple[int, int], ...]


class LabelView(BaseModel):
    """What the address of the labelling page chooses: the model as NAME@VERSION, a row to answer again, and the rows
    acted on so far.
    """

    model: str | None = None
    row: int | None = None
    trail: Annotated[str, Field(max_length=4_000)] = ""


@router.get("/datasets/{dataset_id}/label")
def show_labelling(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    view: Annotated[LabelView, Query()],
) -> Response:
    """Show the row to label next."""
    return _page(request, runtime, user.user.id, dataset_id, view)


@router.post("/datasets/{dataset_id}/label/questions")
def ask(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    model: Text,
    count: Annotated[int, Form()] = labelling.QUESTIONS,
) -> Response:
    """Queue the choice of the rows to ask about."""
    try:
        asked = labelling.start_questions(runtime, user.user.id, dataset_id, model, count=count)
    except InvalidInput as error:
        return _page(request, runtime, user.user.id, dataset_id, error=error)
    return _to(dataset_id, f"{asked.model_name}@{asked.version}")


class AnswerForm(BaseModel):
    """An answer for a row as it was sent."""

    model: str
    answer: Answer
    row: int = 0
    trail: str = ""


@router.post("/datasets/{dataset_id}/label/answer")
def answer(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    form: Annotated[AnswerForm, Form()],
) -> Response:
    """Keep an answer, or take the last one back, and show the row that follows."""
    row = form.row
    passed = [step for step in steps_of(form.trail) if form.answer == "undo" or step.row != row]
    shown: int | None = None
    try:
        if form.answer == "undo":
            if passed:
                last = passed.pop()
                shown = last.row
                labelling.put_labels(runtime, user.user.id, dataset_id, {shown: last.before})
        else:
            with runtime.catalog.read() as transaction:
                before = labels.labels_of(transaction, user.user.id, dataset_id).get(row)
            if form.answer != "skip":
                label = {row: int(form.answer == "fraud")}
                labelling.put_labels(runtime, user.user.id, dataset_id, label)
            passed.append(Step(row, before))
    except InvalidInput as error:
        view = LabelView(model=form.model)
        return _page(request, runtime, user.user.id, dataset_id, view, error=error)
    return _to(dataset_id, form.model, passed[-MOST_TRAIL:], shown)


@router.post("/datasets/{dataset_id}/label/upload")
def upload_labels(
    request: Request,
    dataset_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    file: UploadFile,
    model: Text = "",
) -> Response:
    """Note the labels of a small file with the columns row and label."""
    from ecluse.apps.fraud.actions.uploads import labels_of_upload

    dataset = workflows.find_dataset(runtime, user.user.id, dataset_id)
    try:
        with runtime.scratch() as folder:
            path = folder / safe_filename(file.filename or "labels")
            path.write_bytes(file.file.read())
            memory = runtime.settings.reader_max_bytes
            given = labels_of_upload(
                path, file.filename or "labels", most=labelling.MOST_LABELS, memory=memory
            )
        labelling.put_labels(runtime, user.user.id, dataset.id, given)
    except InvalidInput as error:
        return _page(request, runtime, user.user.id, dataset_id, LabelView(model=model or None), error=error)
    return _to(dataset_id, model)


@router.post("/datasets/{dataset_id}/label/learn")
def learn(
    request: Request, dataset_id: str, runtime: RuntimeDep, user: CurrentUser, model: Text, rate: Text = ""
) -> Response:
    """Queue learning from the labels. `rate` is the fraud rate held to be true, in per cent; empty: the model's."""
    try:
        held = _share(rate)
        labelling.start_learning(runtime, user.user.id, dataset_id, model, fraud_rate=held)
    except InvalidInput as error:
        return _page(request, runtime, user.user.id, dataset_id, LabelView(model=model), error=error)
    return _to(dataset_id, model)


def steps_of(trail: str) -> list[Step]:
    """Read the steps of a trail such as `12,7f`; none where it is not one."""
    if not TRAIL.fullmatch(trail):
        return []
    return [Step(int(step.rstrip("fl")), LETTERS.get(step[-1])) for step in trail.split(",")]


def askable(runtime: Runtime, dataset: Dataset) -> list[str]:
    """Return the versions one may ask for, as NAME@VERSION: those that scored the table, newest first, then those that
    can.
    """
    with runtime.catalog.read() as transaction:
        scored = predictions.list_predictions(
            transaction, dataset.user_id, dataset_id=dataset.id, status="done", limit=SCORINGS
        )
        latest = models.list_latest(transaction, dataset.user_id)
        kept = {(row.name, row.version) for row in latest}
        for name in {row.model_name for row in scored}:
            kept |= {(name, row.version) for row in models.list_versions(transaction, dataset.user_id, name)}
    names = [(row.model_name, row.version) for row in scored if (row.model_name, row.version) in kept]
    names += [(row.name, row.version) for row in latest if _fits(row, dataset)]
    return [f"{name}@{version}" for name, version in dict.fromkeys(names)]


def asking_of(
    result: Mapping[str, Any],
    known: Mapping[int, int],
    trail: Sequence[Step],
    row: int | None,
    say: Words,
    usual: Mapping[str, str] | None = None,
) -> Asking:
    """Return where one is in the questions of an inspection: at `row`, or at the first that is neither answered nor
    passed.

    `usual` says what is usual in columns.
    """
    questions = list(result["questions"])
    rows = [int(question["row"]) for question in questions]
    passed = {step.row for step in trail}
    waiting = [number for number in rows if number not in known and number not in passed]
    at = row if row in rows else next(iter(waiting), None)
    answers = tuple((number, known[number]) for number in rows if number in known)
    return Asking(
        card=None if at is None else _card(result, rows.index(at), known, usual or {}),
        opinion=_opinion(result, rows, known, trail, at, say),
        total=len(rows),
        answered=len(answers),
        skipped=sum(number not in known and number in passed for number in rows),
        trail=tuple(trail),
        answers=answers,
    )


def whys(say: Words) -> dict[str, str]:
    """Return why a row was chosen."""
    return {
        "highest": say._("among the highest scores"),
        "threshold": say._("close to the threshold"),
        "disagreement": say._("the parts of the model disagree on it"),
        "diverse": say._("unlike the other rows asked about"),
        "random": say._("drawn at random, so that the figures hold for all rows"),
    }


def _card(result: Mapping[str, Any], place: int, known: Mapping[int, int], usual: Mapping[str, str]) -> Card:
    row = int(result["questions"][place]["row"])
    shown = result["shown"][place].items()
    cells = tuple((name, _cell(value), usual.get(name, "")) for name, value in shown)
    return Card(row=row, place=place + 1, cells=cells, answer=known.get(row))


def _opinion(
    result: Mapping[str, Any],
    rows: Sequence[int],
    known: Mapping[int, int],
    trail: Sequence[Step],
    at: int | None,
    say: Words,
) -> Opinion | None:
    """Return what the model says of the row of the last step, once that has an answer and is not asked about again."""
    last = trail[-1].row if trail else None
    if last is None or last == at or last not in rows or last not in known:
        return None
    place = rows.index(last)
    question, every = result["questions"][place], result.get("reasons") or []
    effects = [abs(float(effect)) for reasons in every for _, effect in reasons]
    return Opinion(
        row=last,
        answer=known[last],
        why=whys(say).get(question["why"], str(question["why"])),
        score=float(question["score"]),
        anomaly=question["anomaly"],
        reasons=tuple((say.phrase(text), float(effect)) for text, effect in (every[place] if every else ())),
        most=max(effects, default=1.0) or 1.0,
    )


def _cell(value: Any) -> str:
    return ABSENT if value is None or value == "" else str(value)


def _share(text: str) -> float | None:
    """Return a share in [0, 1] from per cent as a person writes them; None for nothing. Raises InvalidInput."""
    if not text.strip():
        return None
    try:
        return float(text.replace(",", ".").replace("%", "")) / 100
    except ValueError:
        raise InvalidInput(
            _('A fraud rate of "%(value)s" is no number. Write per cent, such as 1, or nothing.', value=text)
        ) from None


def _fits(version: ModelVersion, dataset: Dataset) -> bool:
    made_for = version.report.get("kind") == "ensemble" and version.dataset_id == dataset.id
    return made_for or can_score(version, dataset)


def _to(dataset_id: str, model: str, trail: Sequence[Step] = (), row: int | None = None) -> Response:
    query = {"model": model} if model else {}
    if trail:
        query["trail"] = ",".join(map(str, trail))
    if row is not None:
        query["row"] = str(row)
    return RedirectResponse(f"/datasets/{dataset_id}/label?{urlencode(query)}", 303)


def _page(
    request: Request,
    runtime: Runtime,
    user_id: str,
    dataset_id: str,
    view: LabelView | None = None,
    *,
    error: EcluseError | None = None,
) -> Response:
    say, view = words_of(request), view or LabelView()
    dataset = workflows.find_dataset(runtime, user_id, dataset_id)
    offered = askable(runtime, dataset)
    chosen = _chosen(runtime, dataset, view.model, offered)
    asked = _latest(runtime, dataset, "questions", chosen)
    learned = _latest(runtime, dataset, "learning", chosen)
    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, user_id, dataset.id)
        name = (learned.model_name if learned else "") or ""
        newest = models.list_versions(transaction, user_id, name)[:1] if name else []
    done = _latest(runtime, dataset, "questions", chosen, done=True)
    frauds = sum(known.values())
    context = {
        "dataset": dataset,
        "model": chosen,
        "offered": offered if chosen is None or chosen in offered else [chosen, *offered],
        "counts": COUNTS,
        "count": labelling.QUESTIONS,
        "progress": _progress(runtime, [asked, learned], say),
        "failed": next((row for row in (learned, asked) if row and row.status == "failed"), None),
        "asking": asking_of(
            done.result or {}, known, steps_of(view.trail), view.row, say, usual_values(dataset.profile, say)
        )
        if done
        else None,
        "figures": _figures(done, known),
        "known": len(known),
        "frauds": frauds,
        "enough": min(frauds, len(known) - frauds) >= LEAST,
        "learned": learned if learned and learned.status == "done" else None,
        "newest": learned is not None and any(version.version == learned.other_version for version in newest),
        "accept": ACCEPTED,
        "error": str(error) if error else None,
    }
    return render(request, "fraud/label.html", context, status=error.status if error else 200)


def _chosen(runtime: Runtime, dataset: Dataset, model: str | None, offered: Sequence[str]) -> str | None:
    """Return the version that is asked for: that of the address, else the one asked for last, else the
    first offered.
    """
    if model:
        used = registry.resolve(runtime, dataset.user_id, model)
        return f"{used.name}@{used.version}"
    last = _latest(runtime, dataset, "questions", None)
    return f"{last.model_name}@{last.version}" if last else next(iter(offered), None)


def _latest(
    runtime: Runtime, dataset: Dataset, kind: str, model: str | None, *, done: bool = False
) -> Inspection | None:
    name, _rest, version = (model or "").partition("@")
    with runtime.catalog.read() as transaction:
        newest = inspections.list_inspections(
            transaction,
            dataset.user_id,
            inspections.InspectionFilter(
                kind=kind,
                dataset_id=dataset.id,
                model_name=name or None,
                version=version or None,
                status="done" if done else None,
            ),
            limit=1,
        )
    return newest[0] if newest else None


def _progress(runtime: Runtime, rows: Sequence[Inspection | None], say: Words) -> Progress | None:
    """Return the job that is under way, of the choice of rows or of learning."""
    for row in rows:
        if row is not None and row.status in inspections.ACTIVE and row.job_id:
            try:
                return progress_of(runtime, runtime.jobs.get(row.user_id, row.job_id), say)
            except JobNotFound:  # cleaned up; the row says how it ended before long
                continue
    return None


def _figures(asked: Inspection | None, known: Mapping[int, int]) -> dict[str, Any] | None:
    """Return what the answers say of the model; None before the first."""
    if asked is None:
        return None
    result = asked.result or {}
    rows = {int(question["row"]) for question in result["questions"]}
    if not (rows | {int(row) for row, _ in result.get("known", ())}) & known.keys():
        return None
    from ecluse.apps.fraud.labelling.figures import figures_of
    from ecluse.apps.fraud.labelling.questions import QuestionSet

    return figures_of(QuestionSet.from_dict(result), known).to_dict()
