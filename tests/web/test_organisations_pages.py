"""The pages of organisations: made, invited to, joined, changed, left and ended, in English and in French."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ecluse import models, tables
from ecluse.catalog import plans
from ecluse.tracking import programs
from ecluse.web.pages.organisations import LISTED
from tests.web.within import Within


def page(
    web: Within, session: str, method: str, address: str, language: str = "en", **form: str
) -> tuple[int, str]:
    web.session = session
    headers = {"accept": "text/html", "accept-language": language}
    answer = web.ask(method, address, headers=headers, data=form or None)
    return answer.status_code, answer.text


def someone(web: Within, email: str) -> tuple[str, str]:
    accounts = web.runtime.accounts
    user = accounts.add(email)
    return user.id, accounts.open_session(user.id)


def test_an_organisation_from_its_beginning_to_its_end(web: Within) -> None:
    (anna, session), (ben, other) = someone(web, "anna@pages.org"), someone(web, "ben@pages.org")
    assert "You belong to no organisation" in page(web, session, "GET", "/organisations")[1]
    status, text = page(web, session, "POST", "/organisations", handle="Not a handle", name="Acme")
    assert status == 422
    assert 'value="Not a handle"' in text
    assert page(web, session, "POST", "/organisations", handle="@pages", name="Acme")[0] == 303
    assert page(web, other, "GET", "/organisations/pages")[0] == 404
    status, text = page(web, session, "POST", "/organisations/pages/invite", role="viewer", days="3")
    link = re.search(r"/organisations/join/[\w-]{20,}", text)
    assert link
    assert link[0] not in page(web, session, "GET", "/organisations/pages")[1], "it is shown this once"
    assert "Join Acme" in page(web, other, "GET", link[0])[1]
    assert "Rejoindre Acme" in page(web, other, "GET", link[0], "fr")[1]
    assert page(web, other, "POST", link[0])[0] == 303
    assert page(web, other, "POST", link[0])[0] == 404
    members = page(web, other, "GET", "/organisations/pages")[1]
    assert "anna@pages.org" in members
    assert "/invite" not in members
    assert page(web, other, "POST", "/organisations/pages/invite", role="owner")[0] == 403
    assert page(web, session, "POST", "/organisations/pages/leave")[0] == 409
    assert page(web, session, "POST", f"/organisations/pages/members/{anna}", action="member")[0] == 409
    assert page(web, session, "POST", f"/organisations/pages/members/{ben}", action="")[0] == 422
    assert (
        page(web, session, "POST", f"/organisations/pages/members/{ben}", action="hand_over", is_sure="1")[0]
        == 303
    )
    assert page(web, other, "POST", f"/organisations/pages/members/{anna}", action="viewer")[0] == 303
    assert "lecteur" in page(web, session, "GET", "/organisations", "fr")[1]
    assert (
        page(web, other, "POST", f"/organisations/pages/members/{anna}", action="remove", is_sure="1")[0]
        == 303
    )
    assert page(web, session, "GET", "/organisations/pages")[0] == 404
    assert page(web, other, "POST", "/organisations/pages/end")[0] == 303
    assert page(web, other, "GET", "/organisations/pages")[0] == 404


def test_an_invitation_is_taken_back_on_the_page(web: Within) -> None:
    user_id, session = someone(web, "carl@pages.org")
    web.runtime.accounts.add_organisation(user_id, "back")
    secret, row = web.runtime.accounts.invite(user_id, "back")
    assert row.id in page(web, session, "GET", "/organisations/back")[1]
    assert page(web, session, "POST", f"/organisations/back/invitations/{row.id}/withdraw")[0] == 303
    assert page(web, session, "GET", f"/organisations/join/{secret}")[0] == 404


def test_nobody_is_removed_and_nothing_handed_over_without_a_question(web: Within) -> None:
    (anna, session), (ben, other) = someone(web, "anna@asked.org"), someone(web, "ben@asked.org")
    web.runtime.accounts.add_organisation(anna, "asked")
    web.runtime.accounts.accept_invitation(ben, web.runtime.accounts.invite(anna, "asked")[0])
    for action in ("remove", "hand_over"):
        status, text = page(web, session, "POST", f"/organisations/asked/members/{ben}", action=action)
        assert status == 200
        assert f'name="action" value="{action}"' in text
        assert 'name="is_sure" value="1"' in text
        assert page(web, other, "GET", "/organisations/asked")[0] == 200, "nothing was done yet"
        assert page(web, session, "POST", "/organisations/asked/members/x", action=action)[0] == 404
        assert page(web, other, "POST", f"/organisations/asked/members/{anna}", action=action)[0] == 403
    asked = page(web, session, "POST", f"/organisations/asked/members/{ben}", "fr", action="remove")[1]
    assert "Retirer ben@asked.org de l’organisation" in asked


def test_members_see_what_the_organisation_has_and_what_its_plan_allows(web: Within, tmp_path: Path) -> None:
    (anna, _session), (ben, other) = someone(web, "anna@has.org"), someone(web, "ben@has.org")
    accounts = web.runtime.accounts
    house = accounts.add_organisation(anna, "has").id
    accounts.accept_invitation(ben, accounts.invite(anna, "has", "viewer")[0])
    assert "The organisation has nothing yet" in page(web, other, "GET", "/organisations/has")[1]
    assert "Plan of @has: none" in page(web, other, "GET", "/organisations/has")[1]
    file = tmp_path / "towns.csv"
    file.write_text("town,visits\nLyon,7\n")
    table = tables.add(web.runtime, house, file, "towns.csv").id
    made = [
        programs.begin(
            web.runtime.catalog, house, programs.NewRun(f"churn-{number}", "own", f"n{number}", {})
        )
        for number in range(LISTED + 2)
    ]
    models.publish(web.runtime, house, "fraud", [file], metadata={})
    with web.runtime.catalog.write() as transaction:
        plans.give(transaction, accounts.owner_called("@has"), "trial", by=None)
    text = page(web, other, "GET", "/organisations/has")[1]
    assert f'href="/tables/{table}"' in text
    assert 'href="/models/@has~fraud"' in text
    assert f'href="/runs/{made[-1].id}"' in text
    assert f"Runs ({LISTED + 2})" in text
    assert f"The newest {LISTED} of {LISTED + 2}." in text
    assert "Plan of @has: trial" in text
    assert "1 of 3" in text
    assert "Formule de @has\u00a0: trial" in page(web, other, "GET", "/organisations/has", "fr")[1]


@pytest.mark.parametrize("address", ["/organisations", "/organisations/acme", "/organisations/join/x"])
def test_a_visitor_signs_in_first(web: Within, address: str) -> None:
    assert page(web, "", "GET", address)[0] == 303
