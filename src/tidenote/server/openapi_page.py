"""What OpenAPI says of our REST, as a page for people: plain HTML, with nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_HEAD: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
h2 {{ font: 600 1rem ui-monospace, monospace; margin: 2rem 0 0; overflow-wrap: anywhere }}
table {{ border-collapse: collapse }}
td {{ padding: 0 1rem 0 0; vertical-align: top }}
code {{ font-family: ui-monospace, monospace }}
</style>
<h1>{title}</h1>
<p>{description} For programs: <a href="openapi/openapi.json"><code>openapi.json</code></a>.</p>
"""


class PagePlugin(OpenAPIRenderPlugin):
    """Renders the page at the root of where OpenAPI is served."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """Return the page."""
        return "".join(_page(openapi_schema)).encode()


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    info = schema["info"]
    title = f"{info['title']} {info['version']}"
    yield _HEAD.format(title=escape(title), description=escape(info.get("description", "")))
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield f"<h2>{escape(method.upper())} {escape(path)}</h2>\n"
            yield f"<p>{escape(operation.get('description') or operation.get('summary') or '')}</p>\n"
            yield from _parameters(operation.get("parameters") or ())
    yield "</html>\n"


def _parameters(parameters: Any) -> Iterator[str]:
    if parameters:
        yield "<table>\n"
        for parameter in parameters:
            needed = "" if parameter.get("required") else "optional"
            yield (
                f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter['in'])}<td>{needed}"
                f"<td>{escape(parameter.get('description') or '')}</tr>\n"
            )
        yield "</table>\n"
