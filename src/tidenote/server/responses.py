"""What answers look like in HTTP: messages of the protocol as JSON, errors with the status of their code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import Response

from tidenote.errors import CODES, TidenoteError
from tidenote.wire.messages import ErrorMessage, encode

JSON: Final = "application/json"


def json_response(message: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """Return a message as the answer to a request."""
    return Response(encode(message), status_code=status, media_type=JSON, headers=dict(headers or {}))


def error_response(error: TidenoteError, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """Return an error as the answer to a request."""
    status, own, body = error_parts(error)
    return Response(body, status_code=status, media_type=JSON, headers={**own, **(headers or {})})


def error_parts(error: TidenoteError) -> tuple[int, dict[str, str], bytes]:
    """Return an error's status, headers and body, for an answer that is made by hand."""
    headers = {"content-type": JSON}
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    return CODES[error.code].http_status, headers, encode(ErrorMessage(error.code, error.message))
