"""Who guesses is held back, in every process at once, by the database's clock, and no stranger keeps a person out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import text, update

from ecluse.accounts import Accounts
from ecluse.catalog import Catalog, attempts
from ecluse.catalog.attempts import Limit, Subject
from ecluse.catalog.tables import Attempt
from ecluse.errors import InvalidCredentials, TooManyAttempts

PASSWORD = "correct horse battery"


@pytest.fixture
def catalogs(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Catalog, Catalog]]:
    """One catalog, as two processes have it open."""
    opened = catalog, Catalog(catalog.engine.url.render_as_string(hide_password=False))
    for name in ("ACCOUNT_HERE", "ACCOUNT", "ADDRESS", "EVERYONE", "BROWSER"):
        # Fewer at once, in the same order; and so slow that it does not matter how long a test takes.
        monkeypatch.setattr(attempts, name, Limit(4 + getattr(attempts, name).at_once // 10, 3600))
    yield opened
    opened[1].close()


def tries(catalog: Catalog, subjects: Sequence[Subject], times: int) -> int:
    """How many of so many attempts were let in; none of them succeeds."""
    return sum(is_let_in(catalog, subjects) for _ in range(times))


def is_let_in(catalog: Catalog, subjects: Sequence[Subject]) -> bool:
    try:
        with catalog.write() as transaction:
            attempts.begin(transaction, subjects)
    except TooManyAttempts:
        with catalog.read() as transaction, pytest.raises(TooManyAttempts):
            attempts.look(transaction, subjects)
        return False
    return True


def pass_time(catalog: Catalog, seconds: float) -> None:
    """What is held against anyone is so much older."""
    with catalog.write() as transaction:
        transaction.execute(update(Attempt).values(free_at=Attempt.free_at - seconds))


def by_one_guesser(number: int) -> tuple[Subject, ...]:
    """One password tried on account after account, from one address."""
    return attempts.of_sign_in(f"{number}@example.org", "192.0.2.7", None)


def by_many_machines(number: int) -> tuple[Subject, ...]:
    """The same, each from another address."""
    return attempts.of_sign_in(f"{number}@example.org", f"198.51.{number // 250}.{number % 250}", None)


def at_one_account(number: int) -> tuple[Subject, ...]:
    """Many passwords tried on one account, each from another address."""
    return attempts.of_sign_in("owner@example.org", f"198.51.{number // 250}.{number % 250}", None)


@pytest.mark.parametrize(
    ("guess", "name"),
    [(by_one_guesser, "ADDRESS"), (at_one_account, "ACCOUNT"), (by_many_machines, "EVERYONE")],
)
def test_a_guesser_is_held_back_in_all_processes_together(
    catalogs: tuple[Catalog, Catalog], guess: Callable[[int], tuple[Subject, ...]], name: str
) -> None:
    at_once = getattr(attempts, name).at_once
    let_in = [is_let_in(catalogs[number % 2], guess(number)) for number in range(at_once + 3)]
    assert let_in == [True] * at_once + [False] * 3


def test_who_waits_is_let_in_again_and_told_when(catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, other = catalogs
    subjects = attempts.of_sign_in("owner@example.org", "192.0.2.7", None)
    assert tries(catalog, subjects, 12) == attempts.ACCOUNT_HERE.at_once
    with other.read() as transaction, pytest.raises(TooManyAttempts) as refused:
        attempts.look(transaction, subjects)
    assert 0 < refused.value.seconds <= attempts.ACCOUNT_HERE.seconds
    pass_time(catalog, refused.value.seconds)
    assert tries(other, subjects, 2) == 1


def test_what_succeeds_is_held_against_no_one(catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = catalogs
    subjects = attempts.of_sign_in("owner@example.org", "192.0.2.7", None)
    for _ in range(3 * attempts.ACCOUNT_HERE.at_once):
        with catalog.write() as transaction:
            attempts.begin(transaction, subjects)
        with catalog.write() as transaction:
            attempts.give_back(transaction, subjects)
    assert tries(catalog, subjects, attempts.ACCOUNT_HERE.at_once) == attempts.ACCOUNT_HERE.at_once


def test_many_at_once_are_no_way_around_the_limit(catalogs: tuple[Catalog, Catalog]) -> None:
    subjects = attempts.of_sign_in("owner@example.org", "192.0.2.7", None)
    let_in: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: let_in.append(is_let_in(catalogs[n % 2], subjects)))
        for n in range(2 * attempts.ACCOUNT_HERE.at_once)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(let_in), sum(let_in)) == (2 * attempts.ACCOUNT_HERE.at_once, attempts.ACCOUNT_HERE.at_once)


def test_all_addresses_of_one_ipv6_block_are_one_visitor(catalogs: tuple[Catalog, Catalog]) -> None:
    def guess(number: int, block: str = "2001:db8:1:2") -> tuple[Subject, ...]:
        return attempts.of_sign_in("owner@example.org", f"{block}::{number:x}", None)

    let_in = [is_let_in(catalogs[0], guess(number)) for number in range(attempts.ACCOUNT_HERE.at_once + 5)]
    assert sum(let_in) == attempts.ACCOUNT_HERE.at_once
    assert is_let_in(catalogs[0], guess(1, "2001:db8:1:3"))


def test_no_name_and_no_address_is_kept_and_rows_go_when_they_hold_nothing(
    catalogs: tuple[Catalog, Catalog],
) -> None:
    catalog, _ = catalogs
    tries(catalog, attempts.of_sign_in("owner@example.org", "192.0.2.7", "a secret"), 1)
    tries(catalog, attempts.of_sign_in("owner@example.org", "192.0.2.7", None), 1)
    with catalog.read() as transaction:
        kept = str(transaction.execute(text("SELECT * FROM attempts")).all())
    assert all(part not in kept for part in ("owner", "example", "192.0.2", "secret"))
    with catalog.write() as transaction:
        assert attempts.prune(transaction) == 0
    pass_time(catalog, attempts.ACCOUNT.seconds)
    with catalog.write() as transaction:
        assert attempts.prune(transaction) == 5


def test_an_owner_is_let_in_while_strangers_guess_from_everywhere(catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, other = catalogs
    accounts = Accounts(catalog)
    user = accounts.sign_up("owner@example.org", PASSWORD)
    browser = accounts.remember_browser(user.id, None)
    assert not all(
        is_let_in(catalog, at_one_account(number)) for number in range(attempts.ACCOUNT.at_once + 5)
    )
    assert not all(
        is_let_in(catalog, by_many_machines(number)) for number in range(attempts.EVERYONE.at_once + 5)
    )

    with pytest.raises(TooManyAttempts):
        Accounts(other).sign_in("owner@example.org", PASSWORD, client="203.0.113.9")
    assert Accounts(other).sign_in("owner@example.org", PASSWORD, client="203.0.113.9", browser=browser)
    # At another account, or with a secret that no browser has, it is worth nothing.
    accounts.sign_up("other@example.org", PASSWORD)
    for email, secret in (("other@example.org", browser), ("owner@example.org", "invented")):
        with pytest.raises(TooManyAttempts):
            accounts.sign_in(email, PASSWORD, client="203.0.113.9", browser=secret)


def test_a_known_browser_may_not_guess_without_end_either(catalogs: tuple[Catalog, Catalog]) -> None:
    catalog, _ = catalogs
    accounts = Accounts(catalog)
    user = accounts.sign_up("owner@example.org", PASSWORD)
    browser = accounts.remember_browser(user.id, None)
    assert accounts.remember_browser(user.id, browser) == browser
    for _ in range(attempts.BROWSER.at_once):
        with pytest.raises(InvalidCredentials):
            accounts.sign_in("owner@example.org", "wrong password", client="203.0.113.9", browser=browser)
    with pytest.raises(TooManyAttempts):
        accounts.sign_in("owner@example.org", PASSWORD, client="203.0.113.9", browser=browser)


def test_an_account_knows_its_last_browsers(catalogs: tuple[Catalog, Catalog]) -> None:
    accounts = Accounts(catalogs[0])
    user = accounts.add("owner@example.org")
    secrets = [accounts.remember_browser(user.id, None) for _ in range(attempts.MOST_BROWSERS + 1)]
    assert accounts.remember_browser(user.id, secrets[-1]) == secrets[-1]
    assert accounts.remember_browser(user.id, secrets[0]) != secrets[0]
