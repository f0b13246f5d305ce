"""`./run` and `./test` install what they need: what a person sees of it."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = "".join(f"echo ' + package-{number}==1.0.{number}' >&2\n" for number in range(90))
#: Stands for uv, which would need the network: it writes as much as uv does, and makes what uv would make.
INSTALLER = f"""#!/bin/sh
case "$*" in
  venv*) mkdir -p .venv/bin && ln -s "$(command -v python3)" .venv/bin/python ;;
  *"pip install --require-hashes -r requirements"*)
    echo 'warning: Failed to hardlink files; falling back to full copy.' >&2
    {PACKAGES}
    sleep "${{SLOW-0}}"
    [ -z "${{BROKEN-}}" ] || {{ echo "error: no space left on device (os error 28)" >&2; exit 2; }}
    printf '#!/bin/sh\\necho "ecluse $*"\\n' >.venv/bin/ecluse && chmod +x .venv/bin/ecluse ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing is installed yet."""
    folder = tmp_path / "checkout"
    (folder / ".tools/bin").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "tools", folder / "tools")
    for name in ("run", "pyproject.toml", "requirements.lock", "requirements-tools.lock"):
        shutil.copy(REPOSITORY / name, folder / name)
    uv = folder / ".tools/bin/uv"
    uv.write_text(INSTALLER)
    uv.chmod(0o755)
    return folder


def start(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "run", *words], env=os.environ | variables, capture_output=True, text=True, timeout=60
    )


def test_a_first_start_says_in_one_line_that_it_installs(checkout: Path) -> None:
    first = start(checkout, "doctor")
    assert (first.returncode, first.stdout) == (0, "ecluse doctor\n")
    assert first.stderr == "Installing what requirements.lock lists …\n"
    kept = (checkout / ".tools/install.log").read_text()
    assert "Failed to hardlink" in kept
    assert "package-89==1.0.89" in kept
    assert start(checkout, "doctor").stderr == "", "a second start has nothing to install"


def test_verbose_shows_what_the_installer_writes_and_is_no_word_of_the_command(checkout: Path) -> None:
    shown = start(checkout, "--verbose", "doctor")
    assert shown.stdout == "ecluse doctor\n"
    assert "Failed to hardlink" in shown.stderr
    assert "package-89==1.0.89" in shown.stderr


def test_an_installation_that_fails_shows_why_and_starts_nothing(checkout: Path) -> None:
    failed = start(checkout, "doctor", BROKEN="yes")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "error: no space left on device (os error 28)" in failed.stderr
    assert ".tools/install.log" in failed.stderr
    assert "--verbose" in failed.stderr
    assert "package-" not in failed.stderr
    again = start(checkout, "doctor")
    assert (again.returncode, again.stdout) == (0, "ecluse doctor\n"), "it is installed at the next start"


def test_on_a_terminal_one_line_moves_and_is_gone_at_the_end(checkout: Path) -> None:
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [checkout / "run", "doctor"], stdout=end, stderr=end, env=os.environ | {"SLOW": "2"}
    ) as process:
        os.close(end)
        written = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # Linux says so that the other end is closed
                break
            if not piece:
                break
            written += piece
    os.close(terminal)
    assert process.returncode == 0
    lines = written.decode().split("\r\033[K")
    assert "Installing what requirements.lock lists … 1 s" in " ".join(lines)
    assert lines[-1] == "ecluse doctor\r\n", "the moving line is cleared before the command writes"
    assert written.count(b"\n") == 1


#: What stands for ours, where the installer stands for uv.
SOURCES = {
    "ecluse/__init__.py": "",
    "ecluse/later.py": "",
    "ecluse/web/__init__.py": "",
    "ecluse/web/api.py": "def make_router(): pass",
    "ecluse/web/pages.py": "def make_router(): pass",
    "ecluse/work.py": "def kinds(): pass",
}


def compiled(file: Path) -> Path:
    return file.parent / "__pycache__" / f"{file.stem}.{sys.implementation.cache_tag}.pyc"


def test_sources_are_compiled_where_python_may_not_write_that_and_again_once_they_change(
    checkout: Path,
) -> None:
    for name, text in SOURCES.items():
        file = checkout / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    variables = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(checkout / "src"),
        "PYTHONPYCACHEPREFIX": "",
    }
    first = start(checkout, "doctor", **variables)
    assert (first.returncode, first.stdout) == (0, "ecluse doctor\n"), first.stderr
    assert first.stderr.endswith("Compiling what is imported …\n")
    work = checkout / "src/ecluse/work.py"
    before = compiled(work).read_bytes()
    work.write_text("def kinds(): return {}")
    changed = (checkout / ".venv/.compiled").stat().st_mtime + 1
    os.utime(work, (changed, changed))
    assert start(checkout, "doctor", **variables).stderr == "", "what is installed is compiled already"
    assert compiled(work).read_bytes() != before
