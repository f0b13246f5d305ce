"""One running application for the tests of the web."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.application import Application, running
from tests.web.within import Within


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


@pytest.fixture(scope="session")
def within_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    settings = Settings.from_environment({}, home=tmp_path_factory.mktemp("within"))
    with Runtime.open(settings) as runtime:
        yield make_app(runtime)


@pytest.fixture
def web(within_app: FastAPI, tmp_path: Path) -> Within:
    """The application in this process, and a new person who asks it."""
    return Within.enter(within_app, tmp_path / "models")
