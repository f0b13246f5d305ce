"""What the tests of the city's runs stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecluse.apps.city.actions import City, open_city
from ecluse.runtime import Runtime
from tests.apps.city.sample import write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw data; not to be written to."""
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def city(runtime: Runtime, sample: Path) -> Iterator[City]:
    """The city over the sample, with nothing computed yet."""
    with open_city(runtime, str(sample)) as opened:
        yield opened
