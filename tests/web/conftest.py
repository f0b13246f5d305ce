"""One running application for the tests of the web."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.application import Application, running


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("application") / "home") as started:
        yield started


@pytest.fixture(scope="session")
def client(application: Application) -> Iterator[httpx.Client]:
    with application.client("owner@example.org") as opened:
        yield opened


@pytest.fixture(scope="session")
def other(application: Application) -> Iterator[httpx.Client]:
    with application.client("other@example.org") as opened:
        yield opened
