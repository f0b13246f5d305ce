"""What lies in a home is its owner's alone, whatever the umask, and a home that is open is narrowed or refused."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.cli.session import note_address
from ecluse.disks import make_private, private_file
from ecluse.errors import DiskUnusable
from ecluse.runtime import Runtime
from ecluse.settings import Settings

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid"), reason="this system has no rights of files by mode"
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Every file that is made without care is everybody's."""
    before = os.umask(0)
    yield
    os.umask(before)


def use(home: Path, **environ: str) -> None:
    """What a process makes in a home: databases with what SQLite keeps beside them, a store, scratch, an address."""
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        runtime.accounts.local_administrator()
        runtime.documents.create()
        runtime.data.put("user_data/x/a.csv", b"1")
        note_address(home, "http://127.0.0.1:1")
        with runtime.scratch() as folder:
            (folder / "part").write_text("x")
            for path in [path for path in home.iterdir() if path.is_file() and path.name != "jobs.db"]:
                assert mode(path) & 0o077 == 0, path.name


@pytest.mark.usefixtures("open_umask")
def test_what_is_made_in_a_home_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    use(
        home,
        DATABASE_URL=f"sqlite:///{tmp_path}/elsewhere/catalog.db",
        ECLUSE_STORE_URL=f"file://{tmp_path}/store",
    )
    use(home)
    assert mode(home) == 0o700
    assert {path.name for path in home.iterdir()} >= {"catalog.db", "address", "store"}
    assert mode(tmp_path / "elsewhere" / "catalog.db") == 0o600
    assert mode(tmp_path / "elsewhere") == mode(tmp_path / "store") == 0o700


@pytest.mark.parametrize("wide", [0o755, 0o750, 0o711, 0o777, 0o770, 0o740])
def test_an_open_home_is_narrowed_and_that_is_said(
    wide: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "catalog.db").touch()
    (home / "catalog.db").chmod(0o644)
    (home / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").touch(mode=0o644)
    home.chmod(wide)
    make_private(home)
    assert (mode(home), mode(home / "catalog.db")) == (0o700, 0o600)
    assert mode(tmp_path / "outside") == 0o644
    assert [f"mode {wide:o}" in message for message in caplog.messages] == [True]
    make_private(home)
    assert len(caplog.messages) == 1


def test_what_servers_need_to_pass_through_stays_and_reads_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "catalog.db").touch()
    (tmp_path / "catalog.db").chmod(0o644)
    tmp_path.chmod(0o710)
    make_private(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "catalog.db"), caplog.messages) == (0o710, 0o600, [])


def test_a_group_shares_a_home_only_where_a_setting_says_so(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").touch()
    (tmp_path / "catalog.db").chmod(0o666)
    tmp_path.chmod(0o2777)
    settings = Settings.from_environment({"ECLUSE_HOME_SHARED": "true"}, home=tmp_path)
    make_private(settings.home, shared=settings.home_shared)
    assert (mode(tmp_path), mode(tmp_path / "catalog.db")) == (0o2770, 0o660)
    make_private(tmp_path)
    assert (mode(tmp_path) & 0o777, mode(tmp_path / "catalog.db")) == (0o700, 0o600)


def test_an_open_home_of_another_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(DiskUnusable, match=r"mode 755.*chmod 700.*ECLUSE_HOME_SHARED.*--home"):
        make_private(tmp_path)
    assert mode(tmp_path) == 0o755
    tmp_path.chmod(0o700)
    make_private(tmp_path)


def test_another_user_reads_nothing_of_a_home_that_was_open(tmp_path: Path) -> None:
    """As a real other user, where this process may become one."""
    if os.geteuid() != 0:
        pytest.skip("only the superuser may become another user here")
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    for above in (home, *home.parents):
        if above != home and not mode(above) & 0o001:
            above.chmod(mode(above) | 0o011)
    Runtime.open(Settings.from_environment({}, home=home)).close()
    look = "import json, os, sys\nos.setuid(65534)\nfound = []\nfor name in ('', '/catalog.db', '/store'):\n"
    look += "    try:\n        os.stat(sys.argv[1] + name + '/.') if not name else open(sys.argv[1] + name, 'rb')\n"
    look += "    except OSError as error:\n        found.append(error.errno)\nprint(json.dumps(found))"
    told = subprocess.run([sys.executable, "-c", look, str(home)], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == [13, 13, 13]


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")
    private_file(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "kept"
