"""Lead requests for predictions straight to what answers them.

To look through the routes of all pages and the whole API takes the framework longer than many a model takes to answer.
The routes stay where they are declared: they are in the description of the API, and answer what is not led past them.
"""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ecluse.errors import EcluseError
from ecluse.web.api.inference import answer, predict
from ecluse.web.errors import answer_error

#: The address of `predict`, as its route has it.
PREDICT: Final = re.compile(r"/api/models/([^/]{1,200})/predict")


class Shortcut:
    """Answer at the address of predictions; lead everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = None
        if scope["type"] == "http" and scope["method"] == "POST":
            match = PREDICT.fullmatch(scope["path"])
        if match is None:
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = predict  # the name by which it is counted
        request = Request(scope, receive, send)
        try:
            response = await answer(match[1], request)
        except EcluseError as error:
            response = answer_error(request, error)
        await response(scope, receive, send)
