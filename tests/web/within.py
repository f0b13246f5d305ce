"""Ask the application within the test's own process, as someone who has nothing yet."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from ecluse.apps.plants.http.image_work import ImageWork
from ecluse.apps.plants.http.serving import ImageModels
from ecluse.catalog.tables import ModelVersion
from ecluse.inference import MOST_LOADED, ServedModels
from ecluse.runtime import Runtime
from tests.application import Credentials
from tests.apps.plants.tiny import LABELS, publish_tiny


@dataclass
class Within:
    """The application in this process, and a new person who asks it."""

    app: FastAPI
    runtime: Runtime
    folder: Path
    user_id: str
    token: str
    session: str

    @classmethod
    def enter(cls, app: FastAPI, folder: Path) -> Within:
        runtime = app.state.runtime
        # A hash of a password takes as long as the rest of a small test.
        user = runtime.accounts.add(f"{uuid.uuid4().hex}@example.org")
        token, _ = runtime.accounts.create_token(user.id, "tests")
        folder.mkdir()
        made = cls(app, runtime, folder, user.id, token, runtime.accounts.open_session(user.id))
        made.serve()
        return made

    def serve(self, *, work: ImageWork | None = None, most_loaded: int = MOST_LOADED) -> None:
        """Begin anew with no model loaded."""
        state = self.app.state
        state.image_work = work or ImageWork()
        state.inference = ServedModels(self.runtime, state.inference_metrics, most_loaded=most_loaded)
        state.plants = ImageModels(self.runtime, state.inference, state.image_metrics, state.image_work)

    def ask(self, method: str, address: str, **sent: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, address, **sent)

        return asyncio.run(send())

    def client(self, who: Credentials | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        auth = who or Credentials(self.token, self.session)
        return httpx.AsyncClient(transport=transport, base_url="http://a", auth=auth)

    def predict(self, data: bytes, **query: str) -> httpx.Response:
        return self.ask("POST", "/api/plants/predict", params=query, files={"file": ("a.jpg", data)})

    def publish(self, name: str = "leaves", labels: tuple[str, ...] = LABELS) -> ModelVersion:
        number = len(list(self.folder.iterdir()))
        return publish_tiny(self.runtime, self.user_id, self.folder / str(number), name, labels=labels)

    def someone_else(self) -> Credentials:
        """Another person."""
        accounts = self.runtime.accounts
        user = accounts.add(f"{uuid.uuid4().hex}@example.org")
        return Credentials(accounts.create_token(user.id, "tests")[0], accounts.open_session(user.id))

    @property
    def served(self) -> ImageModels:
        served = self.app.state.plants
        assert isinstance(served, ImageModels)
        return served
