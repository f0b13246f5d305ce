"""Offer what the pages do to programs."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayPredict, RuntimeDep
from ecluse_texts import actions

router = APIRouter(prefix="/texts", tags=["texts"])


class Example(BaseModel):
    text: str
    label: str


class NewSet(BaseModel):
    name: str
    examples: list[Example]
    #: Seconds to wait after each part, to look at the progress.
    pause: float = 0.0


class Queued(BaseModel):
    set: str
    job: str


class Text(BaseModel):
    text: str


@router.post("", status_code=202)
def add_set(body: NewSet, runtime: RuntimeDep, user: MayManage) -> Queued:
    """Keep labelled texts and train on them."""
    examples = [example.model_dump() for example in body.examples]
    set_id, job = actions.add_set(runtime, user.user.id, body.name, examples, body.pause)
    return Queued(set=set_id, job=job)


@router.post("/{set_id}/classify", responses=answers(404))
def classify(set_id: str, body: Text, runtime: RuntimeDep, user: MayPredict) -> dict[str, float]:
    """The probability of each label for a text, the most probable first."""
    return actions.classify(runtime, user.user.id, set_id, body.text)
