"""Answer programs that speak the Open Inference Protocol, such as the clients of KServe, Triton and MLServer.

Models are the person's own, or `@OWNER~NAME` of others who share theirs, by the token that the program sends
(`Authorization: Bearer`). A version of the protocol is
a version or an alias here; without one it is the latest. Errors are the protocol's: {"error": "…"}.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from ecluse import __version__
from ecluse.inference import Served, ServedModels, inputs_of, outputs_of, read_request, write_answer
from ecluse.inference.tensors import HEADER
from ecluse.web.api.inference import FEW_BYTES, InferenceDep, ask, loaded_for
from ecluse.web.declarations import Declarations
from ecluse.web.health import readiness_of
from ecluse.web.security import MayPredict, runtime_of

router = Declarations(prefix="/v2", tags=["models"], include_in_schema=False)
EXTENSIONS: Final = ("binary_tensor_data",)


async def _reference(request: Request) -> str:
    """Return what the address names: NAME, or NAME@VERSION."""
    name, version = request.path_params["name"], request.path_params.get("version")
    return f"{name}@{version}" if version else str(name)


Reference = Annotated[str, Depends(_reference)]


@router.get("")
async def server_metadata() -> dict[str, Any]:
    """Say what this server is, as the protocol has it."""
    return {"name": "ecluse", "version": __version__, "extensions": list(EXTENSIONS)}


@router.get("/health/live")
async def live() -> Response:
    """Answer: this process lives."""
    return JSONResponse({"live": True})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Answer whether every part is ready; see `/readyz`, which names the one that is not."""
    parts = await readiness_of(request).look(runtime_of(request))
    is_ready = all(state == "ok" for state in parts.values())
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def model_metadata(reference: Reference, served: InferenceDep, user: MayPredict) -> dict[str, Any]:
    """Describe the tensors that a version takes, and those that it answers its example with."""
    loaded = await _loaded(served, user.user.id, reference)
    sample = loaded.model.sample()
    outputs = []
    if sample is not None and not sample.is_empty():
        outputs = outputs_of(await loaded.batcher.ask(sample.head(1)))
    return {
        "name": loaded.row.name,
        "versions": [loaded.row.version],
        "platform": f"ecluse_{loaded.model.kind}",
        "inputs": [tensor.described() for tensor in inputs_of(loaded.model)],
        "outputs": [tensor.described() for tensor in outputs],
    }


@router.get("/models/{name}/ready")
@router.get("/models/{name}/versions/{version}/ready")
async def model_ready(reference: Reference, served: InferenceDep, user: MayPredict) -> Response:
    """Load a version where it is not, and answer once it can be asked."""
    loaded = await _loaded(served, user.user.id, reference)
    return JSONResponse({"name": loaded.row.name, "version": loaded.row.version, "ready": True})


@router.post("/models/{name}/infer")
@router.post("/models/{name}/versions/{version}/infer")
async def infer(reference: Reference, request: Request, user: MayPredict) -> Response:
    """Answer tensors with a version; the rows are checked as those of `POST /api/models/{name}/predict` are."""
    content, length = await request.body(), request.headers.get(HEADER)
    loaded = await loaded_for(request, reference)
    if len(content) <= FEW_BYTES:
        asked = read_request(content, length, loaded.model)
    else:
        asked = await run_in_threadpool(read_request, content, length, loaded.model)
    answered = await ask(loaded, asked.read)
    body, json_length = write_answer(asked, answered.answers, answered.name, answered.version)
    if json_length is None:
        return Response(body, media_type="application/json")
    return Response(body, headers={HEADER: str(json_length)}, media_type="application/octet-stream")


async def _loaded(served: ServedModels, user_id: str, reference: str) -> Served:
    return await run_in_threadpool(lambda: served.load(served.resolve(user_id, reference)))
