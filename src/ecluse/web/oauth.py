"""Exchange a token of a service account for one that is good for an hour: OAuth 2, client credentials (RFC 6749, 4.4).

The client is the service account, its secret one of the account's tokens, by HTTP Basic or in the form.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final
from urllib.parse import unquote_plus

from fastapi import Form, Request
from starlette.responses import JSONResponse, Response

from ecluse.errors import InvalidCredentials, InvalidInput
from ecluse.web.declarations import Declarations
from ecluse.web.security import RuntimeDep

router = Declarations(include_in_schema=False)
GRANT: Final = "client_credentials"
#: Characters of a field.
LONGEST: Final = 1000
Field = Annotated[str, Form()]


@router.post("/oauth/token")
def issue_token(
    request: Request,
    runtime: RuntimeDep,
    grant_type: Field = "",
    scope: Field = "",
    client_id: Field = "",
    client_secret: Field = "",
) -> Response:
    """Answer with a token that is good for an hour, or with an error as the protocol has it."""
    if max(map(len, (grant_type, scope, client_id, client_secret))) > LONGEST:
        return _refuse("invalid_request", f"A field has more than {LONGEST} characters.")
    if grant_type != GRANT:
        return _refuse("unsupported_grant_type", "grant_type=client_credentials alone is known.")
    header = request.headers.get("authorization")
    if header is not None and (client_id or client_secret):
        return _refuse("invalid_request", "Send the client by Authorization: Basic or in the form, not both.")
    client, secret = (client_id, client_secret) if header is None else _basic(header)
    try:
        issued = runtime.accounts.exchange(client, secret, scope.split() or None)
    except InvalidCredentials as error:
        return _refuse("invalid_client", str(error), 401)
    except InvalidInput as error:
        return _refuse("invalid_scope", str(error))
    return JSONResponse(
        {
            "access_token": issued.secret,
            "token_type": "Bearer",
            "expires_in": issued.seconds,
            "scope": issued.scopes,
        },
        headers={"cache-control": "no-store"},
    )


def _basic(header: str) -> tuple[str, str]:
    """Return the client and its secret of a header `Authorization`; empty where it has none."""
    scheme, _rest, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):  # it is no client, and answered as such
        text = ""
    client, _rest, secret = text.partition(":")
    return unquote_plus(client), unquote_plus(secret)


def _refuse(error: str, description: str, status: int = 400) -> Response:
    headers = {"cache-control": "no-store"} | (
        {"www-authenticate": 'Basic realm="ecluse"'} if status == 401 else {}
    )
    return JSONResponse({"error": error, "error_description": description}, status, headers=headers)
