"""An application is given the variables that it names, and their values stand in no message and no log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecluse.apps.hosted import snapshot
from ecluse.apps.hosted.asking import ask
from ecluse.apps.hosted.errors import AppFailed
from ecluse.apps.hosted.starting import start
from ecluse.errors import EcluseError

CODE = """
import os
from ecluse.app import App
app = App("shop", variables=["SHOP_TOKEN"], api=1)
@app.predict
def predict(key: str = ""):
    if key:
        print("asked with", os.environ["SHOP_TOKEN"], flush=True)
        raise ValueError("refused " + os.environ["SHOP_TOKEN"])
    return sorted(os.environ)
"""
SECRET = "a-very-secret-word"


def test_it_is_given_what_it_names_alone_and_no_message_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(CODE)
    made = snapshot.install(tmp_path / "home", tmp_path / "shop.py", copy=True)
    with pytest.raises(AppFailed, match="needs the variables SHOP_TOKEN"):
        start(made, tmp_path, 1 << 30)
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    monkeypatch.setenv("SHOP_OTHER", "not asked for")
    process = start(made, tmp_path, 1 << 30)
    try:
        reply, _data = ask(process, {"do": "predict", "values": {"key": ""}}, b"", 60)
        assert "SHOP_TOKEN" in reply["answer"]
        assert "SHOP_OTHER" not in reply["answer"]
        with pytest.raises(AppFailed, match=r"ValueError: refused \[SHOP_TOKEN\]") as failed:
            ask(process, {"do": "predict", "values": {"key": "x"}}, b"", 60)
        assert SECRET not in str(failed.value)
        assert "asked with [SHOP_TOKEN]" in process.output()
        assert SECRET not in process.output()
    finally:
        process.end()


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "ECLUSE_HOME", "DATABASE_URL", "LD_PRELOAD", "lower", "A-B"]
)
def test_variables_of_ours_are_not_given(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.py").write_text(
        f"from ecluse.app import App\napp = App('bad', variables=[{name!r}], api=1)\n"
    )
    with pytest.raises(EcluseError, match="cannot be a variable of an application"):
        snapshot.install(tmp_path / "home", tmp_path / "bad.py", copy=True)
