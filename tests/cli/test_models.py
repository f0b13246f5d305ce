"""`ecluse models` publishes, finds, fetches, signs, imports and cleans up, for people and for programs."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ecluse import models
from ecluse.cli import output
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import run_ecluse
from tests.test_models import key_pair


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "plots").mkdir(parents=True)
    (folder / "best_model.txt").write_text("tree\n" * 100)
    (folder / "plots" / "curve.json").write_text("{}")
    return folder


def run(home: Path, *arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return run_ecluse(home, environ, "models", *map(str, arguments))


def asked(home: Path, *arguments: str | Path, code: int = 0, **environ: str) -> Any:
    done = run(home, *arguments, "--json", **environ)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_a_model_is_published_found_fetched_and_deleted(home: Path, model: Path, tmp_path: Path) -> None:
    made = asked(home, "publish", "payments", model, "--meta", "val_accuracy=0.93", "--meta", "note=a b",
                 "--alias", "production")  # fmt: skip
    assert made["metadata"] == {"val_accuracy": 0.93, "note": "a b"}
    later = asked(home, "publish", "payments", model / "best_model.txt", "--meta", "val_accuracy=0.8")
    listed = asked(home, "list", "--where", "val_accuracy>0.9", "--where", "note=a b")
    assert [(row["version"], row["aliases"]) for row in listed] == [(made["version"], "production")]
    assert len(asked(home, "list", "payments")) == 2
    assert "val_accuracy 0.93" in run(home, "list", "payments").stdout
    shown = asked(home, "show", "payments@production")
    assert [file["path"] for file in shown["files"]] == ["best_model.txt", "plots/curve.json"]
    got = asked(home, "download", "payments@production", tmp_path / "out")
    assert (got["files"], got["bytes"]) == (2, 502)
    assert (tmp_path / "out" / "plots" / "curve.json").read_text() == "{}"
    again = run(home, "download", "payments@production", tmp_path / "again")
    assert "From the cache: 2" in again.stdout
    moved = asked(home, "alias", "payments", "production")
    assert moved["version"] == later["version"]
    refused = asked(home, "delete", "payments@production", "--yes", code=1)
    assert refused["error"]["code"] == "version_in_use"
    assert refused["error"]["command"] == "ecluse models alias payments production --remove"
    assert asked(home, "alias", "payments", "production", "--remove") == {"removed": "payments@production"}
    deleted = asked(home, "delete", f"payments@{later['version']}", "--yes")
    assert deleted == {"deleted": f"payments@{later['version']}"}
    assert [row["version"] for row in asked(home, "list")] == [made["version"]]


def test_a_version_is_fetched_without_the_store_when_it_is_cached(
    home: Path, model: Path, tmp_path: Path
) -> None:
    asked(home, "publish", "payments", model)
    asked(home, "download", "payments", tmp_path / "out")
    (home / "store").rename(home / "gone")
    got = asked(home, "download", "payments", tmp_path / "again")
    assert (got["files"], got["from_cache"]) == (2, 2)
    failed = asked(home, "verify", "payments", code=1)
    assert failed["error"]["code"] in ("version_not_found", "store_unavailable")


def test_a_damaged_file_is_named_and_the_version_is_not_fetched_any_more(
    home: Path, model: Path, tmp_path: Path
) -> None:
    asked(home, "publish", "payments", model)
    (stored,) = home.glob("store/**/best_model.txt")
    stored.chmod(0o600)
    stored.write_text("tampered")
    failed = asked(home, "verify", "payments", code=1)
    assert failed["error"]["code"] == "digest_mismatch"
    assert "best_model.txt" in failed["error"]["message"]
    refused = asked(home, "download", "payments", tmp_path / "out", code=1)
    assert refused["error"]["code"] == "digest_mismatch"
    assert "DAMAGED since" in run(home, "list").stdout
    misspelt = run(home, "list", "--where", "acuracy>0.5 and name=payments")
    assert (
        "None has acuracy. What can be asked: ecluse models list --help" in misspelt.stdout + misspelt.stderr
    )
    stored.write_text("tree\n" * 100)
    assert asked(home, "verify", "payments")["files"] == 2
    assert asked(home, "download", "payments", tmp_path / "out")["files"] == 2


def test_a_version_is_signed_and_the_signature_checked(home: Path, model: Path, tmp_path: Path) -> None:
    secret, public = key_pair(tmp_path / "key")
    _, other = key_pair(tmp_path / "other")
    made = asked(home, "publish", "payments", model)
    assert asked(home, "sign", "payments", "--key", secret) == {"signed": f"payments@{made['version']}"}
    assert asked(home, "verify", "payments", "--signature", "--key", public)["signed"]
    failed = asked(home, "verify", "payments", "--signature", "--key", other, code=1)
    assert failed["error"]["code"] == "signature_invalid"


def test_wrong_usage_is_told_before_anything_is_done(home: Path, model: Path) -> None:
    for arguments in (
        ("publish", "m"),
        ("publish", "m", model / "nowhere"),
        ("publish", "m", model, "--meta", "no-value"),
        ("verify", "m", "--signature"),
        ("sign", "m"),
        ("delete", "m", "--yes"),
    ):
        assert run(home, *arguments).returncode == 2, arguments
    for arguments in (
        ("publish", "m", model, "--alias", "latest"),
        ("list", "--where", "accuracy"),
        ("gc", "--older-than", "soon"),
    ):
        assert asked(home, *arguments, code=1)["error"]["code"] == "invalid_input", arguments
    assert asked(home, "list") == []


@pytest.mark.nightly
def test_a_folder_of_models_is_imported_and_what_could_not_be_done_ends_with_1(
    home: Path, tmp_path: Path
) -> None:
    existing = tmp_path / "models"
    for name, data in (("dataset1", b"{}"), ("dataset40", pickle.dumps(iter([1])))):
        (existing / name).mkdir(parents=True)
        (existing / name / "model.pkl").write_bytes(data)
    told = asked(home, "import", existing)
    assert [(one["name"], one["outcome"], one["pickles"]) for one in told["models"]] == [
        ("dataset1", "published", ["model.pkl"]),
        ("dataset40", "published", ["model.pkl"]),
    ]
    done = run(home, "import", existing, "--trust")
    assert done.returncode == 1
    assert "dataset40: model.pkl" in done.stdout
    assert "dataset40@v" in done.stdout
    reference = asked(home, "import", existing, "--prefix", "automl_models/")
    assert {one["outcome"] for one in reference["models"]} == {"published"}
    assert len(list(home.glob("store/automl_models/dataset*/v*/manifest.json"))) == 2


def test_a_clean_up_is_for_administrators_and_removes_only_when_told(home: Path, model: Path) -> None:
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        user = runtime.accounts.local_administrator()
        runtime.accounts.sign_up("member@example.org", "a long password")
        kept = models.publish(runtime, user.id, "m", [model], metadata={})
        registry = runtime.registry(user.id)
        registry.upload("m", registry.claim("m", "dead"), model)
    refused = asked(home, "gc", "--user", "member@example.org", code=1)
    assert refused["error"]["code"] == "forbidden"
    assert asked(home, "gc") == []
    (found,) = asked(home, "gc", "--older-than", "0m")
    assert (found["kind"], found["objects"], found["removed"]) == ("unfinished", 3, False)
    (removed,) = asked(home, "gc", "--older-than", "0m", "--delete")
    assert removed["removed"]
    assert asked(home, "gc", "--older-than", "0m") == []
    assert asked(home, "verify", f"m@{kept.version}")["files"] == 2


def test_bytes_that_pass_are_told_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(output.time, "monotonic", lambda: next(clock))
    with output.transfer("Publishing", 4_000_000) as progress:
        progress(1_000_000)
        progress(-500_000)  # a file begins anew
        progress(3_500_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Publishing"
    assert re.fullmatch(r" 25%  1\.0 of 4\.0 MB, 0\.2 MB/s, 18 s left", lines[1])
    assert lines[-1].startswith("100%  4.0 of 4.0 MB")
