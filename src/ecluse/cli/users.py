"""List, add, change and remove accounts, make sign-in links, and read who signed in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, Literal

import click

from ecluse.catalog.tables import User
from ecluse.cli.account import export_user
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, counted, reports, say
from ecluse.cli.plans import user_plan
from ecluse.cli.session import home_option, last_address, opened
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime

#: How roles are written here, and kept.
ROLES: Final[dict[str, Literal["admin", "member"]]] = {"administrator": "admin", "member": "member"}
_role = click.Choice(list(ROLES))


@click.group(cls=Group)
def users() -> None:
    """List, add, change and remove accounts, make sign-in links, and read who signed in."""


@users.command("list")
@click.option("--search", default="", help="What an address or a name holds.")
@home_option
@reports
def list_users(search: str, home: Path | None) -> Rows:
    """List the accounts."""
    with opened(home, reads=True) as runtime:
        columns = ("email", "role", "disabled_at", "created_at", "id")
        return Rows([_row(user) for user in runtime.accounts.everyone(search)], columns)


@users.command("add")
@click.argument("email")
@click.option(
    "--role", type=_role, help="What it may do. Default: member, and administrator if it is the first."
)
@click.option("--admin", is_flag=True, help="The same as --role administrator.")
@click.option("--name", default="", help="What to call the person.")
@click.option("--password", "sets_password", is_flag=True, help="Ask for a password, or read it from stdin.")
@home_option
@reports
def add_user(
    email: str, role: str | None, admin: bool, name: str, sets_password: bool, home: Path | None
) -> Record:
    """Make an account.

    Without --password, a link is printed with which its owner signs in once and sets one. A password is never an
    argument, as other users of the machine could read it: it is asked for, or read from the first line of stdin.
    """
    if admin and role == "member":
        raise InvalidInput("--admin and --role member contradict each other. Leave one out.")
    administers = admin or role == "administrator"
    with opened(home) as runtime:
        if role == "member" and not runtime.accounts.everyone(limit=1):
            raise InvalidInput(
                "The first account administers, as nobody else could. Make the administrator first, or leave "
                "--role member out."
            )
        password = _read_password() if sets_password else None
        user = runtime.accounts.add(email, name, admin=administers, password=password)
        return Record(_row(user)) if sets_password else _with_link(runtime, user)


@users.command("invite")
@click.option(
    "--days", type=click.IntRange(1, 30), default=7, show_default=True, help="How long it is good for."
)
@home_option
@reports
def invite(days: int, home: Path | None) -> Record:
    """Make a link by which one person makes an account, once; where ECLUSE_SIGN_UP is invitation or open."""
    with opened(home) as runtime:
        secret, row = runtime.accounts.invite_person(days=days)
        base = _address(runtime)
    return Record({"id": row.id, "expires_at": row.expires_at, "link": f"{base}/sign-up/{secret}"})


@users.command("invitations")
@click.option(
    "--end", "invitation_id", multiple=True, metavar="ID", help="Take this one back; again for more."
)
@home_option
@reports
def list_invitations(invitation_id: tuple[str, ...], home: Path | None) -> Rows:
    """List the invitations to make an account that nobody has used yet."""
    columns = ("id", "email", "by", "created_at", "expires_at")
    with opened(home, reads=True) as runtime:
        for each in invitation_id:
            runtime.accounts.withdraw_person(each)
        rows = [{name: getattr(each, name) for name in columns} for each in runtime.accounts.people_invited()]
    return Rows(rows, columns, "No invitation is open.")


@users.command("link")
@click.argument("email")
@home_option
@reports
def sign_in_link(email: str, home: Path | None) -> Record:
    """Make a link that signs this account in once, within 24 hours."""
    with opened(home) as runtime:
        return _with_link(runtime, runtime.accounts.by_email(email))


@users.command("password")
@click.argument("email")
@home_option
@reports
def set_password(email: str, home: Path | None) -> Record:
    """Set the password of an account; its sessions, links and tokens end.

    It is asked for, or read from the first line of stdin; never an argument.
    """
    with opened(home) as runtime:
        runtime.accounts.by_email(email)
        return Record(_row(runtime.accounts.set_password(email, _read_password())))


@users.command("role")
@click.argument("email")
@click.argument("role", type=_role)
@home_option
@reports
def set_role(email: str, role: str, home: Path | None) -> Record:
    """Let an account administer, or no longer. The last one that does stays."""
    from ecluse import people

    with opened(home) as runtime:
        if ROLES[role] == "admin":
            return Record(_row(runtime.accounts.set_role(email, "admin")))
        return Record(_row(people.demote(runtime, email)))


@users.command("disable")
@click.argument("email")
@click.option("--keep-jobs", is_flag=True, help="Let its jobs go on; otherwise they are cancelled.")
@home_option
@reports
def disable_user(email: str, keep_jobs: bool, home: Path | None) -> Record:
    """Let nobody sign in to an account. Its sessions, links and tokens end at once; what it has stays."""
    from ecluse import people

    with opened(home) as runtime:
        cancelled = people.disable(runtime, email, keep_jobs=keep_jobs)
        if cancelled:
            say(f"{counted(cancelled, 'job')} cancelled.")
        if left := runtime.accounts.without_owner(email):
            say(f"Nobody who may sign in owns {', '.join(f'@{each}' for each in left)} by now.")
        return Record(_row(runtime.accounts.by_email(email)))


@users.command("enable")
@click.argument("email")
@home_option
@reports
def enable_user(email: str, home: Path | None) -> Record:
    """Let the owner of a disabled account sign in again, with the password of before."""
    with opened(home) as runtime:
        return Record(_row(runtime.accounts.enable(email)))


@users.command("remove")
@click.argument("email")
@click.option("--with-everything", is_flag=True, help="Remove its tables, models, images and runs, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@reports
def remove_user(email: str, with_everything: bool, yes: bool, home: Path | None) -> Record:
    """Remove an account. One that has something is left, unless that is to go --with-everything."""
    from ecluse import people

    with opened(home) as runtime:
        user = runtime.accounts.by_email(email)
        there = people.belongings(runtime, user)
        if with_everything and there and not yes:
            say(f"{user.email} has {there.words}; {there.size / 1e6:,.1f} MB.")
            click.confirm("Remove all of it for good?", abort=True, err=True)
        removed = people.remove(runtime, email, everything=with_everything)
        say(f"Looked at afterwards: every table, and {', '.join(removed.places)}. Nothing of it is left.")
        return Record(
            _row(user)
            | {"removed": there.rows, "objects": removed.objects, "looked_at": list(removed.places)}
        )


@users.command("tokens")
@click.argument("email")
@click.option("--end", "token_id", multiple=True, metavar="ID", help="End this token; again for more.")
@click.option("--end-all", is_flag=True, help="End every token.")
@home_option
@reports
def list_tokens(email: str, token_id: tuple[str, ...], end_all: bool, home: Path | None) -> Rows:
    """List the tokens of an account: what they may do, when they were last used, and when they end."""
    with opened(home) as runtime:
        owner = runtime.accounts.by_email(email).id
        for each in token_id:
            runtime.accounts.revoke_token(owner, each)
        if end_all:
            runtime.accounts.revoke_tokens(owner)
        columns = ("id", "name", "prefix", "scopes", "model", "created_at", "last_used_at", "expires_at")
        rows = [{name: getattr(token, name) for name in columns} for token in runtime.accounts.tokens(owner)]
        return Rows(rows, columns, f"{email} has no tokens.")


@users.command("end-sessions")
@click.argument("email")
@click.option("--tokens", is_flag=True, help="End its tokens, too.")
@home_option
@reports
def end_sessions(email: str, tokens: bool, home: Path | None) -> Record:
    """Sign an account out everywhere: its sessions and unused links end. Its password stays."""
    with opened(home) as runtime:
        user, sessions, ended = runtime.accounts.end_all_sessions(email, tokens=tokens)
        say(f"{counted(sessions, 'session')} and {counted(ended, 'token')} ended.")
        return Record(_row(user) | {"ended_sessions": sessions, "ended_tokens": ended})


@users.command("second-factor")
@click.argument("email")
@click.option(
    "--remove", is_flag=True, help="Take it off: its owner has lost the telephone and the recovery codes."
)
@home_option
@reports
def second_factor(email: str, remove: bool, home: Path | None) -> Record:
    """Say whether signing in to an account asks for a code, or take that off. It is written down."""
    with opened(home) as runtime:
        user = runtime.accounts.by_email(email)
        if remove:
            runtime.accounts.remove_second_factor(email)
            say(f"{user.email} signs in with the password alone.")
        factor = runtime.accounts.second_factor(user.id)
        fields = {
            "second_factor_since": factor.since if factor else None,
            "recovery_codes": factor.recovery_codes if factor else 0,
        }
        return Record({"id": user.id, "email": user.email} | fields)


@users.command("log")
@click.argument("email", required=False)
@click.option("--everything", is_flag=True, help="Whatever else was written down, too.")
@click.option("--search", default="", help="What an action, its subject or the address of who did it holds.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@home_option
@reports
def show_log(email: str | None, everything: bool, search: str, limit: int, home: Path | None) -> Rows:
    """Who signed in or tried to, and what was changed about accounts; of one account, or of all. The newest first."""
    with opened(home, reads=True) as runtime:
        entries = runtime.accounts.log(email, everything=everything, search=search, limit=limit)
    rows = [
        {
            "created_at": entry.created_at,
            "action": entry.action,
            "subject": entry.subject,
            "by": by,
            "detail": entry.detail,
        }
        for entry, by in entries
    ]
    return Rows(rows, ("created_at", "action", "subject", "by", "detail"), "Nothing was written down yet.")


users.add_command(user_plan)
users.add_command(export_user)


def _read_password() -> str:
    """Read a password, asked for twice at a terminal, else the first line of stdin."""
    if sys.stdin.isatty():
        answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise InvalidInput(
            "stdin has no password on its first line. Write it there, or run this at a terminal."
        )
    return line


def _with_link(runtime: Runtime, user: User) -> Record:
    link = f"{_address(runtime)}/sign-in/link/{runtime.accounts.sign_in_link(user.id)}"
    return Record(_row(user) | {"sign_in_link": link})


def _address(runtime: Runtime) -> str:
    """Return where links begin, which is said where it is not known for sure; "" where nothing says it."""
    base = runtime.settings.public_url or last_address(runtime.settings.home)
    if base is None:
        say("Open the link at the address that `ecluse up` printed.")
    elif runtime.settings.public_url is None:
        say("The link leads to where Écluse was last started here.")
    return base or ""


def _row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }
