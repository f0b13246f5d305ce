"""Sign-in by OpenID Connect against a provider that says anything: what is believed, what is refused and how."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pyotp
import pytest
from fastapi import FastAPI
from joserfc.jwk import RSAKey
from sqlalchemy import delete

from ecluse.accounts import Accounts
from ecluse.catalog import audit, letters, users
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.providers import HERE, SayingAnything, Visitor, query_of, saying_anything
from tests.telephones import secret_on

PASSWORD = "a long password"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[SayingAnything, SayingAnything]]:
    with saying_anything() as main, saying_anything() as other:
        yield main, other


@pytest.fixture
def main(servers: tuple[SayingAnything, SayingAnything]) -> SayingAnything:
    for provider in servers:
        fresh = SayingAnything(provider.issuer, provider.key)
        provider.__dict__.update(fresh.__dict__)
    return servers[0]


@pytest.fixture
def other(main: SayingAnything, servers: tuple[SayingAnything, SayingAnything]) -> SayingAnything:
    return servers[1]


@pytest.fixture(scope="module")
def opened(
    servers: tuple[SayingAnything, SayingAnything], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    settings = Settings.from_environment(environment(*servers), home=tmp_path_factory.mktemp("home"))
    with Runtime.open(settings) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def app(opened: Runtime) -> FastAPI:
    return make_app(opened)


@pytest.fixture
def runtime(opened: Runtime, app: FastAPI, main: SayingAnything) -> Iterator[Runtime]:
    """One that knows an administrator, and nothing of the providers yet."""
    runtime = replace(opened, accounts=Accounts(opened.catalog, opened.settings.accounts))
    runtime.accounts.add("root@example.org", admin=True)
    app.state.runtime = runtime
    app.state.listens_here = False
    yield runtime
    with opened.catalog.write() as transaction:
        transaction.execute(delete(User))


def environment(main: SayingAnything, other: SayingAnything, **variables: str) -> dict[str, str]:
    return {
        "ECLUSE_STORE_URL": "memory://",
        "ECLUSE_PUBLIC_URL": HERE,
        "ECLUSE_OIDC_PROVIDERS": "main,other",
        "ECLUSE_OIDC_MAIN_ISSUER": main.issuer,
        "ECLUSE_OIDC_MAIN_CLIENT_ID": "ecluse",
        "ECLUSE_OIDC_MAIN_CLIENT_SECRET": "never shown",
        "ECLUSE_OIDC_MAIN_LABEL": "Acme",
        "ECLUSE_OIDC_OTHER_ISSUER": other.issuer,
        "ECLUSE_OIDC_OTHER_CLIENT_ID": "ecluse",
    } | variables


def having(runtime: Runtime, main: SayingAnything, other: SayingAnything, **variables: str) -> Runtime:
    """The same with other settings."""
    settings = Settings.from_environment(environment(main, other, **variables), home=runtime.settings.home)
    return replace(runtime, settings=settings, accounts=Accounts(runtime.catalog, settings.accounts))


@pytest.fixture
def visitor(runtime: Runtime, app: FastAPI) -> Visitor:
    return Visitor(app)


def actions(runtime: Runtime, email: str) -> list[str]:
    return [entry.action for entry, _ in runtime.accounts.log(email)]


def test_who_has_a_verified_address_enters_an_account_that_only_they_can_have(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    page = visitor.get("/sign-in").text
    assert "Sign in by Acme" in page
    assert "Sign in by other" in page
    response = visitor.enter(main)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert visitor.email() == "anna@example.org"
    assert actions(runtime, "anna@example.org")[:2] == ["user.sign_in_by_provider", "user.link_identity"]
    main.claims = {
        "email": "renamed@example.org",
        "email_verified": False,
    }  # the subject is who it is from now on
    again = Visitor(visitor.app)
    again.enter(main)
    assert again.email() == "anna@example.org"


def test_what_is_asked_of_the_provider(visitor: Visitor, runtime: Runtime, main: SayingAnything) -> None:
    runtime.accounts.add("anna@example.org")
    asked = visitor.begin()
    assert asked["redirect_uri"] == f"{HERE}/sign-in/by/main/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert (asked["scope"], asked["client_id"]) == ("openid email profile", "ecluse")
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert visitor.begin()["state"] != asked["state"]
    visitor.enter(main)
    form = main.forms[-1]
    assert (form["grant_type"], form["redirect_uri"]) == ("authorization_code", asked["redirect_uri"])
    assert 43 <= len(form["code_verifier"]) <= 128
    assert "client_secret" not in form  # in the header: it says of no method, so basic is what there is


@pytest.mark.parametrize(
    "answer",
    [{"state": "forged"}, {"state": ""}, {"iss": "http://127.0.0.1:1"}],
    ids=["state", "empty", "iss"],
)
def test_an_answer_that_this_browser_did_not_ask_for_lets_nobody_in(
    answer: dict[str, str], visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    response = visitor.enter(main, **answer)
    assert response.status_code == 422
    assert not main.forms
    assert visitor.email() is None


def test_an_answer_of_another_browser_lets_nobody_in(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    attacker = Visitor(visitor.app)
    asked = attacker.begin()
    visitor.begin()
    answer = {"code": "stolen", "state": asked["state"]}
    assert "not begun in this browser" in visitor.come_back(**answer).text
    assert "not begun in this browser" in Visitor(visitor.app).come_back(**answer).text
    assert "not begun in this browser" in attacker.come_back("other", **answer).text  # of another provider
    assert not main.forms


def test_an_answer_is_good_once(visitor: Visitor, runtime: Runtime, main: SayingAnything) -> None:
    runtime.accounts.add("anna@example.org")
    asked = visitor.begin()
    main.nonce, kept = asked["nonce"], dict(visitor.cookies)
    answer = {"code": "once", "state": asked["state"]}
    assert visitor.come_back(**answer).status_code == 303
    assert "__Host-ecluse_provider" not in visitor.cookies
    assert "not begun in this browser" in visitor.come_back(**answer).text
    replaying = Visitor(visitor.app)
    replaying.cookies.set("__Host-ecluse_provider", kept["__Host-ecluse_provider"])
    assert "was used before or is too old" in replaying.come_back(**answer).text
    assert replaying.email() is None


def unsigned(provider: SayingAnything) -> str:
    _, payload, _ = provider.token(**provider.usual()).split(".")
    return f"eyJhbGciOiJub25lIn0.{payload}."


def by_shared_secret(provider: SayingAnything) -> str:
    """Sign with the public key, as if it was a secret that both have."""
    _, payload, _ = provider.token(**provider.usual()).split(".")
    header = encoded(json.dumps({"alg": "HS256", "kid": provider.key.kid}).encode())
    secret = provider.key.as_pem(private=False)
    return f"{header}.{payload}.{encoded(hmac.digest(secret, f'{header}.{payload}'.encode(), 'sha256'))}"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def by_other_key(provider: SayingAnything) -> str:
    key = RSAKey.generate_key(2048, {"kid": provider.key.kid})
    return provider.token(key, **provider.usual())


def changed(provider: SayingAnything) -> str:
    header, _, signature = provider.token(**provider.usual()).split(".")
    payload = provider.token(**provider.usual() | {"sub": "root"}).split(".")[1]
    return f"{header}.{payload}.{signature}"


NOW = int(datetime.now(UTC).timestamp())
LIES: dict[str, dict[str, Any]] = {
    "audience": {"aud": "another"},
    "audiences without azp": {"aud": ["ecluse", "another"]},
    "azp": {"azp": "another"},
    "issuer": {"iss": "http://127.0.0.1:1"},
    "expired": {"exp": NOW - 600},
    "no end": {"exp": None},
    "end that is no number": {"exp": "never"},
    "of the future": {"iat": NOW + 6000},
    "nonce": {"nonce": "of another sign-in"},
    "no nonce": {"nonce": None},
    "no subject": {"sub": None},
    "subject that is no text": {"sub": ["anna-1"]},
    "long subject": {"sub": "x" * 300},
}


@pytest.mark.parametrize("lie", LIES)
def test_claims_that_are_not_for_this_sign_in_let_nobody_in(
    lie: str, visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    main.claims = LIES[lie]
    response = visitor.enter(main)
    assert response.status_code == 422
    assert "cannot be trusted" in response.text
    assert visitor.email() is None


@pytest.mark.parametrize(
    "forged", [unsigned, by_shared_secret, by_other_key, changed, lambda _: "a.b.c", lambda _: ""]
)
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(
    forged: Callable[[SayingAnything], str], visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    asked = visitor.begin()
    main.nonce = asked["nonce"]
    main.id_token = forged(main) or "no token"
    response = visitor.come_back(code="c", state=asked["state"])
    assert response.status_code == 422
    assert "cannot be trusted" in response.text
    assert visitor.email() is None


def test_a_key_that_is_new_is_asked_for_once(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    first = main.key
    assert visitor.enter(main).status_code == 303
    main.key = RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})
    assert visitor.enter(main).status_code == 303
    assert main.asked.count("/keys") == 2
    forger = RSAKey.generate_key(2048, {"kid": "third"})
    for _ in range(3):
        asked = visitor.begin()
        main.id_token = main.token(forger, **main.usual() | {"nonce": asked["nonce"]})
        assert visitor.come_back(code=asked["state"], state=asked["state"]).status_code == 422
    assert main.asked.count("/keys") == 2  # strangers do not make it ask without end
    main.key = first


def test_an_address_that_is_not_verified_opens_nothing(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    for claims in (
        {"email_verified": False},
        {"email_verified": None},
        {"email": None},
        {"email_verified": "no"},
    ):
        main.claims = claims
        response = visitor.enter(main)
        assert response.status_code == 403
        assert "link Acme on your account page" in response.text
    main.claims = {
        "email": "nobody@example.org",
        "email_verified": False,
    }  # the same words: nothing is learnt of others
    assert visitor.enter(main).status_code == 403
    assert visitor.email() is None


def test_an_account_with_a_password_is_not_taken_over_by_its_address(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    """Whoever made an account in the name of another before them must not share it with them."""
    runtime.accounts.add("anna@example.org", password=PASSWORD)
    response = visitor.enter(main)
    assert response.status_code == 403
    assert "link Acme on your account page" in response.text
    assert visitor.email() is None
    assert "user.sign_in_failed" in [entry.action for entry, _ in runtime.accounts.log()]


def test_who_signs_in_by_password_links_a_provider_and_unlinks_it(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org", password=PASSWORD)
    visitor.post("/sign-in", email="anna@example.org", password=PASSWORD)
    assert visitor.post("/account/providers/main", current="wrong").status_code == 422
    assert not main.asked  # nobody went there
    main.claims = {"email": "elsewhere@example.com", "email_verified": False}
    onward = visitor.post("/account/providers/main", current=PASSWORD)
    asked = query_in(onward.text)
    main.nonce = asked["nonce"]
    assert visitor.come_back(code="c", state=asked["state"]).headers["location"] == "/account"
    by_provider = Visitor(visitor.app)
    by_provider.enter(main)
    assert by_provider.email() == "anna@example.org"
    assert "elsewhere@example.com" in visitor.get("/account").text
    (identity,) = runtime.accounts.identities(runtime.accounts.by_email("anna@example.org").id)
    assert visitor.post(f"/account/identities/{identity.id}/unlink", current="wrong").status_code == 422
    assert visitor.post(f"/account/identities/{identity.id}/unlink", current=PASSWORD).status_code == 303
    assert Visitor(visitor.app).enter(main).status_code == 403
    assert {"user.link_identity", "user.unlink_identity"} <= set(actions(runtime, "anna@example.org"))


def test_a_way_to_link_is_of_the_account_that_began_it(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    """A way that an attacker began gives the account of a victim no identity of theirs."""
    for name in ("anna", "mallory"):
        runtime.accounts.add(f"{name}@example.org", password=PASSWORD)
    mallory = Visitor(visitor.app)
    for each, name in ((visitor, "anna"), (mallory, "mallory")):
        each.post("/sign-in", email=f"{name}@example.org", password=PASSWORD)
    asked = query_in(mallory.post("/account/providers/main", current=PASSWORD).text)
    main.nonce = asked["nonce"]
    visitor.cookies.set("__Host-ecluse_provider", mallory.cookies["__Host-ecluse_provider"])
    response = visitor.come_back(code="c", state=asked["state"])
    assert "begun by another account" in response.text
    assert not runtime.accounts.identities(runtime.accounts.by_email("anna@example.org").id)
    visitor.post("/sign-out")
    visitor.cookies.set("__Host-ecluse_provider", mallory.cookies["__Host-ecluse_provider"])
    assert "signed out meanwhile" in visitor.come_back(code="d", state=asked["state"]).text


def test_an_identity_is_of_one_account_and_an_account_has_one_of_an_issuer(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    assert visitor.enter(main).status_code == 303
    main.claims = {"sub": "anna-2"}  # the address has passed to another person there
    response = Visitor(visitor.app).enter(main)
    assert response.status_code == 403
    assert "another identity of Acme" in response.text
    main.claims = {}
    runtime.accounts.add("ben@example.org", password=PASSWORD)
    ben = Visitor(visitor.app)
    ben.post("/sign-in", email="ben@example.org", password=PASSWORD)
    asked = query_in(ben.post("/account/providers/main", current=PASSWORD).text)
    main.nonce = asked["nonce"]
    assert "linked to this identity" in ben.come_back(code="b", state=asked["state"]).text


def test_the_same_subject_of_another_issuer_is_another_person(
    visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    runtime.accounts.add("ben@example.org")
    visitor.enter(main)
    other.claims = {"email": "ben@example.org"}
    ben = Visitor(visitor.app)
    ben.enter(other, "other")
    assert (visitor.email(), ben.email()) == ("anna@example.org", "ben@example.org")
    assert other.forms[-1]["client_id"] == "ecluse"  # a public client says who it is, and has no secret


def test_a_disabled_account_stays_closed(visitor: Visitor, runtime: Runtime, main: SayingAnything) -> None:
    runtime.accounts.add("anna@example.org")
    runtime.accounts.disable("anna@example.org")
    assert "is disabled" in visitor.enter(main).text
    runtime.accounts.enable("anna@example.org")
    assert visitor.enter(main).status_code == 303
    runtime.accounts.disable("anna@example.org")
    assert visitor.email() is None
    assert visitor.enter(main).status_code == 403


@pytest.mark.parametrize(
    ("setting", "policy", "status"),
    [("false", "true", 403), ("true", "false", 303), ("true", "true", 303), ("", "true", 303), ("", "", 403)],
)
def test_accounts_are_made_as_the_settings_allow(
    setting: str,
    policy: str,
    status: int,
    visitor: Visitor,
    runtime: Runtime,
    main: SayingAnything,
    other: SayingAnything,
) -> None:
    variables = {"ECLUSE_OIDC_MAIN_SIGN_UP": setting, "ECLUSE_OPEN_SIGN_UP": policy}
    visitor.app.state.runtime = having(runtime, main, other, **variables)
    assert visitor.enter(main).status_code == status
    assert visitor.email() == ("anna@example.org" if status == 303 else None)
    if status == 303:
        assert runtime.accounts.by_email("anna@example.org").role == "member"


def test_an_address_that_was_changed_before_leads_nobody_to_its_account(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    """Before an account without a password kept its address, its owner could have taken a stranger's."""
    made = runtime.accounts.add("mallory@example.org")
    with runtime.catalog.write() as transaction:
        users.set_email(transaction, made.id, "anna@example.org", "")
        audit.record(
            transaction, made.id, "user.change_email", "anna@example.org", before="mallory@example.org"
        )
    refused = visitor.enter(main)
    assert (refused.status_code, "given that address later" in refused.text) == (403, True)
    assert runtime.accounts.identities(made.id) == []
    with runtime.catalog.write() as transaction:
        letters.set_verified(transaction, made.id)
    assert visitor.enter(main).status_code == 303


@pytest.mark.parametrize(("setting", "status"), [("", 303), ("false", 403)])
def test_who_is_invited_makes_the_account_by_a_provider(
    setting: str, status: int, visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    invites = having(runtime, main, other, ECLUSE_SIGN_UP="invitation", ECLUSE_OIDC_MAIN_SIGN_UP=setting)
    visitor.app.state.runtime = invites
    assert visitor.enter(main).status_code == 403
    secret, _ = invites.accounts.invite_person()
    assert "Make it by Acme" in visitor.get(f"/sign-up/{secret}").text
    assert visitor.enter(main).status_code == status
    assert visitor.email() == ("anna@example.org" if status == 303 else None)
    assert len(invites.accounts.people_invited()) == (0 if status == 303 else 1)
    if status == 303:
        again = Visitor(visitor.app)
        main.claims = {"sub": "another", "email": "ben@example.org", "email_verified": True}
        assert again.get(f"/sign-up/{secret}").status_code == 404, "it was used"
        assert again.enter(main).status_code == 403


def test_the_first_account_is_not_made_by_a_provider(
    visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    """It administers, and takes the secret of the terminal."""
    with runtime.catalog.write() as transaction:
        transaction.execute(delete(User))
    visitor.app.state.runtime = having(runtime, main, other, ECLUSE_OIDC_MAIN_SIGN_UP="true")
    assert visitor.enter(main).status_code == 403


def test_who_has_no_password_proves_it_by_a_new_session_and_keeps_a_way_in(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    user = runtime.accounts.add("anna@example.org")
    visitor.enter(main)
    made = visitor.post("/account/tokens", name="notebook", days="30", scopes="read")
    assert "ecluse_" in made.text
    (identity,) = runtime.accounts.identities(user.id)
    response = visitor.post(f"/account/identities/{identity.id}/unlink")
    assert response.status_code == 422
    assert "Nothing else lets you in" in response.text
    with runtime.catalog.write() as transaction:
        (session,) = users.list_sessions(transaction, user.id, used_after=user.created_at)
        session.created_at = user.created_at.replace(year=2020)
        transaction.add(session)
    assert "more than an hour ago" in visitor.post("/account/tokens", name="x", days="30", scopes="read").text
    assert "Acme" in visitor.get("/account").text


def test_who_has_no_password_keeps_the_address_until_one_is_set(
    visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    user = runtime.accounts.add("anna@example.org")
    visitor.enter(main)
    refused = visitor.post("/account/identity", email="victim@example.org", name="Anna")
    assert refused.status_code == 403
    assert "has no password" in refused.text
    assert visitor.post("/account/identity", email="anna@example.org", name="Anna").status_code == 303
    assert runtime.accounts.by_email("anna@example.org").name == "Anna"
    other.claims = {"email": "victim@example.org"}
    assert Visitor(visitor.app).enter(other, "other").status_code == 403, (
        "nobody is led to the account of another"
    )
    assert len(runtime.accounts.identities(user.id)) == 1
    assert visitor.post("/account/password", new="my own first").status_code == 200
    form = {"email": "new@example.org", "name": "Anna", "current": "my own first"}
    assert visitor.post("/account/identity", **form).status_code == 303
    assert runtime.accounts.by_email("new@example.org").id == user.id


def test_a_provider_that_is_away_is_a_sentence_with_the_way_out(
    visitor: Visitor, runtime: Runtime, main: SayingAnything, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.accounts.add("anna@example.org", password=PASSWORD)
    address = "/.well-known/openid-configuration"
    for answer in (
        (500, {}, {}),
        (200, {}, "<html>"),
        (200, {}, {"issuer": "https://evil.example"}),
        (302, {}, {}),
    ):
        main.others[address] = answer
        runtime.accounts.provider("main")._away_at = None
        response = visitor.get("/sign-in/by/main")
        assert response.status_code == 503
        assert "or sign in with your password" in response.text
        assert "Traceback" not in response.text
    before = len(main.asked)
    assert visitor.get("/sign-in/by/main").status_code == 503
    assert len(main.asked) == before  # for some seconds it is not asked again
    form = {"email": "anna@example.org", "password": PASSWORD}
    assert visitor.post("/sign-in", **form).status_code == 303
    del main.others[address]
    runtime.accounts.provider("main")._away_at = None
    asked = visitor.begin()
    main.others["/token"] = (500, {}, {})
    assert visitor.come_back(code="c", state=asked["state"]).status_code == 422
    asked = visitor.begin()
    assert "access_denied" in visitor.come_back(error="access_denied", state=asked["state"]).text
    asked = visitor.begin()
    hostile = visitor.come_back(error="<script>alert(1)</script>", state=asked["state"]).text
    assert "alert(1)" not in hostile
    assert "never shown" not in caplog.text


def test_userinfo_is_about_the_same_subject(visitor: Visitor, runtime: Runtime, main: SayingAnything) -> None:
    runtime.accounts.add("anna@example.org")
    main.claims = {"email": None, "email_verified": None}
    main.userinfo = {"sub": "another", "email": "anna@example.org", "email_verified": True}
    assert "cannot be trusted" in visitor.enter(main).text
    main.userinfo = {"email": "anna@example.org", "email_verified": True}
    assert visitor.enter(main).status_code == 303


@pytest.mark.parametrize("target", ["/models?sort=name", "/jobs"])
def test_after_the_sign_in_comes_what_was_asked_for(
    target: str, visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    assert visitor.get(target).headers["location"] == "/sign-in"
    assert visitor.enter(main).headers["location"] == target
    visitor.post("/sign-out")
    assert visitor.enter(main).headers["location"] == "/"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "%2F%2Fevil.example",
        "javascript:1",
        "/a\r\nb: c",
    ],
)
def test_nobody_is_sent_to_another_site(
    target: str, visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    runtime.accounts.add("anna@example.org")
    visitor.cookies.set(
        "__Host-ecluse_target", target.replace("\r", "%0D").replace("\n", "%0A"), path="/sign-in"
    )
    assert visitor.enter(main).headers["location"] == "/"


def test_without_a_public_address_nobody_is_sent_away(
    visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    visitor.app.state.runtime = having(runtime, main, other, ECLUSE_PUBLIC_URL="")
    response = visitor.get("/sign-in/by/main")
    assert response.status_code == 403
    assert "ECLUSE_PUBLIC_URL" in response.text
    visitor.app.state.listens_here = True
    here = visitor.get("http://127.0.0.1:8000/sign-in/by/main").headers["location"]
    assert query_of(here)["redirect_uri"] == "http://127.0.0.1:8000/sign-in/by/main/callback"
    assert visitor.get("http://evil.example/sign-in/by/main").status_code == 403


#: What the groups of the tests mean.
GROUPS = {
    "ECLUSE_OIDC_MAIN_ADMINISTRATORS": "chiefs",
    "ECLUSE_OIDC_MAIN_MEMBERSHIPS": "/ml=@acme:member,heads=@acme:owner, readers = @acme:viewer,ml=@gone:owner",
}


@pytest.fixture
def grouped(visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything) -> Visitor:
    """A visitor where groups mean something, an organisation acme whose owner is ben, and an account anna."""
    visitor.app.state.runtime = having(runtime, main, other, **GROUPS)
    runtime.accounts.add("anna@example.org")
    ben = runtime.accounts.add("ben@example.org")
    runtime.accounts.add_organisation(ben.id, "acme")
    return visitor


def role_of(runtime: Runtime, email: str) -> str | None:
    """The role of a person in acme."""
    user = runtime.accounts.by_email(email)
    return next((each.role for each in runtime.accounts.organisations(user.id)), None)


def test_groups_give_roles_and_take_them_away(
    grouped: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    steps: list[tuple[list[str] | None, str | None, str]] = [
        (["others"], None, "member"),
        (["/ml", "others"], "member", "member"),
        (["readers", "/ml"], "member", "member"),
        (["readers"], "viewer", "member"),
        (["heads", "readers", "chiefs"], "owner", "admin"),
        (["chiefs"], None, "admin"),
        ([], None, "member"),
        (["readers"], "viewer", "member"),
        (None, None, "member"),
    ]
    for groups, role, administers in steps:
        main.claims = {"groups": groups}
        assert grouped.enter(main).status_code == 303
        assert (role_of(runtime, "anna@example.org"), grouped.get("/api/me").json()["role"]) == (
            role,
            administers,
        )
    written = [entry for entry, _ in runtime.accounts.log("anna@example.org")]
    actions = [entry.action for entry in written if entry.detail.get("by") == "groups"]
    assert actions.count("organisation.join") == 2
    assert actions.count("organisation.remove") == 2
    assert actions.count("organisation.role") == 2
    assert actions.count("user.role") == 2


def test_what_people_gave_is_not_taken_by_groups(
    grouped: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    accounts, ben = runtime.accounts, runtime.accounts.by_email("ben@example.org")
    anna = accounts.by_email("anna@example.org")
    secret, _ = accounts.invite(ben.id, "acme", "viewer")
    accounts.accept_invitation(anna.id, secret)
    accounts.set_role("anna@example.org", "admin")
    for groups in (["heads"], []):
        main.claims = {"groups": groups}
        grouped.enter(main)
        assert role_of(runtime, "anna@example.org") == "viewer"
        assert accounts.by_email("anna@example.org").role == "admin"
    accounts.remove_member(ben.id, "acme", anna.id)
    main.claims = {"groups": ["readers"]}
    grouped.enter(main)
    accounts.set_member_role(ben.id, "acme", anna.id, "member")  # from now on it is people's
    main.claims = {"groups": []}
    grouped.enter(main)
    assert role_of(runtime, "anna@example.org") == "member"


def test_who_administers_by_hand_is_not_taken_it_by_groups_that_gave_it_before(
    grouped: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    main.claims = {"groups": ["chiefs"]}
    grouped.enter(main)
    for role in ("member", "admin"):
        runtime.accounts.set_role("anna@example.org", role)
    main.claims = {"groups": []}
    grouped.enter(main)
    assert runtime.accounts.by_email("anna@example.org").role == "admin"


def test_the_last_owner_and_the_last_administrator_stay(
    grouped: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    main.claims = {"groups": ["heads", "chiefs"]}
    grouped.enter(main)
    anna, ben = (runtime.accounts.by_email(f"{name}@example.org") for name in ("anna", "ben"))
    runtime.accounts.remove_member(ben.id, "acme", ben.id)
    runtime.accounts.set_role("root@example.org", "member")
    for groups in (["readers"], []):
        main.claims = {"groups": groups}
        assert grouped.enter(main).status_code == 303
        assert role_of(runtime, "anna@example.org") == "owner"
        assert runtime.accounts.by_email("anna@example.org").role == "admin"
    assert {"organisation.role_kept", "user.role_kept"} <= set(actions(runtime, "anna@example.org"))
    runtime.accounts.set_role("root@example.org", "admin")
    grouped.enter(main)
    assert runtime.accounts.by_email(anna.email).role == "member"


def test_what_groups_gave_ends_with_the_identity(
    grouped: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    main.claims = {"groups": ["/ml", "chiefs"]}
    grouped.enter(main)
    runtime.accounts.set_password("anna@example.org", PASSWORD)
    grouped.post("/sign-in", email="anna@example.org", password=PASSWORD)
    (identity,) = runtime.accounts.identities(runtime.accounts.by_email("anna@example.org").id)
    assert grouped.post(f"/account/identities/{identity.id}/unlink", current=PASSWORD).status_code == 303
    assert role_of(runtime, "anna@example.org") is None
    assert runtime.accounts.by_email("anna@example.org").role == "member"


def test_groups_come_from_userinfo_too(grouped: Visitor, runtime: Runtime, main: SayingAnything) -> None:
    main.userinfo = {"groups": ["/ml"]}
    grouped.enter(main)
    assert role_of(runtime, "anna@example.org") == "member"


OVERAGE: list[dict[str, Any]] = [
    {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/x"}}},
    {"hasgroups": True},
]


@pytest.mark.parametrize("claims", OVERAGE)
def test_groups_that_are_left_out_are_not_taken_for_none(
    claims: dict[str, Any], grouped: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    main.claims = {"groups": ["/ml"]}
    grouped.enter(main)
    grouped.post("/sign-out")
    main.claims = claims
    response = grouped.enter(main)
    assert response.status_code == 403
    assert "ECLUSE_OIDC_MAIN_GROUPS_URL" in response.text
    assert role_of(runtime, "anna@example.org") == "member"
    assert grouped.email() is None


@pytest.mark.parametrize("claims", OVERAGE)
@pytest.mark.parametrize("way", ["body", "header"])
def test_groups_that_are_left_out_are_asked_for_page_by_page(
    way: str,
    claims: dict[str, Any],
    grouped: Visitor,
    runtime: Runtime,
    main: SayingAnything,
    other: SayingAnything,
) -> None:
    settings = GROUPS | {"ECLUSE_OIDC_MAIN_GROUPS_URL": f"{main.issuer}/groups?page=1"}
    grouped.app.state.runtime = having(runtime, main, other, **settings)
    main.claims = claims
    following = f"{main.issuer}/groups?page=2"
    if way == "body":
        first: Any = {"value": [{"id": "others"}], "@odata.nextLink": following}
        main.others["/groups?page=1"] = (200, {}, first)
        main.others["/groups?page=2"] = (200, {}, {"value": [{"id": "heads"}]})
    else:
        main.others["/groups?page=1"] = (200, {"link": f'<{following}>; rel="next"'}, ["others"])
        main.others["/groups?page=2"] = (200, {}, ["heads"])
    assert grouped.enter(main).status_code == 303
    assert role_of(runtime, "anna@example.org") == "owner"


@pytest.mark.parametrize("answer", ["away", "elsewhere", "endless", "numbers"])
def test_without_all_groups_nobody_is_let_in(
    answer: str, grouped: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    settings = GROUPS | {"ECLUSE_OIDC_MAIN_GROUPS_URL": f"{main.issuer}/groups"}
    grouped.app.state.runtime = having(runtime, main, other, **settings)
    main.claims = OVERAGE[0]
    following = {"elsewhere": f"{other.issuer}/groups", "endless": f"{main.issuer}/groups"}.get(answer)
    page = [7] if answer == "numbers" else ["heads"]
    document = {"value": page} | ({"@odata.nextLink": following} if following else {})
    main.others["/groups"] = (500 if answer == "away" else 200, {}, document)
    other.others["/groups"] = (200, {}, {"value": []})
    assert grouped.enter(main).status_code in (422, 503)
    assert grouped.email() is None
    assert "/groups" not in other.asked  # the access token goes to nobody else
    assert role_of(runtime, "anna@example.org") is None


def test_a_provider_that_nobody_named_is_not_there(visitor: Visitor) -> None:
    assert visitor.get("/sign-in/by/nobody").status_code == 404
    assert visitor.get("/sign-in/by/nobody/callback").status_code == 404


def query_in(page: str) -> dict[str, str]:
    """What Écluse asks of a provider, by the page that goes on to it."""
    address = re.search(r'<a href="(http[^"]+)"', page)
    assert address, page
    assert f"0; url={address[1]}" in page
    return query_of(unescape(address[1]))


def test_a_second_factor_is_the_matter_of_the_provider(
    visitor: Visitor, runtime: Runtime, main: SayingAnything, other: SayingAnything
) -> None:
    visitor.app.state.runtime = having(runtime, main, other, ECLUSE_SECOND_FACTOR="everyone")
    runtime.accounts.add("anna@example.org")
    visitor.enter(main)
    assert visitor.get("/models").status_code == 200
    by_password = Visitor(visitor.app)
    runtime.accounts.add("ben@example.org", password=PASSWORD)
    by_password.post("/sign-in", email="ben@example.org", password=PASSWORD)
    assert by_password.get("/models").headers["location"] == "/account/second-factor"


def test_who_has_a_second_factor_links_with_a_code_and_not_by_an_address(
    visitor: Visitor, runtime: Runtime, main: SayingAnything
) -> None:
    accounts = runtime.accounts
    user = accounts.add("anna@example.org")
    visitor.cookies.set("__Host-ecluse_session", accounts.redeem_link(accounts.sign_in_link(user.id))[1])
    page = visitor.post("/account/second-factor").text
    confirmed = visitor.post("/account/second-factor/confirm", code=pyotp.TOTP(secret_on(page)).now())
    (code, *_) = re.findall(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){5}\b", confirmed.text)
    assert Visitor(visitor.app).enter(main).status_code == 403
    assert visitor.post("/account/providers/main", code="000000").status_code == 422
    asked = query_in(visitor.post("/account/providers/main", code=code).text)
    main.nonce = asked["nonce"]
    assert visitor.come_back(code="c", state=asked["state"]).headers["location"] == "/account"
    assert Visitor(visitor.app).enter(main).status_code == 303
