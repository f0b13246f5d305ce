"""The commands that import images, show them and put their labels right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.application import run_ecluse
from tests.apps.plants.photos import folder_of, photo
from tests.apps.plants.test_importing import tarred


def ecluse(home: Path, *arguments: str, code: int = 0) -> Any:
    done = run_ecluse(home, {}, "plants", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.nightly
def test_a_folder_is_imported_shown_put_right_and_removed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    files = {
        "a/1.jpg": photo(1),
        "a/2.jpg": photo(2),
        "b/3.jpg": photo(3),
        "b/2.jpg": photo(2),
        "b/x.jpg": b"x",
    }
    folder = folder_of(tmp_path / "été", files)
    done = ecluse(home, "import", str(folder))
    assert {name: done[name] for name in ("set", "added", "duplicates", "contested", "rejected", "labels")} == {
        "set": "été", "added": 3, "duplicates": 1, "contested": 1, "rejected": 1, "labels": {"a": 2, "b": 1},
    }  # fmt: skip
    assert done["reasons"] == {"The file is not a JPEG, PNG or WebP image.": 1}
    archive = tarred(tmp_path / "more.tar.gz", {"more/a/1.jpg": photo(1), "more/c/4.jpg": photo(4)})
    more = ecluse(home, "import", str(archive), "--set", "été")
    assert (more["added"], more["duplicates"], more["id"]) == (1, 1, done["id"])
    assert ecluse(home, "relabel", "été", "a/2.jpg", "--label", "b")["changed"] == 1
    assert ecluse(home, "exclude", done["id"], "more/c/4.jpg")["changed"] == 1
    shown = ecluse(home, "show", "été")
    assert (shown["labels"], shown["excluded"], shown["contested"]) == ({"a": 1, "b": 2}, {"c": 1}, [])
    assert [one["origin"] for one in shown["rejected"]] == ["b/x.jpg"]
    text = run_ecluse(home, {}, "plants", "show", "été").stdout
    assert "b/x.jpg: The file is not a JPEG, PNG or WebP image." in text
    refused = ecluse(home, "import", str(tmp_path / "nowhere"), code=1)
    assert "There is no" in refused["error"]["message"]
    loose = folder_of(tmp_path / "loose", {"1.jpg": photo(5)})
    said = run_ecluse(home, {}, "plants", "import", str(loose)).stdout
    assert "loose: 0 images added, 0 there before, 1 file rejected." in said
    assert (
        "It has no label: it is in no folder, and none was named for such files. Name one when you import it."
        in said
    )
    assert "Next:" not in said
    ecluse(home, "remove", "loose", "--yes")
    assert [one["name"] for one in ecluse(home, "sets")] == ["été"]
    assert ecluse(home, "remove", "été", "--yes")["objects"] == 4
    assert ecluse(home, "sets") == []


def test_what_pages_and_help_import_holds_nothing_heavy() -> None:
    code = (
        "import sys, ecluse.apps.plants.actions, ecluse.apps.plants.jobs.importing, ecluse.apps.plants.commands.main; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'mlflow', 'sklearn', 'scipy', 'imagehash') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
