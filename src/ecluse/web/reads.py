"""Answer an operation that reads in one thread: who asks is found, the rows are read and the answer is written there.

The framework hands over to a thread three times for that: to find who asks, to call the function, to check what it
returns. What comes out is the same: who may not ask is refused before parameters are looked at, and the answer is
checked and written by the model that the operation declares.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from ecluse.web import security


def is_read(route: APIRoute) -> bool:
    """Say whether an operation takes a scope, the runtime and parameters of its address, and returns a JSON document.

    All others are left to the framework.
    """
    return (
        route.methods == {"GET"}
        and not any(kind(route.endpoint) for kind in _LATER)
        and route.response_field is not None
        and isinstance(route.response_class, DefaultPlaceholder)
        and route.status_code is None
        and not _shapes_answer(route)
        and _takes_address_alone(route.dependant)
    )


#: Functions that do not return what they answer.
_LATER = (iscoroutinefunction, isgeneratorfunction, isasyncgenfunction)


def _shapes_answer(route: APIRoute) -> bool:
    return not route.response_model_by_alias or any(
        (
            route.response_model_include,
            route.response_model_exclude,
            route.response_model_exclude_unset,
            route.response_model_exclude_defaults,
            route.response_model_exclude_none,
        )
    )


def _takes_address_alone(dependant: Dependant) -> bool:
    calls = [each.call for each in dependant.dependencies]
    scopes = [call for call in calls if call in security.SCOPES]
    others = (
        dependant.header_params,
        dependant.cookie_params,
        dependant.body_params,
        dependant.response_param_name,
        dependant.background_tasks_param_name,
        dependant.security_scopes_param_name,
        dependant.http_connection_param_name,
        dependant.websocket_param_name,
    )
    is_plain = all(call in security.SCOPES or call is security.take_runtime for call in calls)
    return is_plain and len(scopes) == 1 and not any(others)


def reading(route: APIRoute) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers requests for an operation that `is_read`."""

    async def answer(request: Request) -> Response:
        return await run_in_threadpool(_answer, route, request)

    return answer


def _answer(route: APIRoute, request: Request) -> Response:
    content = route.endpoint(**_given(route.dependant, request))
    field = route.response_field
    if isinstance(content, Response) or field is None:
        return content  # type: ignore[no-any-return]
    checked, errors = field.validate(content, {}, loc=("response",))
    if errors:
        raise ResponseValidationError(errors=errors, body=content)
    return Response(field.serialize_json(checked), media_type="application/json")


def _given(dependant: Dependant, request: Request) -> dict[str, Any]:
    """Return what the function of an operation is called with, once its sender may call it.

    Raises:
        EcluseError: who sent it may not ask for this.
        RequestValidationError: a parameter is not as declared.
    """
    given: dict[str, Any] = {}
    for each in dependant.dependencies:
        assert each.call is not None  # noqa: S101 (it is one of two kinds, see `is_read`)
        scope = security.SCOPES.get(each.call)
        if scope is None:
            value: Any = security.runtime_of(request)
        else:
            value = security.who_sent(request, scope)
        if each.name is not None:
            given[each.name] = value
    in_path, errors = request_params_to_args(dependant.path_params, request.path_params)
    in_query, more = request_params_to_args(dependant.query_params, request.query_params)
    if errors or more:
        raise RequestValidationError([*errors, *more])
    if dependant.request_param_name is not None:
        given[dependant.request_param_name] = request
    return given | in_path | in_query
