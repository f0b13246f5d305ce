"""What a token of each scope opens: every operation of the API with every scope, and with a model of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecluse import models
from ecluse.accounts import Scope, SignedIn, expect_scope, model_named
from ecluse.apps.hosted.api import operations_of
from ecluse.apps.hosted.snapshot import Snapshot
from ecluse.catalog.tables import ApiToken, User, now
from ecluse.errors import InvalidInput, OutOfScope
from ecluse.registry import checked_address
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web import security
from ecluse.web.app import make_app
from tests.web.routes import OF_NOBODY, Route, routes
from tests.web.test_doors import PASSWORD, Door
from tests.web.test_predict import MATRIX, publish, trained
from tests.web.within import Within

#: What any token may ask: whose it is.
OF_ANY_TOKEN = {("GET", "/api/me")}
#: What of the protocol of others asks nobody.
OPEN = OF_NOBODY | {"/v2", "/v2/health/live", "/v2/health/ready"}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    environ = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=tmp_path / "home")
    with Runtime.open(environ) as runtime:
        yield Door(make_app(runtime, listens_here=True), runtime)


@pytest.fixture
def owner(door: Door) -> User:
    return door.runtime.accounts.sign_up("owner@example.org", PASSWORD)


def of_the_api(app: FastAPI) -> list[Route]:
    return [each for each in routes(app) if each.path.startswith(("/api/", "/v2")) and each.path not in OPEN]


def declared(app: FastAPI) -> dict[tuple[str, str], Scope]:
    """The scope of every operation; a route that declares none, or two, is told."""
    scopes: dict[tuple[str, str], Scope] = {}
    for route in of_the_api(app):
        asked = {security.SCOPES[call] for call in route.calls if call in security.SCOPES}
        for method in route.methods:
            if (method, route.path) not in OF_ANY_TOKEN:
                assert len(asked) == 1, f"{method} {route.path} declares {asked or 'no scope'}"
                scopes[method, route.path] = asked.copy().pop()
    return scopes


def ask(door: Door, token: str, method: str, path: str, **sent: Any) -> httpx.Response:
    return door.ask(method, path, headers={"authorization": f"Bearer {token}"}, **sent)


def is_refused(answer: httpx.Response) -> bool:
    """Say whether a token is refused for what it is for; in the one shape of errors, or that of the protocol of /v2."""
    if answer.status_code != 403 or "for" not in answer.text:
        return False
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert isinstance(error, str) or error["code"] == "out_of_scope", error
    assert "account page" in message, "it says the way out"
    return "This API token is for" in message


def test_the_description_of_the_api_says_the_scope_of_every_operation(door: Door) -> None:
    said = {
        (method.upper(), path): operation["security"]
        for path, methods in door.app.openapi()["paths"].items()
        for method, operation in methods.items()
        if "security" in operation
    }
    assert said == {
        (method, path.replace(":path}", "}")): [{"token": [scope]}]
        for (method, path), scope in declared(door.app).items()
        if path.startswith("/api/")
    }


def test_a_route_without_a_scope_of_its_own_takes_a_token_for_all_alone(door: Door, owner: User) -> None:
    """As those of applications of others do, that ask for `CurrentUser`."""

    def show(user: security.CurrentUser) -> str:
        return user.user.email

    show.__annotations__["user"] = security.CurrentUser
    door.app.add_api_route("/api/theirs", show)
    create = door.runtime.accounts.create_token
    assert ask(door, create(owner.id, "all")[0], "GET", "/api/theirs").status_code == 200
    less, _ = create(owner.id, "less", scopes=(Scope.READ, Scope.PREDICT, Scope.PUBLISH))
    assert is_refused(ask(door, less, "GET", "/api/theirs"))


def test_every_operation_with_every_scope(door: Door, owner: User) -> None:
    tokens = {
        scope: door.runtime.accounts.create_token(
            owner.id, scope, scopes=[scope], administers=scope == Scope.MANAGE
        )[0]
        for scope in Scope
    }
    wrong = []
    for (method, template), needed in declared(door.app).items():
        path = re.sub(r"\{[^}]*\}", "x", template)
        for scope, token in tokens.items():
            refused = is_refused(ask(door, token, method, path))
            if refused is not (scope not in (needed, Scope.MANAGE)):
                wrong.append((method, template, needed, scope))
    assert wrong == []
    for token in tokens.values():
        assert ask(door, token, "GET", "/api/me").status_code == 200


def test_a_token_for_one_model_opens_addresses_of_that_model_alone(door: Door, owner: User) -> None:
    token, _ = door.runtime.accounts.create_token(owner.id, "churn", model="churn")
    of_models = 0
    for method, template in declared(door.app):
        of_model = re.match(r"/(api|v2)/models/\{(name|reference)\}", template)
        of_models += bool(of_model)
        for name in ("churn", "churn@production", "other", "churn2", "churnx@churn", "Churn", "x%2Fchurn"):
            path = re.sub(r"\{[^}]*\}", "x", re.sub(r"\{(name|reference)\}", name, template, count=1))
            its_own = bool(of_model) and name.partition("@")[0] == "churn"
            refused = is_refused(ask(door, token, method, path))
            if "%2F" in name and refused is False:
                continue  # no route has such an address
            assert refused is not its_own, (method, path)
            if not of_model:
                break
    assert of_models > 25
    me = ask(door, token, "GET", "/api/me").json()
    assert (me["scopes"], me["model"]) == (["manage"], "churn")
    upload = {"nonce": "1", "files": [{"path": "a", "size": 1, "sha256": "0" * 64}]}
    assert ask(door, token, "POST", "/api/models/churn/uploads", json=upload).status_code == 201
    of_a_run = ask(door, token, "POST", "/api/models/churn/uploads", json=upload | {"nonce": "2", "run": "x"})
    assert is_refused(of_a_run), "a run is not the model's"


def test_a_token_is_for_one_model_of_others() -> None:
    token = ApiToken(scopes="manage", model="@acme/churn")
    signed_in = SignedIn(User(), None, token)
    for segment, is_its_own in {
        "@acme~churn": True,
        "@acme~churn@production": True,
        "churn": False,
        "churn@acme": False,
        "@acme~churn2": False,
        "@other~churn": False,
        "@acme~@acme~churn": False,
        "x@acme~churn": False,
    }.items():
        if is_its_own:
            expect_scope(signed_in, Scope.READ, model_named(segment))
            continue
        with pytest.raises(OutOfScope, match="/api/models/@acme~churn"):
            expect_scope(signed_in, Scope.READ, model_named(segment))
    assert checked_address("@acme~churn") == checked_address("@acme/churn") == "@acme/churn"
    for wrong in ("@acme/", "@/churn", "@acme/a/b", "@acme/@b", "a/b"):
        with pytest.raises(InvalidInput):
            checked_address(wrong)


# The short way to predictions


def predict(web: Within, token: str, reference: str = "churn") -> int:
    async def send() -> int:
        transport = httpx.ASGITransport(web.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            headers, body = {"authorization": f"Bearer {token}"}, {"rows": MATRIX[:1].tolist()}
            address = f"/api/models/{reference}/predict"
            return (await client.post(address, json=body, headers=headers)).status_code

    return asyncio.run(send())


def test_what_is_known_again_holds_scopes_models_and_ends(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked thrice: looked up, noted, and known again."""
    row = publish(web, trained("xgboost"), MATRIX)
    models.set_alias(web.runtime, web.user_id, "churn", "production", row.version)
    create = web.runtime.accounts.create_token
    asks, _ = create(web.user_id, "asks", scopes=[Scope.PREDICT], days=30)
    reads, _ = create(web.user_id, "reads", scopes=[Scope.READ, Scope.PUBLISH])
    own, _ = create(web.user_id, "own", scopes=[Scope.PREDICT], model="churn")
    other, _ = create(web.user_id, "other", scopes=[Scope.PREDICT], model="fraud")
    for reference in ("churn", "churn@production", f"churn@{row.version}"):
        for token, status in ((asks, 200), (reads, 403), (own, 200), (other, 403)):
            assert [predict(web, token, reference) for _ in range(3)] == [status] * 3
    assert predict(web, asks) == 200  # what the others did was written down meanwhile
    assert web.app.state.lately.find(web.app.state.lately.state(), asks, "churn") is not None
    later = now() + timedelta(days=31)
    monkeypatch.setattr("ecluse.web.lately.now", lambda: later)
    monkeypatch.setattr("ecluse.catalog.users.now", lambda: later)
    assert predict(web, asks) == 401
    assert predict(web, own) == 200, "it has no end"


# Making tokens


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.sampled_from([*Scope, "everything", "", "READ"])))
def test_a_token_has_known_scopes_alone(door: Door, chosen: set[str]) -> None:
    accounts = door.runtime.accounts
    user = accounts.local_administrator()
    if not chosen or not chosen <= set(Scope):
        with pytest.raises(InvalidInput, match="one or more of read, predict, publish, manage"):
            accounts.create_token(user.id, "script", scopes=chosen)
        return
    _, row = accounts.create_token(user.id, "script", scopes=chosen)
    assert set(row.scopes.split()) == ({"manage"} if "manage" in chosen else chosen)


def test_the_account_page_makes_tokens_for_less_and_shows_them(door: Door, owner: User) -> None:
    session = door.signed_in(owner.email)
    form = {"name": "nightly", "current": PASSWORD, "days": "90"}
    assert "one or more of" in door.page(session, "POST", "/account/tokens", data=form).text
    wrong = door.page(session, "POST", "/account/tokens", data=form | {"scopes": "read", "model": "no name"})
    assert "cannot be a model name" in wrong.text
    administers = form | {"scopes": "read", "administers": "1"}
    assert "for all of the API" in door.page(session, "POST", "/account/tokens", data=administers).text
    assert door.runtime.accounts.tokens(owner.id) == []
    made = form | {"scopes": ["read", "predict"], "model": "churn"}
    assert door.page(session, "POST", "/account/tokens", data=made).status_code == 200
    (token,) = door.runtime.accounts.tokens(owner.id)
    assert (token.scopes, token.model, token.administers) == ("read predict", "churn", False)
    shown = re.sub(r"\s+", " ", door.page(session, "GET", "/account").text)
    assert 'read, predict · <span class="mono">churn</span>' in shown
    assert "Il peut" in door.page(session, "GET", "/account?lang=fr").text


def test_a_token_with_a_word_of_a_later_version_may_not_do_what_this_one_does_not_know(
    door: Door, owner: User
) -> None:
    from ecluse.catalog.tables import ApiToken

    token, row = door.runtime.accounts.create_token(owner.id, "later", scopes=[Scope.READ])
    with door.runtime.catalog.write() as transaction:
        transaction.get_one(ApiToken, row.id).scopes = "share"
    assert is_refused(ask(door, token, "GET", "/api/models"))


def test_the_operations_of_an_application_in_one_file_declare_their_scopes() -> None:
    roles = {"train": "train", "clean": "job"}
    verb = {"summary": "", "schedule": "", "parameters": []}
    verbs = [{"name": name, "role": role} | verb for name, role in roles.items()]
    app = FastAPI()
    app.include_router(
        operations_of(Snapshot({"name": "texts", "title": "Texts", "verbs": verbs})), prefix="/api"
    )
    assert {f"{method} {path}": scope for (method, path), scope in declared(app).items()} == {
        "POST /api/texts/train": Scope.PUBLISH,
        "POST /api/texts/clean": Scope.MANAGE,
        "POST /api/texts/predict": Scope.PREDICT,
        "POST /api/texts/score": Scope.PREDICT,
        "POST /api/texts/files": Scope.PREDICT,
        "GET /api/texts/files": Scope.READ,
        "GET /api/texts/files/{file}": Scope.READ,
        "DELETE /api/texts/files/{file}": Scope.MANAGE,
    }
