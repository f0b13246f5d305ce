"""Second factors: each code counts once, guesses are held back, and the key of the secrets is not in the catalog."""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import text

from ecluse import moving
from ecluse.accounts import Accounts, SignedIn, ways
from ecluse.accounts import second_factors as module
from ecluse.accounts.vault import Vault, new_key
from ecluse.catalog import Catalog, attempts
from ecluse.catalog.attempts import Limit
from ecluse.errors import (
    EcluseError,
    InvalidCredentials,
    InvalidInput,
    KeyMissing,
    MoveRefused,
    NotFound,
    SecondFactorMissing,
    SecondFactorNeeded,
    SettingsError,
    TooManyAttempts,
)
from ecluse.runtime import Runtime
from ecluse.settings import AccountsSettings, Secret, Settings
from tests.cli.test_users import run
from tests.telephones import Clock, fixed

EMAIL, PASSWORD = "owner@example.org", "correct horse battery"
KEYS = AccountsSettings((Secret(new_key()),))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return fixed(monkeypatch)


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    made = Accounts(catalog, KEYS)
    made.sign_up(EMAIL, PASSWORD)
    return made


@pytest.fixture
def processes(catalog: Catalog, accounts: Accounts) -> Iterator[tuple[Accounts, Accounts]]:
    """The accounts, as two processes have them open."""
    other = Catalog(catalog.engine.url.render_as_string(hide_password=False))
    yield accounts, Accounts(other, KEYS)
    other.close()


def enter(accounts: Accounts) -> SignedIn:
    secret = accounts.open_session(accounts.by_email(EMAIL).id)
    signed_in = accounts.who_has_session(secret)
    assert signed_in is not None
    return signed_in


def set_up(accounts: Accounts, clock: Clock) -> tuple[str, list[str]]:
    """The secret of a second factor, and the recovery codes."""
    signed_in = enter(accounts)
    secret = accounts.begin_second_factor(signed_in, PASSWORD).secret
    return secret, accounts.confirm_second_factor(signed_in, clock.code_now(secret))


def test_a_second_factor_is_set_up_in_the_session_that_proved_the_password(
    accounts: Accounts, clock: Clock
) -> None:
    proved, other = enter(accounts), enter(accounts)
    secret = accounts.begin_second_factor(proved, PASSWORD).secret
    assert accounts.begun_second_factor(other) is None
    for code in ("000000", clock.code_now(secret)):
        with pytest.raises(InvalidInput, match="Begin again"):
            accounts.confirm_second_factor(other, code)
    assert accounts.begun_second_factor(proved) is not None
    assert accounts.confirm_second_factor(proved, clock.code_now(secret))


def test_guessing_the_first_code_is_held_back(
    accounts: Accounts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SECOND_STEP", Limit(2, 3600))
    signed_in = enter(accounts)
    secret = accounts.begin_second_factor(signed_in, PASSWORD).secret
    for _number in range(2):
        with pytest.raises(InvalidCredentials):
            accounts.confirm_second_factor(signed_in, "000000")
    with pytest.raises(TooManyAttempts, match="code was wrong too often"):
        accounts.confirm_second_factor(signed_in, clock.code_now(secret))


def first_step(accounts: Accounts) -> str:
    with pytest.raises(SecondFactorNeeded) as needed:
        accounts.sign_in(EMAIL, PASSWORD)
    return needed.value.step


def test_the_password_alone_begins_no_session_and_the_code_does(accounts: Accounts, clock: Clock) -> None:
    secret, _codes = set_up(accounts, clock)
    step = first_step(accounts)
    assert accounts.who_has_session(step) is None
    assert accounts.who_has_token(step) is None
    with pytest.raises(InvalidCredentials):
        accounts.redeem_link(step)
    with pytest.raises(InvalidCredentials, match="not right"):
        accounts.finish_sign_in(step, "000000")
    user, session = accounts.finish_sign_in(step, clock.code(secret))
    assert accounts.who_has_session(session) is not None
    assert user.email == EMAIL
    with pytest.raises(InvalidInput, match="Sign in again"):
        accounts.finish_sign_in(step, clock.code(secret))
    written = [entry.action for entry, _ in accounts.log(EMAIL)][:3]
    assert written == ["user.sign_in", "user.sign_in_failed", "user.first_step"]


def test_the_first_step_is_good_for_ten_minutes_and_ends_with_a_new_password(
    accounts: Accounts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _codes = set_up(accounts, clock)
    step, later = first_step(accounts), first_step(accounts)
    with monkeypatch.context() as patched:
        from ecluse.catalog.tables import now

        patched.setattr("ecluse.catalog.users.now", lambda: now() + timedelta(minutes=11))
        with pytest.raises(InvalidInput, match="too long ago"):
            accounts.finish_sign_in(step, clock.code(secret))
    accounts.set_password(EMAIL, "another good password")
    with pytest.raises(InvalidInput, match="too long ago"):
        accounts.finish_sign_in(later, clock.code(secret))


def test_a_code_counts_once_and_none_before_it_does(accounts: Accounts, clock: Clock) -> None:
    secret, _codes = set_up(accounts, clock)
    before, code = clock.code_now(secret), clock.code(secret)
    accounts.finish_sign_in(first_step(accounts), code)
    for used in (code, before):
        with pytest.raises(InvalidCredentials):
            accounts.finish_sign_in(first_step(accounts), used)


@pytest.mark.parametrize(("steps", "fits"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_clocks_may_differ_by_one_code(accounts: Accounts, clock: Clock, steps: int, fits: bool) -> None:
    secret, _codes = set_up(accounts, clock)
    clock.pass_steps(10)
    code = pyotp.TOTP(secret).at(clock() + timedelta(seconds=30 * steps))
    step = first_step(accounts)
    if fits:
        assert accounts.finish_sign_in(step, code)
    else:
        with pytest.raises(InvalidCredentials):
            accounts.finish_sign_in(step, code)


@pytest.mark.parametrize("kind", ["code", "recovery_code"])
def test_of_many_at_once_in_two_processes_one_is_let_in_by_a_code(
    processes: tuple[Accounts, Accounts], clock: Clock, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SECOND_STEP", Limit(100, 60))
    secret, codes = set_up(processes[0], clock)
    code = clock.code(secret) if kind == "code" else codes[0]
    steps = [first_step(processes[0]) for _ in range(8)]
    answers: list[str] = []
    gate = threading.Barrier(len(steps))

    def finish(number: int) -> None:
        gate.wait()
        try:
            processes[number % 2].finish_sign_in(steps[number], code)
            answers.append("in")
        except EcluseError as error:
            answers.append(error.code)

    threads = [threading.Thread(target=finish, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["in"] + ["invalid_credentials"] * 7


def test_one_proof_begins_one_session_whatever_codes_are_right(
    processes: tuple[Accounts, Accounts], clock: Clock
) -> None:
    _secret, codes = set_up(processes[0], clock)
    step = first_step(processes[0])
    processes[0].finish_sign_in(step, codes[0])
    with pytest.raises(InvalidInput):
        processes[1].finish_sign_in(step, codes[1])
    assert processes[1].finish_sign_in(first_step(processes[0]), codes[1])


def test_guessing_codes_is_held_back_in_all_processes_and_not_the_owner_in_a_known_browser(
    processes: tuple[Accounts, Accounts], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SECOND_STEP", Limit(4, 3600))
    here, there = processes
    secret, _codes = set_up(here, clock)
    browser = here.remember_browser(here.by_email(EMAIL).id, None)
    step = first_step(here)
    for number in range(4):
        with pytest.raises(InvalidCredentials):
            (here, there)[number % 2].finish_sign_in(step, f"00000{number}")
    for each in processes:
        with pytest.raises(TooManyAttempts, match="code was wrong too often"):
            each.finish_sign_in(step, clock.code(secret), browser="invented")
    assert there.finish_sign_in(step, clock.code(secret), browser=browser)


def test_recovery_codes_are_ten_kept_as_hashes_and_count_once(
    accounts: Accounts, catalog: Catalog, clock: Clock
) -> None:
    secret, codes = set_up(accounts, clock)
    assert len(set(codes)) == module.RECOVERY_CODES == 10
    assert all(re.fullmatch(r"([a-z2-7]{4}-){5}[a-z2-7]{4}", code) for code in codes)
    with catalog.engine.connect() as connection:
        tables = ("recovery_codes", "second_factors", "api_tokens", "audit_log")
        kept = "".join(str(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)
    assert secret not in kept
    assert not any(code in kept or code.replace("-", "") in kept for code in codes)
    written_otherwise = codes[0].upper().replace("-", " ")
    assert accounts.finish_sign_in(first_step(accounts), written_otherwise)
    with pytest.raises(InvalidCredentials):
        accounts.finish_sign_in(first_step(accounts), codes[0])
    factor = accounts.second_factor(accounts.by_email(EMAIL).id)
    assert factor is not None
    assert factor.recovery_codes == 9
    again = accounts.new_recovery_codes(enter(accounts), PASSWORD, clock.code(secret))
    with pytest.raises(InvalidCredentials):
        accounts.finish_sign_in(first_step(accounts), codes[1])
    assert accounts.finish_sign_in(first_step(accounts), again[1])


def test_it_takes_the_password_to_begin_and_both_to_end(accounts: Accounts, clock: Clock) -> None:
    signed_in = enter(accounts)
    with pytest.raises(InvalidCredentials):
        accounts.begin_second_factor(signed_in, "a wrong password")
    begun = accounts.begin_second_factor(signed_in, PASSWORD)
    assert accounts.second_factor(signed_in.user.id) is None
    assert accounts.sign_in(EMAIL, PASSWORD), "nothing is asked for before it is proved"
    with pytest.raises(InvalidCredentials, match="clock"):
        accounts.confirm_second_factor(signed_in, "123456")
    elsewhere = accounts.open_session(signed_in.user.id)
    accounts.confirm_second_factor(signed_in, clock.code_now(begun.secret))
    assert accounts.who_has_session(elsewhere) is None, "other sessions end"
    with pytest.raises(InvalidInput, match="already"):
        accounts.begin_second_factor(signed_in, PASSWORD)
    for password, code in (("a wrong password", clock.code(begun.secret)), (PASSWORD, "000000")):
        with pytest.raises(InvalidCredentials):
            accounts.end_second_factor(signed_in, password, code)
    accounts.end_second_factor(signed_in, PASSWORD, clock.code(begun.secret))
    assert accounts.sign_in(EMAIL, PASSWORD)
    with pytest.raises(InvalidInput, match="Begin again"):
        accounts.confirm_second_factor(signed_in, clock.code(begun.secret))


def test_a_set_up_that_takes_too_long_begins_again(accounts: Accounts, clock: Clock) -> None:
    signed_in = enter(accounts)
    begun = accounts.begin_second_factor(signed_in, PASSWORD)
    clock.moved += module.SETUP_LIFETIME + timedelta(seconds=1)
    assert accounts.begun_second_factor(signed_in) is None
    with pytest.raises(InvalidInput, match="Begin again"):
        accounts.confirm_second_factor(signed_in, clock.code(begun.secret))


def test_a_link_does_not_pass_it(accounts: Accounts, clock: Clock) -> None:
    secret, _codes = set_up(accounts, clock)
    link = accounts.sign_in_link(accounts.by_email(EMAIL).id)
    with pytest.raises(SecondFactorNeeded) as needed:
        accounts.redeem_link(link)
    with pytest.raises(InvalidCredentials):
        accounts.redeem_link(link)
    _user, session = accounts.finish_sign_in(needed.value.step, clock.code(secret))
    signed_in = accounts.who_has_session(session)
    assert signed_in is not None
    assert signed_in.session is not None
    assert signed_in.session.by_link


def test_it_is_taken_off_by_who_runs_it_and_that_is_written_down(accounts: Accounts, clock: Clock) -> None:
    set_up(accounts, clock)
    step = first_step(accounts)
    accounts.remove_second_factor(EMAIL)
    assert accounts.sign_in(EMAIL, PASSWORD)
    with pytest.raises(InvalidInput):
        accounts.finish_sign_in(step, "000000")
    assert "user.second_factor_removed" in [entry.action for entry, _ in accounts.log(EMAIL)]
    with pytest.raises(NotFound, match="no second factor"):
        accounts.remove_second_factor(EMAIL)


@pytest.mark.parametrize(
    ("obliged", "role", "lacks"),
    [
        ("nobody", "admin", False),
        ("administrators", "admin", True),
        ("administrators", "member", False),
        ("everyone", "member", True),
    ],
)
def test_who_has_to_have_one_is_let_to_nothing_else(
    catalog: Catalog, clock: Clock, obliged: str, role: str, lacks: bool
) -> None:
    accounts = Accounts(catalog, AccountsSettings(KEYS.secret_keys, None, obliged))  # type: ignore[arg-type]
    accounts.sign_up("first@example.org", PASSWORD)
    accounts.sign_up(EMAIL, PASSWORD)
    accounts.set_role(EMAIL, role)  # type: ignore[arg-type]
    session = accounts.open_session(accounts.by_email(EMAIL).id)
    asked = ways.Credentials({}, {"ecluse_session": session})
    if lacks:
        with pytest.raises(SecondFactorMissing, match="Set it up"):
            ways.who_asks(accounts, asked)
    else:
        assert ways.who_asks(accounts, asked)
    sender = ways.who_asks(accounts, asked, sets_up=True)
    assert sender is not None
    secret = accounts.begin_second_factor(sender[0], PASSWORD).secret
    accounts.confirm_second_factor(sender[0], clock.code_now(secret))
    assert ways.who_asks(accounts, asked)


# Keys


def test_the_key_of_a_home_is_a_file_that_its_owner_alone_reads(runtime: Runtime, clock: Clock) -> None:
    accounts, file = runtime.accounts, runtime.settings.home / "secret.key"
    accounts.sign_up(EMAIL, PASSWORD)
    assert not file.exists()
    secret, codes = set_up(accounts, clock)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.glob(".secret*")] == []
    file.rename(file.with_suffix(".away"))
    step = first_step(accounts)
    with pytest.raises(KeyMissing, match="ECLUSE_SECRET_KEYS"):
        accounts.finish_sign_in(step, clock.code(secret))
    assert accounts.finish_sign_in(step, codes[0]), "a recovery code needs no key"
    accounts.add("other@example.org", password=PASSWORD)
    _, session = accounts.sign_in("other@example.org", PASSWORD)
    other = accounts.who_has_session(session)
    assert other is not None
    with pytest.raises(KeyMissing, match=r"needs the key of then"):
        accounts.begin_second_factor(other, PASSWORD)
    assert not file.exists(), "no new key hides that the old one is away"
    file.write_text("something else")
    with pytest.raises(KeyMissing, match="holds no key"):
        accounts.finish_sign_in(first_step(accounts), clock.code(secret))
    file.with_suffix(".away").rename(file)
    assert accounts.finish_sign_in(first_step(accounts), clock.code(secret))


def test_of_processes_that_make_the_key_at_once_all_have_the_same(tmp_path: Path) -> None:
    file, read = tmp_path / "secret.key", list[str]()

    def make() -> None:
        vault = Vault(AccountsSettings((), file))
        read.append(Vault(AccountsSettings((), file)).open("a", vault.close("a", "x", is_first=True)))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == ["x"] * 8


def test_without_a_key_that_all_processes_have_none_is_set_up(catalog: Catalog) -> None:
    accounts = Accounts(catalog, AccountsSettings())
    accounts.sign_up(EMAIL, PASSWORD)
    with pytest.raises(KeyMissing, match="ecluse secret-key"):
        accounts.begin_second_factor(enter(accounts), PASSWORD)


@pytest.mark.parametrize(
    ("database", "has_file"),
    [
        (None, True),
        ("postgresql://127.0.0.1:5432/ecluse", True),
        ("postgresql://u:p@localhost/ecluse", True),
        ("postgresql:///ecluse?host=/run/postgresql", True),
        ("postgresql://postgres/ecluse", False),
        ("postgresql://u:p@10.0.0.7/ecluse", False),
        ("postgresql:///ecluse?host=db.example.org", False),
    ],
)
def test_a_key_file_is_for_a_catalog_of_this_machine(
    database: str | None, has_file: bool, tmp_path: Path
) -> None:
    environ = {} if database is None else {"DATABASE_URL": database}
    settings = Settings.from_environment(environ, home=tmp_path)
    assert (settings.accounts.key_file is not None) is has_file


def test_the_key_changes_and_what_is_of_another_owner_is_not_read(
    catalog: Catalog, accounts: Accounts, clock: Clock
) -> None:
    secret, _codes = set_up(accounts, clock)
    new = Secret(new_key())
    both = Accounts(catalog, AccountsSettings((new, *KEYS.secret_keys)))
    assert both.finish_sign_in(first_step(both), clock.code(secret)), "each key decrypts"
    assert both.encrypt_again() == 1
    alone = Accounts(catalog, AccountsSettings((new,)))
    assert alone.finish_sign_in(first_step(alone), clock.code(secret)), "the first key encrypts"
    with pytest.raises(KeyMissing):
        accounts.finish_sign_in(first_step(accounts), clock.code(secret))
    vault = Vault(KEYS)
    closed = vault.close("anna", "SECRET", is_first=False)
    assert vault.can_open("anna", closed)
    assert not vault.can_open("ben", closed)


@pytest.mark.parametrize("value", ["short", "x" * 44, f"{'A' * 43}=,short"])
def test_what_is_no_key_is_refused_and_not_shown(value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ecluse secret-key") as refused:
        Settings.from_environment({"ECLUSE_SECRET_KEYS": value}, home=tmp_path)
    assert value not in str(refused.value)
    with pytest.raises(SettingsError, match="administrators"):
        Settings.from_environment({"ECLUSE_SECOND_FACTOR": "some"}, home=tmp_path)


def test_a_move_is_refused_where_second_factors_would_be_lost(
    runtime: Runtime, tmp_path: Path, clock: Clock
) -> None:
    runtime.accounts.sign_up(EMAIL, PASSWORD)
    secret, _codes = set_up(runtime.accounts, clock)
    there = Settings.from_environment({}, home=tmp_path / "there")
    with (
        moving.opened(runtime.settings, there) as both,
        pytest.raises(MoveRefused, match="ECLUSE_SECRET_KEYS"),
    ):
        moving.run(both)
    key = (runtime.settings.home / "secret.key").read_text().strip()
    with_key = Settings.from_environment({"ECLUSE_SECRET_KEYS": key}, home=tmp_path / "there")
    with moving.opened(runtime.settings, with_key) as both:
        moving.run(both)
    with Runtime.open(with_key) as moved:
        assert moved.accounts.finish_sign_in(first_step(moved.accounts), clock.code(secret))


# Commands


def test_the_terminal_makes_keys_shows_and_takes_off(tmp_path: Path, clock: Clock) -> None:
    key = run(tmp_path, "secret-key", "--json")
    assert Vault(AccountsSettings((Secret(json.loads(key.stdout)["key"]),))).place == "ECLUSE_SECRET_KEYS"
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        runtime.accounts.sign_up(EMAIL, PASSWORD)
        set_up(runtime.accounts, clock)
    shown = json.loads(run(tmp_path, "users", "second-factor", EMAIL, "--json").stdout)
    assert (shown["recovery_codes"], shown["second_factor_since"] is None) == (10, False)
    assert json.loads(run(tmp_path, "secret-key", "--encrypt-again", "--json").stdout) == {"encrypted": 1}
    off = run(tmp_path, "users", "second-factor", EMAIL, "--remove", "--json")
    assert json.loads(off.stdout)["second_factor_since"] is None
    log = run(tmp_path, "users", "log", EMAIL, "--json").stdout
    assert "user.second_factor_removed" in log
    assert run(tmp_path, "users", "second-factor", EMAIL, "--remove").returncode == 1
