"""What a token of a service account opens, for every route and every scope; its page; and the exchange by OAuth 2."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from ecluse import models
from ecluse.accounts import Scope
from ecluse.accounts.services import OF_VIEWERS
from ecluse.accounts.tokens import NewToken
from ecluse.catalog import owned, users
from ecluse.catalog.tables import Membership, Share, User, UserTable
from ecluse.client.package import pack
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.web.routes import OF_NOBODY, administers, routes
from tests.web.test_doors import PASSWORD, Door
from tests.web.test_predict import MATRIX, trained
from tests.web.test_scopes import ask, declared

HTML = {"accept": "text/html"}
OWNER, OTHER = "owner@example.org", "other@example.org"
#: What people do, whatever the scope.
OF_PEOPLE = ("/api/account", "/api/organisations", "/api/users", "/api/administration", "/api/shared/open")
#: What a viewer asks, of what `predict` opens; and what it may not read: it changes nothing there either.
ASKS = re.compile(r"/api/models/[^/]+/predict|/v2/models/.*")
OF_MAKERS = {
    "/api/models/{name}/{version}/signed", "/api/models/{name}/shares", "/api/shares/{kind}/{thing}",
}  # fmt: skip


class Home(Door):
    """An application with acme, which has a model and a table, and a person who has the same."""

    acme: str
    ids: dict[str, str]
    services: dict[str, str]

    def token(self, role: str, *scopes: str) -> str:
        owner = self.runtime.accounts.by_email(OWNER).id
        new = NewToken("t", None, scopes)
        return self.runtime.accounts.create_service_token(owner, "acme", self.services[role], new)[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    settings = Settings.from_environment(
        {"ECLUSE_STORE_URL": "memory://"}, home=tmp_path_factory.mktemp("home")
    )
    with Runtime.open(settings) as runtime:
        made = Home(make_app(runtime, listens_here=True), runtime)
        accounts = runtime.accounts
        owner = accounts.sign_up(OWNER, PASSWORD)
        other = accounts.sign_up(OTHER, PASSWORD)
        made.acme = accounts.add_organisation(owner.id, "acme").id
        folder = tmp_path_factory.mktemp("model")
        packed = pack(trained("sklearn"), folder, MATRIX)
        version = ""
        for user_id, name in ((made.acme, "churn"), (other.id, "theirs")):
            files = list(packed.folder.iterdir())
            version = models.publish(runtime, user_id, name, files, metadata=packed.metadata).version
        made.services = {
            role: accounts.add_service(owner.id, "acme", f"bot-{role}", role).id
            for role in ("member", "viewer")
        }
        made.ids = {"version": version, "other": other.id, "owner": owner.id}
        yield made


def of_people(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in OF_PEOPLE)


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_every_operation_with_every_scope(home: Home, role: str) -> None:
    """Out of scope and what people or administrators do: 403. All else is asked of what nobody has, and refused so."""
    wrong, of_administrators = [], administers(home.app)
    for scope in Scope if role == "member" else OF_VIEWERS:
        token = home.token(role, scope)
        for (method, template), needed in declared(home.app).items():
            path = re.sub(r"\{[^}]*\}", "x", template)
            answer = ask(home, token, method, path)
            in_scope = scope in (needed, Scope.MANAGE)
            is_open = in_scope and not of_people(path) and (method, template) not in of_administrators
            if role == "viewer":
                is_open &= bool(ASKS.fullmatch(path)) if scope == Scope.PREDICT else template not in OF_MAKERS
            refused = answer.status_code == 403
            if answer.status_code >= 500 or (is_open and refused and "dministrator" not in answer.text):
                wrong.append((scope, method, template, answer.status_code))
            if not is_open and not refused:
                wrong.append((scope, method, template, answer.status_code))
    assert wrong == []
    with home.runtime.catalog.read() as transaction:
        memberships = transaction.scalars(select(Membership.user_id)).all()
        kinds = transaction.scalars(select(User.kind)).all()
        assert memberships == [home.ids["owner"]], "it joined and made nothing"
        assert sorted(kinds) == ["organisation", "person", "person"]
        assert transaction.scalars(select(Share)).all() == []


def test_no_page_takes_its_token(home: Home) -> None:
    token, opened = home.token("member", "manage"), []
    for route in routes(home.app):
        if route.path.startswith(("/api/", "/v2", "/oauth/")) or route.path in OF_NOBODY:
            continue
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods:
            if ask(home, token, method, path).status_code != 403:
                opened.append((method, route.path))
    assert opened == []


def test_a_viewer_reads_no_more_than_a_person_who_is_one(home: Home) -> None:
    """As the model is its organisation's own to it, and only readable to the person."""
    accounts = home.runtime.accounts
    person = accounts.add("viewer@example.org").id
    accounts.accept_invitation(person, accounts.invite(home.ids["owner"], "acme", "viewer")[0])
    theirs, _ = accounts.create_token(person, "t", scopes=["read"])
    token, refused = home.token("viewer", "read"), set()
    for (method, template), needed in declared(home.app).items():
        if needed != Scope.READ or not re.match(r"/api/models/\{(name|reference)\}", template):
            continue
        path = template.replace("{version}", home.ids["version"])
        as_person = re.sub(r"\{(name|reference)\}", "@acme~churn", path)
        query = "?path=metadata.json"
        if ask(home, theirs, method, re.sub(r"\{[^}]*\}", "x", as_person) + query).status_code == 403:
            own = re.sub(r"\{(name|reference)\}", "churn", path)
            refused.add(template)
            assert ask(home, token, method, re.sub(r"\{[^}]*\}", "x", own) + query).status_code == 403, (
                template
            )
    assert refused == {each for each in OF_MAKERS if each.startswith("/api/models")}
    accounts.remove_member(home.ids["owner"], "acme", person)


def test_what_it_makes_is_the_organisations_and_nothing_else_is_there(home: Home) -> None:
    token = home.token("member", "manage")
    me = ask(home, token, "GET", "/api/me").json()
    assert (me["id"], me["email"], me["role"], me["service_account"]) == (
        home.acme, "@acme", "member", "bot-member",
    )  # fmt: skip
    made = ask(home, token, "POST", "/api/tables", files={"file": ("new.csv", b"a\n1\n")})
    assert made.status_code == 201, made.text
    with home.runtime.catalog.read() as transaction:
        row = transaction.get_one(UserTable, made.json()["id"])
        assert (row.user_id, f"user_data/{home.acme}/" in row.url) == (home.acme, True)
    run = ask(home, token, "POST", "/api/runs", json={"name": "churn", "nonce": "1"})
    assert run.status_code == 201, run.text
    mine = home.runtime.accounts.create_token(home.ids["owner"], "t")[0]
    assert ask(home, mine, "GET", f"/api/runs/{run.json()['id']}").status_code == 200
    assert [each["name"] for each in ask(home, token, "GET", "/api/models").json()] == ["churn"]
    for name in ("theirs", "@other~theirs", "@owner~churn"):
        assert ask(home, token, "GET", f"/api/models/{name}").status_code == 404
        assert ask(home, token, "POST", f"/api/models/{name}/predict", json={"rows": []}).status_code == 404
    for role in ("member", "viewer"):
        answer = ask(
            home,
            home.token(role, "predict"),
            "POST",
            "/api/models/churn/predict",
            json={"rows": MATRIX[:2].tolist()},
        )
        assert answer.status_code == 200, answer.text
    shared = ask(home, token, "POST", "/api/models/churn/shares", json={"email": OTHER})
    assert shared.status_code == 201, shared.text
    assert ask(home, token, "DELETE", f"/api/models/churn/shares/{shared.json()['id']}").status_code == 204
    with home.runtime.catalog.read() as transaction:
        assert owned.remaining(transaction, home.services["member"]) == {}
        assert users.count_users(transaction) == 3
    by = {entry.action: who for entry, who in home.runtime.accounts.log(everything=True)}
    assert by["model.share"] == "@acme/bot-member"


def test_a_lowered_role_and_removal_count_from_the_next_request_on(home: Home) -> None:
    owner, accounts = home.ids["owner"], home.runtime.accounts
    row = accounts.add_service(owner, "acme", "short-lived", "member")
    token, _ = accounts.create_service_token(owner, "acme", row.id, NewToken("t", None, ("manage",)))
    upload: dict[str, Any] = {"files": {"file": ("new.csv", b"a\n1\n")}}
    assert ask(home, token, "POST", "/api/tables", **upload).status_code == 201
    accounts.set_service_role(owner, "acme", row.id, "viewer")
    assert ask(home, token, "POST", "/api/tables", **upload).status_code == 403
    assert ask(home, token, "GET", "/api/models").status_code == 200
    accounts.remove_service(owner, "acme", row.id)
    assert ask(home, token, "GET", "/api/models").status_code == 401


# The page and the API of owners


def test_an_owner_makes_one_on_the_page_with_a_token_that_takes_the_password(home: Home) -> None:
    session = home.signed_in(OWNER)
    form = {"name": "nightly", "role": "member"}
    made = home.page(session, "POST", "/organisations/acme/services", data=form)
    place = made.headers["location"]
    again = home.page(session, "POST", "/organisations/acme/services", data=form)
    assert (made.status_code, again.status_code) == (303, 409)
    assert "@acme/nightly" in home.page(session, "GET", "/organisations/acme").text
    token = {"name": "cron", "days": "30", "scopes": ["read", "publish"]}
    refused = home.page(session, "POST", f"{place}/tokens", data=token | {"current": "wrong"})
    assert (refused.status_code, "ecluse_" in refused.text.replace("ecluse_session", "")) == (422, False)
    shown = home.page(session, "POST", f"{place}/tokens", data=token | {"current": PASSWORD}).text
    secret = re.search(r"ecluse_[\w-]{43}", shown)
    assert secret is not None
    assert ask(home, secret[0], "GET", "/api/models").status_code == 200
    page = home.page(session, "GET", place).text
    assert secret[0] not in page, "it is shown once"
    revoke = re.search(r'action="(/organisations/acme/services/\w+/tokens/\w+/revoke)"', page)
    assert revoke is not None
    assert home.page(session, "POST", revoke[1]).status_code == 303
    assert ask(home, secret[0], "GET", "/api/models").status_code == 401
    assert home.page(session, "POST", place, data={"action": "viewer"}).status_code == 303
    viewers = home.page(session, "POST", f"{place}/tokens", data=token | {"current": PASSWORD})
    assert (viewers.status_code, "viewer" in viewers.text) == (422, True)
    assert home.page(session, "POST", place, data={"action": "owner"}).status_code == 422
    stranger = home.signed_in(OTHER)
    for method, path in (("GET", place), ("POST", place), ("POST", f"{place}/tokens")):
        assert home.page(stranger, method, path, data={"action": "remove"}).status_code == 404
    assert home.page(session, "POST", place, data={"action": "remove"}).status_code == 303
    assert home.page(session, "GET", place).status_code == 404


def test_the_api_makes_and_ends_them_and_makes_no_token(home: Home) -> None:
    token, _ = home.runtime.accounts.create_token(home.ids["owner"], "t")
    place = "/api/organisations/acme/service-accounts"
    made = ask(home, token, "POST", place, json={"name": "by-api"})
    assert (made.status_code, made.json()["role"]) == (201, "viewer")
    one = f"{place}/{made.json()['id']}"
    assert "by-api" in [each["name"] for each in ask(home, token, "GET", place).json()]
    assert ask(home, token, "PUT", one, json={"role": "member"}).json()["role"] == "member"
    assert ask(home, token, "PUT", one, json={"role": "owner"}).status_code == 422
    assert ask(home, token, "POST", f"{one}/tokens", json={"name": "x"}).status_code == 405
    new = NewToken("t", 30, ("read",))
    secret, row = home.runtime.accounts.create_service_token(
        home.ids["owner"], "acme", made.json()["id"], new
    )
    (listed,) = ask(home, token, "GET", f"{one}/tokens").json()
    assert (listed["id"], listed["scopes"]) == (row.id, ["read"])
    assert ask(home, token, "DELETE", f"{one}/tokens/{row.id}").status_code == 204
    assert ask(home, secret, "GET", "/api/me").status_code == 401
    assert ask(home, token, "DELETE", one).status_code == 204
    assert ask(home, token, "DELETE", one).status_code == 404


# OAuth 2


def issue(home: Home, client: str, secret: str, *, basic: bool = True, **form: str) -> httpx.Response:
    sent = {"grant_type": "client_credentials"} | form
    if not basic:
        return home.ask("POST", "/oauth/token", data=sent | {"client_id": client, "client_secret": secret})
    header = base64.b64encode(f"{client}:{secret}".encode()).decode()
    return home.ask("POST", "/oauth/token", data=sent, headers={"authorization": f"Basic {header}"})


@pytest.mark.parametrize("basic", [True, False])
def test_a_token_of_an_hour_is_issued_to_who_has_the_secret(home: Home, basic: bool) -> None:
    secret, client = home.token("member", "read", "predict"), home.services["member"]
    answer = issue(home, client, secret, basic=basic, scope="read")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    body = answer.json()
    assert {name: body[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer", "expires_in": 3600, "scope": "read",
    }  # fmt: skip
    assert ask(home, body["access_token"], "GET", "/api/models").status_code == 200
    assert ask(home, body["access_token"], "POST", "/api/tables").status_code == 403
    assert issue(home, client, secret, basic=basic).json()["scope"] == "read predict"
    wrong = issue(home, client, "wrong", basic=basic)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert wrong.headers["www-authenticate"].startswith("Basic")
    assert issue(home, home.services["viewer"], secret, basic=basic).status_code == 401
    assert issue(home, client, body["access_token"], basic=basic).status_code == 401, "it stands for no other"
    refused = issue(home, client, secret, basic=basic, scope="manage")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")


def test_what_is_no_such_request_is_refused_as_the_protocol_has_it(home: Home) -> None:
    secret, client = home.token("member", "read"), home.services["member"]
    for grant in ("authorization_code", "password", ""):
        assert issue(home, client, secret, grant_type=grant).json()["error"] == "unsupported_grant_type"
    twice = issue(home, client, secret, client_id=client)
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")
    for header in ("Basic !!!", "Basic", "Bearer x", f"Bearer {secret}", "Basic /w=="):
        answer = home.ask(
            "POST",
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={"authorization": header},
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    person, _ = home.runtime.accounts.create_token(home.ids["owner"], "t")
    for name in (home.ids["owner"], OWNER, client):
        assert issue(home, name, person).status_code == 401, "a token of a person is not exchanged"
    elsewhere = home.ask(
        "POST",
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        headers={"origin": "https://evil.example"},
    )
    assert elsewhere.status_code == 403


def test_a_field_that_is_too_long_is_refused_as_the_protocol_has_it(home: Home) -> None:
    answer = issue(home, home.services["member"], "x" * 1001, basic=False)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_exchanges_of_one_token_end_no_token_of_another(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecluse.accounts.services.MOST_SHORT", 2)
    client = home.services["member"]
    of_manage = issue(home, client, home.token("member", "manage")).json()["access_token"]
    reader = home.token("member", "read")
    short = [issue(home, client, reader).json()["access_token"] for _ in range(3)]
    assert [ask(home, each, "GET", "/api/models").status_code for each in short] == [401, 200, 200]
    assert ask(home, of_manage, "GET", "/api/models").status_code == 200
