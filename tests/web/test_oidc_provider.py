"""Sign-in by a certified provider (oidc-provider), over HTTP from the first page to the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.conftest import installed
from tests.providers import HERE, Visitor
from tests.servers import oidc_provider


def client(name: str, **more: Any) -> dict[str, Any]:
    """How the provider knows an Écluse."""
    back = f"{HERE}/sign-in/by/{name}/callback"
    return {"client_id": name, "redirect_uris": [back], "scope": "openid email profile groups"} | more


CLIENTS = [
    client("post", client_secret="a secret / with + signs", token_endpoint_auth_method="client_secret_post"),
    client("public", token_endpoint_auth_method="none"),
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with installed(oidc_provider(CLIENTS)) as address:
        yield address


@pytest.fixture(scope="module")
def runtime(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    environ = {
        "ECLUSE_STORE_URL": "memory://",
        "ECLUSE_PUBLIC_URL": HERE,
        "ECLUSE_OIDC_PROVIDERS": "post,public",
    }
    for name in ("POST", "PUBLIC"):
        environ[f"ECLUSE_OIDC_{name}_ISSUER"] = issuer
        environ[f"ECLUSE_OIDC_{name}_CLIENT_ID"] = name.lower()
        environ[f"ECLUSE_OIDC_{name}_SIGN_UP"] = "true"
    environ["ECLUSE_OIDC_POST_CLIENT_SECRET"] = "a secret / with + signs"
    with Runtime.open(Settings.from_environment(environ, home=tmp_path_factory.mktemp("home"))) as runtime:
        runtime.accounts.add("root@example.org", admin=True)
        yield runtime


@dataclass
class Person:
    """Someone with a browser, whom the provider knows by a name."""

    issuer: str
    name: str
    visitor: Visitor

    def is_called(self, **claims: Any) -> None:
        httpx.put(f"{self.issuer}/test/people/{self.name}", json=claims, timeout=60).raise_for_status()

    def goes(self, by: str) -> dict[str, str]:
        """Go to the provider and sign in there; what it gives the browser along on the way back."""
        there = self.visitor.get(f"/sign-in/by/{by}").headers["location"]
        with httpx.Client(base_url=self.issuer) as browser:
            response = browser.get(f"{there}&login_hint={self.name}")
            while not response.headers["location"].startswith(HERE):
                response = browser.get(response.headers["location"])
        back = httpx.URL(response.headers["location"])
        assert back.path == f"/sign-in/by/{by}/callback"
        return dict(back.params)

    def signs_in(self, by: str = "post") -> httpx.Response:
        return self.visitor.come_back(by, **self.goes(by))


@pytest.fixture
def app(runtime: Runtime) -> Any:
    return make_app(runtime)


@pytest.mark.parametrize("by", ["post", "public"])
def test_a_new_person_signs_in(by: str, issuer: str, runtime: Runtime, app: Any) -> None:
    person = Person(issuer, f"new-{by}", Visitor(app))
    person.is_called(email=f"{by}@example.org", email_verified=True, name="Anna")
    response = person.signs_in(by)
    assert (response.status_code, response.headers["location"]) == (303, "/"), response.text
    assert person.visitor.email() == f"{by}@example.org"
    assert runtime.accounts.by_email(f"{by}@example.org").name == "Anna"


def test_a_code_is_good_once_and_in_its_browser(issuer: str, runtime: Runtime, app: Any) -> None:
    person = Person(issuer, "once", Visitor(app))
    person.is_called(email="once@example.org", email_verified=True)
    answer = person.goes("post")
    thief = Visitor(app)
    thief.begin("post")
    assert "not begun in this browser" in thief.come_back("post", **answer).text
    mine = thief.begin("post")  # with a state of the thief's own, the verifier is not that of the code
    assert "used before or is too old" in thief.come_back("post", **answer | {"state": mine["state"]}).text
    assert thief.email() is None
    cookie = person.visitor.cookies["__Host-ecluse_provider"]
    assert person.visitor.come_back("post", **answer).status_code == 303
    again = Visitor(app)
    again.cookies.set("__Host-ecluse_provider", cookie)
    assert "used before or is too old" in again.come_back("post", **answer).text


def test_keys_that_change_are_followed(issuer: str, runtime: Runtime, app: Any) -> None:
    person = Person(issuer, "rotated", Visitor(app))
    person.is_called(email="rotated@example.org", email_verified=True)
    assert person.signs_in().status_code == 303
    httpx.post(f"{issuer}/test/rotate", timeout=60).raise_for_status()
    again = Person(issuer, "rotated", Visitor(app))
    assert again.signs_in().status_code == 303
    assert again.visitor.email() == "rotated@example.org"


def test_who_is_not_verified_there_gets_no_account(issuer: str, runtime: Runtime, app: Any) -> None:
    person = Person(issuer, "unverified", Visitor(app))
    person.is_called(email="unverified@example.org", email_verified=False)
    assert person.signs_in().status_code == 403
    assert person.visitor.email() is None
