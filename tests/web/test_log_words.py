"""Every kind of entry in the log of who did what has its words, and no words are left of a kind that is gone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

import ecluse
from ecluse.accounts import ways
from ecluse.application import ours_first
from ecluse.apps.fraud.actions.labelling import JOBS
from ecluse.catalog import sharing
from ecluse.catalog.tables import AuditEntry
from ecluse.catalog.trust import ACTION
from ecluse.shares import kinds
from ecluse.web.i18n import Words
from ecluse.web.log_words import OF_THE_CORE, message_of, said_of

ROOT: Final = Path(ecluse.__file__).parent
SHARED: Final = [kind.removesuffix("s") for kind in (*kinds(), sharing.MODELS)]
#: Actions that are no constant where they are written down, and what each of them can be.
COMPUTED: Final = {
    "accounts/sessions.py: action": [way.action for way in ways.WAYS if way.action],
    "accounts/second_factors.py: proof.name": [way.action for way in ways.WAYS if way.action],
    "accounts/links.py: LINK_ACTION": ["user.sign_in_by_link"],
    "accounts/organisations.py: action": ["organisation.leave", "organisation.remove"],
    "accounts/letters.py: f'mail.{letter.kind}'": [
        f"mail.{kind}" for kind in ("reset", "verify", "invitation", "sign_up", "notice")
    ],
    "apps/fraud/actions/labelling.py: f'model.{JOBS[kind]}'": [f"model.{word}" for word in JOBS.values()],
    "catalog/trust.py: ACTION": [ACTION],
    "shares.py: f'{_singular(thing.kind)}.share'": [f"{kind}.share" for kind in SHARED],
    "shares.py: f'{_singular(thing.kind)}.unshare'": [f"{kind}.unshare" for kind in SHARED],
    "shares.py: action": [f"{kind}.open_link" for kind in SHARED],
    "upkeep.py: f'migration.{kind}'": [
        f"migration.{kind}" for kind in ("migrate", "rollback", "verify_migration")
    ],
    "accounts/group_roles.py: action": [],  # handed on by `_record`, whose calls are read themselves
}


@cache
def written() -> dict[str, list[str]]:
    """Each place where an entry is written down, and the actions that it may have; computed ones by their place."""
    found: dict[str, list[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for action in actions_in(ast.parse(path.read_text(encoding="utf-8")), name):
            constants = constants_of(action)
            place = f"{name}: {ast.unparse(action)}"
            found[place] = COMPUTED.get(place, []) if constants is None else constants
    return found


def actions_in(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    """The action of each call of `audit.record`, and of the function that groups of a provider call it by."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "audit.record":
            yield node.args[2]
        elif called == "_record" and name == "accounts/group_roles.py":
            yield node.args[3]


def constants_of(node: ast.expr) -> list[str] | None:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return [text for part in (node.body, node.orelse) for text in constants_of(part) or ()]
    return None


def actions() -> set[str]:
    return {action for listed in written().values() for action in listed}


def test_every_kind_of_entry_has_its_words() -> None:
    assert len(actions()) > 100
    assert {action for action in actions() if message_of(action) is None} == set()


def test_what_a_computed_action_can_be_is_listed_here_and_nothing_else() -> None:
    computed = {place for place, listed in written().items() if place in COMPUTED or not listed}
    assert computed == set(COMPUTED)


def test_no_words_are_left_of_a_kind_that_is_gone() -> None:
    of_applications = {action for application in ours_first() for action in application.logged}
    assert {*OF_THE_CORE, *of_applications} - actions() == set()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_an_entry_is_said_in_the_language_of_the_reader(language: str) -> None:
    entries = [AuditEntry(action=action, subject="x", detail={}) for action in (*actions(), "gone.before")]
    said = said_of(entries, Words(language))
    assert said.pop("gone.before") == "gone.before", "an older release wrote it"
    assert {action for action, text in said.items() if text == action} == set()
    assert said["user.disable"] == {"en": "disabled", "fr": "compte désactivé"}[language]
