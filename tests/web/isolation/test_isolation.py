"""Everyone at every route, with what is their own, shared with them, and another's: each cell of `answers.txt` is tried.

On a real application with real things in it. Whatever is refused changes no row and no object, and is answered as what
nobody has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.web.isolation.house import PERSONS, TOKENS, House, Observed, opened
from tests.web.isolation.table import Row, read_rows
from tests.web.routes import routes

pytestmark = pytest.mark.nightly

ROWS: Final = read_rows()
SECTIONS: Final = list(dict.fromkeys(row.section for row in ROWS))
HOW: Final = (
    "Print the row with: .venv/bin/python -m tests.web.isolation.observe 'GET /api/things/{thing}', read what each may, "
    "and put it beside its like in tests/web/isolation/answers.txt. What stands in braces is made in things.py."
)
#: What an id or a name in an address may be turned into. None of it leads to the thing, whoever asks.
MUTATIONS: Final = (
    "{}x",
    "x{}",
    "{}%20",
    "%20{}",
    "{}%00",
    "{}%0a",
    "{}%2F",
    "..%2f{}",
    "%2e%2e",
    "%252e%252e%252f{}",
    "{}%25",
    "{}%2500",
    "{}%E2%80%8B",
    "{}%EF%BC%8E",
    "%5C{}",
    "'%20or%201=1--",
    "{}" + "0" * 3000,
)
#: Where a name that nobody has is what is asked for.
CREATES: Final = frozenset({("POST", "/api/models/{name}/uploads"), ("GET", "/plants/classify")})
#: What is no id, and may be chosen by whoever makes it.
NO_ID: Final = frozenset(
    {
        "alias",
        "path",
        "index",
        "number",
        "form",
        "kind_or_day",
        "tables",
        "kind",
        "export",
        "none",
        "plan",
        "upload_id",
        "counter",
    }
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("isolation")
    with opened(folder, folder / "home") as made:
        yield made


def routes_of(house: House) -> set[tuple[str, str]]:
    """Return the routes that there are."""
    return {
        (method, re.sub(r":\w+\}", "}", route.path))
        for route in routes(house.app)
        for method in route.methods
    }


def rows_of(house: House, section: str) -> list[Row]:
    """Return the rows of a section; those of a route that is not there, such as for want of a setting, are left out."""
    there = routes_of(house)
    return [row for row in ROWS if row.section == section and row.route in there]


def test_every_route_has_its_cells(house: House) -> None:
    assert sorted(routes_of(house) - {row.route for row in ROWS}) == [], HOW


def test_the_description_of_the_api_names_no_route_without_cells(house: House) -> None:
    described = {
        (method.upper(), path) for path, methods in house.app.openapi()["paths"].items() for method in methods
    }
    assert sorted(described - {row.route for row in ROWS}) == [], HOW


@pytest.mark.parametrize("section", SECTIONS)
def test_each_cell_is_answered_as_it_is_written(house: House, section: str) -> None:
    async def try_all() -> list[str]:
        wrong = []
        for row in rows_of(house, section):
            for who, expected in zip((*PERSONS, *TOKENS), row.persons + row.tokens, strict=True):
                observed = await house.observe(row, who)
                if observed.letter != expected:
                    wrong.append(
                        f"{row.id}: {who} is answered {observed.letter} ({observed.status}), not {expected}"
                    )
                elif observed.changed and expected in "ufs-i":
                    wrong.append(f"{row.id}: {who} is refused, and yet something changed")
                elif is_nobodys(house, row, who, expected):
                    nobodys = await house.ask(row, who, house.invented)
                    if house.differs(observed, nobodys) or headers(observed) != headers(nobodys):
                        wrong.append(
                            f"{row.id}: {who} can tell that it is there: {house.plain(observed)[:300]}"
                        )
        return wrong

    assert asyncio.run(try_all()) == [], HOW


def is_nobodys(house: House, row: Row, who: str, letter: str) -> bool:
    """Say whether a refusal has to be in the words for what nobody has: nothing of it is theirs, or shared with them."""
    if who not in PERSONS or who == "t" or letter not in "-i" or "join_secret" in row.names:
        return False
    return house.names_theirs(row) and not (who in "vmo" and "shared" in row.names)


def headers(observed: Observed) -> set[str]:
    return set(observed.answer.headers)


@pytest.mark.parametrize("section", SECTIONS)
def test_no_id_that_is_like_another_leads_to_it(house: House, section: str) -> None:
    async def try_all() -> list[str]:
        wrong = []
        for number, row in enumerate(rows_of(house, section)):
            if "+" not in row.persons or row.route in CREATES:
                continue
            for name in set(row.in_address) - NO_ID:
                for who, mutation in mutations_for(row, number):
                    names = house.things | {name: mutation.replace("{}", house.things.get(name, "x"))}
                    observed = await house.ask(row, who, names)
                    refused = observed.status in (303, 307, 401, 403, 404, 405, 409, 414, 422)
                    if not refused or observed.changed:
                        wrong.append(
                            f"{row.id}: {who} with {name} as {mutation[:60]} is answered {observed.status}"
                        )
        return wrong

    assert asyncio.run(try_all()) == []


def mutations_for(row: Row, number: int) -> list[tuple[str, str]]:
    """Of a row that reads, all of them as the owner; of one that changes something some, so that every one has a turn."""
    if row.method == "GET":
        return [("t", mutation) for mutation in MUTATIONS] + [("s", MUTATIONS[number % len(MUTATIONS)])]
    return [("t", MUTATIONS[(number + step) % len(MUTATIONS)]) for step in (0, 5, 11)]
