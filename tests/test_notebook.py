"""The tutorial of docs/guides/own-models.md, run as a notebook against a server, to the `curl` of a colleague."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from tests.application import Application, running

pytestmark = pytest.mark.nightly

GUIDE = Path(__file__).parent.parent / "docs" / "guides" / "own-models.md"
SERVER = "https://ml.example.org"
#: What a person types where `login` asks for the token.
TYPED = "import os; get_ipython().kernel.getpass = lambda prompt='', **_more: os.environ['TYPED']"
#: A table that no browser needs to show, and what is written where no one looks at a terminal.
QUIET = """
import sys
import ecluse
ecluse.publish(sys.argv[1], "files")
ecluse.load("files", to=sys.argv[2])
"""


def blocks(section: str) -> list[tuple[str, str]]:
    """The blocks of a section of the guide: their language and text."""
    text = GUIDE.read_text(encoding="utf-8").split(f"### {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("server") / "home", role="web") as application:
        yield application


@pytest.fixture
def variables(application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who has not signed in; the kernel has the environment of the tests."""
    for name in [name for name in os.environ if name.startswith("ECLUSE_")]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("TYPED", application.token())


@pytest.mark.usefixtures("variables")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_from_a_pipeline_in_a_notebook_to_the_curl_of_a_colleague(
    application: Application, tmp_path: Path
) -> None:
    *cells, (language, line) = blocks("The whole way, in a notebook")
    assert [language for language, _text in cells] == ["python", "python"]
    assert len([each for each in cells[1][1].splitlines() if each]) <= 4  # all that Écluse adds
    notebook = nbformat.v4.new_notebook()
    texts = [TYPED, *(text.replace(SERVER, application.address) for _language, text in cells)]
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in texts]
    nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = notebook.cells[2].outputs
    assert [output.output_type for output in outputs] == ["display_data", "execute_result"], outputs
    assert re.fullmatch(r"Publishing churn: \d+\.\d MB", outputs[0].data["text/plain"])  # the bar has ended
    assert "churn" in outputs[1].data["text/plain"]

    assert (language, shutil.which("curl") is not None) == ("sh", True), "curl is not installed"
    answered = subprocess.run(
        ["sh", "-c", line.replace(SERVER, application.address)],
        capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "ECLUSE_TOKEN": application.token()},
    )  # fmt: skip
    assert answered.returncode == 0, answered.stdout + answered.stderr
    (answer,) = json.loads(answered.stdout)["answers"]
    assert answer["prediction"] in (0, 1)
    assert answer["probability_0"] + answer["probability_1"] == pytest.approx(1)


@pytest.mark.usefixtures("variables")
def test_where_no_one_looks_at_a_terminal_no_bar_is_written(application: Application, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    command = [sys.executable, "-c", QUIET, str(tmp_path / "weights.bin"), str(tmp_path / "there")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env=os.environ | {"ECLUSE_URL": application.address, "ECLUSE_TOKEN": application.token()},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.usefixtures("variables")
def test_on_a_terminal_a_bar_is_shown_and_gone_at_the_end(application: Application, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights" * 1_000_000)
    master, terminal = os.openpty()
    command = [sys.executable, "-c", QUIET, str(tmp_path / "weights.bin"), str(tmp_path / "there")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=terminal, stdin=subprocess.DEVNULL,
        env=os.environ | {"ECLUSE_URL": application.address, "ECLUSE_TOKEN": application.token(), "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    written = b""
    while True:
        try:
            written += os.read(master, 65536)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert (process.wait(60), process.communicate()[0]) == (0, b"")
    assert b"Publishing files" in written
    assert b"7.0" in written
    assert written.rstrip().endswith((b"\x1b[2K", b"\x1b[?25h")), written[-200:]  # the line was cleared
