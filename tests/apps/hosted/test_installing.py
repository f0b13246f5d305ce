"""An application is described once, when it is installed; help and menu come from that, and import none of its code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecluse.apps.hosted import snapshot
from ecluse.errors import EcluseError

pytestmark = pytest.mark.nightly

CODE = """
from pathlib import Path
from ecluse.app import App
Path("IMPORTED").touch()
app = App("two", title="Two things", api=1)
@app.job
def go(count: int = 1) -> str:
    return "x" * count
"""


def ecluse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder / 'site')!r}); from ecluse.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_a_package_brings_one_by_an_entry_point_that_nobody_imports(tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    (tmp_path / "site" / "two-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "two_app.py").write_text(CODE.replace("IMPORTED", str(imported)))
    (tmp_path / "site" / "two-1.0.dist-info" / "entry_points.txt").write_text(
        "[ecluse.apps]\ntwo = two_app:app\n"
    )
    assert "Two things." not in ecluse(tmp_path, "--help").stdout
    assert not imported.exists()
    install = "from ecluse.apps.hosted.snapshot import install_listed as i; from ecluse.settings import Settings as S; "
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {install} i(S.from_environment())"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert imported.exists()
    imported.unlink()
    assert "Two things." in ecluse(tmp_path, "--help").stdout
    assert "--count INTEGER" in ecluse(tmp_path, "two", "go", "--help").stdout
    assert not imported.exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("app = App('later', api=2)", "is written for api=2 of ecluse.app; this Écluse offers api=1"),
        (
            "app = App('city', api=1)\n@app.job\ndef go() -> str: return ''",
            'There is an application "city" already',
        ),
        (
            "app = App('odd', api=1)\n@app.job\ndef go(x: set) -> str: return ''",
            "The parameter x of go cannot be asked",
        ),
        ("app = App('odd', api=1)\n@app.job(schedule='never')\ndef go(): ...", "'never' is no schedule"),
        ("app = nothing", r"bad.py cannot be imported: NameError: .* \(bad.py, line 2\)"),
        ("import os; os._exit(3)", "The process of the application ended"),
        ("x = []\nwhile True: x.append(bytearray(1 << 26))", "more memory than it may take|MemoryError"),
        ("a, b = App('a', api=1), App('b', api=1)", "holds 2 applications"),
    ],
)
def test_one_that_cannot_be_installed_says_why(tmp_path: Path, code: str, reason: str) -> None:
    (tmp_path / "bad.py").write_text(f"from ecluse.app import App\n{code}\n")
    with pytest.raises(EcluseError, match=reason):
        snapshot.install(tmp_path / "home", tmp_path / "bad.py", copy=True)
    assert not list((tmp_path / "home").glob("apps/*/entry_point"))
