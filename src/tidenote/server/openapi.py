"""What OpenAPI says of our routes beyond what the framework reads off them. docs/protocol.md is normative."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from tidenote.errors import CODES
from tidenote.wire.messages import ErrorMessage

BYTES: Final = "application/octet-stream"

ERRORS: Final = {
    status: ResponseSpec(ErrorMessage, description="an error, with its code", generate_examples=False)
    for status in sorted({code.http_status for code in CODES.values()})
}
"""What every route may answer instead."""


@cache
def body_of(kind: type[msgspec.Struct]) -> type[Operation]:
    """Describe a body that a handler decodes itself: a stalled one is told apart, a bad change spoils no other.

    Args:
        kind: the message.
    """

    @dataclass
    class BodyOperation(Operation):
        def __post_init__(self) -> None:
            message = OpenAPIMediaType(schema=cast("Schema", _inlined(kind)))
            self.request_body = RequestBody(content={"application/json": message}, required=True)

    return BodyOperation


@dataclass
class PathOperation(Operation):
    """What OpenAPI says of a note's path in the address: the framework takes it for a URI."""

    def __post_init__(self) -> None:
        for parameter in self.parameters or ():
            if isinstance(parameter, Parameter) and parameter.param_in == "path":
                parameter.schema = Schema(type=OpenAPIType.STRING, min_length=1, description="the note's path")


@dataclass
class UploadOperation(PathOperation):
    """What OpenAPI says of a body that is streamed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        part = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        self.request_body = RequestBody(content={BYTES: OpenAPIMediaType(schema=part)}, required=True)


def _inlined(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of a message, without references to others."""
    prefix = "#/"
    (schema,), parts = msgspec.json.schema_components([kind], ref_template=prefix + "{name}")

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref")
            return resolve(parts[reference.removeprefix(prefix)]) if reference else _each(resolve, node)
        return [resolve(item) for item in node] if isinstance(node, list) else node

    return cast("dict[str, Any]", resolve(schema))


def _each(call: Any, node: dict[str, Any]) -> dict[str, Any]:
    # A discriminator points at parts by their names, which are not there any more.
    return {name: call(value) for name, value in node.items() if name != "discriminator"}
