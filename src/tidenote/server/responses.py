"""What answers look like in HTTP: messages of the protocol as JSON, errors with the status of their code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import Response

from tidenote.errors import CODES, ProtocolError, TidenoteError
from tidenote.server.metrics import Metrics
from tidenote.wire.messages import ErrorMessage, encode

JSON: Final = "application/json"


def json_response(message: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """Return a message as the answer to a request."""
    return Response(encode(message), status_code=status, media_type=JSON, headers=dict(headers or {}))


class HeadedError(ProtocolError):
    """An error whose answer has headers of its own.

    Args:
        message: one line for people.
        code: of the error.
        headers: of its answer.
    """

    def __init__(self, message: str, code: str, headers: Mapping[str, str]) -> None:
        super().__init__(message, code)
        self.headers = headers


def error_response(error: TidenoteError, metrics: Metrics) -> Response[Any]:
    """Return an error as the answer to a request, and count it."""
    status, headers, body = error_parts(error, metrics)
    return Response(body, status_code=status, media_type=JSON, headers=headers)


def error_parts(error: TidenoteError, metrics: Metrics) -> tuple[int, dict[str, str], bytes]:
    """Return an error's status, headers and body, for an answer that is made by hand; and count it."""
    metrics.errors.labels(error.code).inc()
    headers = {"content-type": JSON}
    if error.code == "unauthorized":
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, HeadedError):
        headers.update(error.headers)
    return CODES[error.code].http_status, headers, encode(ErrorMessage(error.code, error.message))
