"""Show the sets of texts of a person, and one with what it says of a text."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.errors import InvalidInput
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render
from ecluse_texts import actions, rows

router = APIRouter(prefix="/texts")


@router.get("")
def list_sets(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """The sets, and a form for another."""
    with runtime.catalog.read() as transaction:
        sets = rows.sets_of(transaction, user.user.id)
    return render(request, "texts/overview.html", {"sets": sets})


@router.post("")
def add_set(
    runtime: RuntimeDep, user: CurrentUser, name: Annotated[str, Form()], texts: Annotated[str, Form()]
) -> Response:
    """Train on texts, a line each: its label, a blank and the text."""
    lines = [line.split(maxsplit=1) for line in texts.splitlines() if line.strip()]
    if any(len(line) < 2 for line in lines):
        raise InvalidInput("Each line holds a label, a blank and a text.")
    _, job = actions.add_set(
        runtime, user.user.id, name, [{"label": label, "text": text} for label, text in lines]
    )
    return RedirectResponse(f"/jobs/{job}", 303)


@router.get("/{set_id}")
def show_set(
    request: Request, set_id: str, runtime: RuntimeDep, user: CurrentUser, text: str = ""
) -> Response:
    """One set, and what it says of a text."""
    with runtime.catalog.read() as transaction:
        row = rows.set_of(transaction, user.user.id, set_id)
    labels = actions.classify(runtime, user.user.id, set_id, text) if text else {}
    return render(request, "texts/set.html", {"set": row, "text": text, "labels": labels})
