"""Label a few rows of a table, and choose the rows whose label would tell most."""

from __future__ import annotations

from ecluse.apps.fraud.actions import labelling
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.api.inspecting import (
    InspectionAccepted,
    LabelFiguresBody,
    LabelsBody,
    LabelsRequest,
    LearnRequest,
    QuestionBody,
    QuestionsRequest,
    RowLabel,
    accepted,
)
from ecluse.apps.fraud.labelling.answers import add_label
from ecluse.apps.fraud.rows import labels
from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.runtime import Runtime
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayPublish, MayRead, RuntimeDep

router = Declarations(tags=["labels"])


@router.get("/labels", responses=answers(404))
def show_labels(dataset: str, runtime: RuntimeDep, user: MayRead, model: str | None = None) -> LabelsBody:
    """Show the labels of a table, the questions that are left, and what the answers say of the model."""
    row = workflows.find_dataset(runtime, user.user.id, dataset)
    return _labels(runtime, user.user.id, row.id, model)


@router.post("/labels", responses=answers(404))
def put_labels(body: LabelsRequest, runtime: RuntimeDep, user: MayManage) -> LabelsBody:
    """Note labels of rows of a table: given here, or as the columns row and label of another table of yours."""
    dataset = workflows.find_dataset(runtime, user.user.id, body.dataset)
    given: dict[int, int | None] = {}
    if body.table is not None:
        given |= labelling.labels_from_table(runtime, user.user.id, body.table)
    said: dict[int, int | None] = {}
    for label in body.labels:
        add_label(said, label.row, label.label)
    given |= said
    labelling.put_labels(runtime, user.user.id, dataset.id, given)
    return _labels(runtime, user.user.id, dataset.id, None)


@router.post("/labels/questions", status_code=202, responses=answers(404))
def ask(body: QuestionsRequest, runtime: RuntimeDep, user: MayManage) -> InspectionAccepted:
    """Choose the rows of a table whose label would tell most of a model."""
    row = labelling.start_questions(
        runtime, user.user.id, body.dataset, body.model, count=body.count, seed=body.seed
    )
    return accepted(row)


@router.post("/labels/learn", status_code=202, responses=answers(404))
def learn(body: LearnRequest, runtime: RuntimeDep, user: MayPublish) -> InspectionAccepted:
    """Learn from the labels of a table: a new version of the model."""
    row = labelling.start_learning(
        runtime, user.user.id, body.dataset, body.model, fraud_rate=body.fraud_rate, seed=body.seed
    )
    return accepted(row)


def _labels(runtime: Runtime, user_id: str, dataset_id: str, model: str | None) -> LabelsBody:
    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, user_id, dataset_id)
    asked = labelling.latest_questions(runtime, user_id, dataset_id, model)
    return LabelsBody(
        dataset=dataset_id,
        rows=len(known),
        frauds=sum(known.values()),
        labels=[RowLabel(row=row, label=1 if label else 0) for row, label in known.items()],
        model=None if asked is None else f"{asked.model_name}@{asked.version}",
        questions=[] if asked is None else _questions(asked, known),
        figures=None if asked is None else _figures(asked, known),
    )


def _questions(asked: Inspection, known: dict[int, int]) -> list[QuestionBody]:
    """Return those without a label yet, in the order of asking."""
    result = asked.result or {}
    return [
        QuestionBody(
            row=question["row"],
            why=question["why"],
            score=question["score"],
            anomaly=question["anomaly"],
            values=values,
            reasons=reasons,
        )
        for question, values, reasons in zip(
            result["questions"],
            result["shown"],
            result.get("reasons") or [[] for _ in result["questions"]],
            strict=True,
        )
        if question["row"] not in known
    ]


def _figures(asked: Inspection, known: dict[int, int]) -> LabelFiguresBody:
    from ecluse.apps.fraud.labelling.figures import figures_of
    from ecluse.apps.fraud.labelling.questions import QuestionSet

    figures = figures_of(QuestionSet.from_dict(asked.result or {}), known)
    return LabelFiguresBody.model_validate(figures.to_dict())
