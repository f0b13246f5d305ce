"""What is left out or made again says why, and an address that cannot be read keeps no password."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecluse.apps.plants.array_cache import FOLDER, LocalArrays
from ecluse.apps.plants.sources.lists import shown_address

DIGEST = "ab" * 32


@pytest.mark.parametrize("address", ["https://ines:secret@example.org/a.jpg", "https://ines:secret@[x/a.jpg"])
def test_an_address_is_shown_without_its_password(address: str) -> None:
    assert "secret" not in shown_address(address)
    assert shown_address(address).endswith("/a.jpg")


def test_a_damaged_file_of_the_cache_is_said_and_a_missing_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = LocalArrays(tmp_path, "meaning")
    assert cache.load(DIGEST, "a") is None
    assert caplog.messages == []
    cache.save(DIGEST, a=np.arange(3))
    kept = next(path for path in (tmp_path / FOLDER).rglob("*") if path.is_file())
    kept.write_bytes(b"damaged")
    assert cache.load(DIGEST, "a") is None
    assert caplog.messages[0].startswith("A file of the cache cannot be read")
